"""In its steady state a run allocates nothing per frame: shown by tracemalloc over 10,000 frames."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Dict, Tuple

import numpy as np
import pytest
from pipeline_doubles import SIZE, EchoSession, NumberSource

from bisenet_edge.runtime.pipeline.run import RunOptions, run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.pipeline.stages import slots_needed
from bisenet_edge.runtime.sinks import NullSink

FRAMES = 12_000
SETTLED, LAST = 2_000, 12_000
PICTURE_HW = (48, 80)  # resized on the way in, and its mask on the way out
PICTURE_BYTES, MASK_BYTES = 48 * 80 * 3, 48 * 80


class ReadingSink(NullSink):
    """Asks for the mask at the picture's size, as every sink that shows it does."""

    def write(self, frame, mask):
        assert mask.shape == PICTURE_HW


@pytest.mark.parametrize("live", [False, True])
def test_ten_thousand_frames_allocate_nothing_that_stays(live: bool) -> None:
    taken: Dict[int, Tuple[int, int]] = {}

    def look(index: int) -> None:
        if index in (SETTLED, LAST):
            gc.collect()
            taken[index] = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()

    source = NumberSource(FRAMES, live=live, before=look, size_of=lambda index: PICTURE_HW)
    assert SIZE.hw != PICTURE_HW
    sinks = [ReadingSink("null://"), ReadingSink("null://")]
    options = RunOptions(latency_budget_ms=1000.0, status_s=3600.0)
    tracemalloc.start()
    try:
        report = run(source, Segmenter(EchoSession()), sinks, options=options)
    finally:
        tracemalloc.stop()
    assert report.frames_captured == FRAMES
    assert report.frame_age.samples == report.frames_delivered
    grown = taken[LAST][0] - taken[SETTLED][0]
    above = taken[LAST][1] - taken[SETTLED][0]
    # Nothing that stays: a single float kept for each frame would be 240,000 bytes. A slot may see its first
    # mask late, where the newest frame wins. And on the way never as much as one picture more.
    late = slots_needed(len(sinks), 1) * MASK_BYTES + 10_000
    assert grown < late < 24 * (LAST - SETTLED) / 4, grown
    assert above < late + PICTURE_BYTES, above


def test_percentiles_are_of_the_newest_times_and_totals_of_all() -> None:
    from bisenet_edge.runtime.pipeline.clock import SampleRing

    ring = SampleRing(capacity=100)
    assert ring.summary() is None
    for value in range(250):
        ring.add(float(value))
    assert ring.total == 250
    assert sorted(ring.newest()) == list(range(150, 250))
    assert sorted(ring.newest(7)) == list(range(243, 250))
    assert ring.newest().dtype == np.float32
    assert ring.summary(10).p50_ms == 244.5
