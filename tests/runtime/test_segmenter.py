"""The segmenter: any picture in, a mask of that picture out."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np
import pytest

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.errors import BackendError
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.pipeline.clock import STAGES, StageClock
from bisenet_edge.runtime.pipeline.segmenter import Segmenter

SIZE = Size(64, 32)


class BlueSession(Session):
    """The mask is the blue channel of what the network is given, which is kept."""

    def __init__(self) -> None:
        super().__init__(Artifact(Path(), Manifest("toy", "", "toy", CAMVID, SIZE, "int8")), "int8")
        self.inputs: List[np.ndarray] = []

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self.inputs.append(frame)
        mask[:] = frame[..., 0]


def flat(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize("hw", [(32, 64), (360, 640), (100, 50), (20, 64), (31, 63)])
def test_padding_never_reaches_the_mask(hw: tuple[int, int]) -> None:
    segmenter = Segmenter(BlueSession())
    mask = segmenter.segment(flat(*hw, 7))
    assert mask.shape[0] == 32 or mask.shape[1] == 64
    assert (mask == 7).all()
    shown = segmenter.to_source(mask, hw)
    assert shown.shape == hw
    assert (shown == 7).all()


def test_buffers_are_kept_for_one_size_and_clean_after_a_change() -> None:
    session = BlueSession()
    segmenter = Segmenter(session)
    for image in (flat(32, 100, 1), flat(32, 100, 2), flat(100, 32, 3), flat(32, 100, 4)):
        segmenter.segment(image)
    first, second, tall, wide = session.inputs
    assert first is second
    assert (tall[:, 11:] == 128).all()  # padded on the right: nothing of the wide picture is left
    assert (wide[21:] == 128).all()


def test_a_mask_is_written_where_it_is_asked_for() -> None:
    segmenter = Segmenter(BlueSession())
    buffer = segmenter.new_mask()
    mask = segmenter.segment(flat(64, 64, 9), buffer)
    assert np.shares_memory(mask, buffer)
    out = np.empty((64, 64), np.uint8)
    assert segmenter.to_source(mask, (64, 64), out) is out
    assert (out == 9).all()


def test_the_clock_is_told_what_ran() -> None:
    segmenter = Segmenter(BlueSession())
    clock = StageClock()
    assert clock.summaries() == {}
    for _ in range(3):
        segmenter.segment(flat(64, 64, 1), clock=clock)
    clock.add("sink", 1_000_000, 3_500_000)
    summaries = clock.summaries()
    assert list(summaries) == ["resize", "infer", "sink"]
    assert set(summaries) < set(STAGES)
    assert [s.samples for s in summaries.values()] == [3, 3, 1]
    assert summaries["sink"].p50_ms == 2.5


def test_a_closed_session_is_an_error() -> None:
    session = BlueSession()
    session.close()
    with pytest.raises(BackendError, match="closed"):
        Segmenter(session).segment(flat(32, 64, 0))
