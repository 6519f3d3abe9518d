"""Several frames at a time on OpenVINO: the masks of one at a time, in the order of the frames."""

from __future__ import annotations

import numpy as np
import pytest
from pipeline_doubles import assert_adds_up
from toy_graph import SIZE, toy_artifact, toy_frames

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.pipeline.run import run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.sinks import Sink
from bisenet_edge.runtime.sources import Source

FRAMES = 12


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return toy_artifact(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def frames():
    return toy_frames(FRAMES)


@pytest.fixture(scope="module")
def expected(artifact, frames):
    with open_session(artifact, "int8", backend="openvino", threads=1) as session:
        assert session.in_flight == 1
        masks = np.stack([session.infer(frame).copy() for frame in frames])
    assert all((first != second).any() for first, second in zip(masks, masks[1:]))
    return masks


@pytest.fixture
def session(artifact):
    with open_session(artifact, "int8", backend="openvino", threads=2, throughput=True) as session:
        yield session


def test_masks_come_in_order_though_the_frame_is_written_over(session, frames, expected):
    assert session.in_flight >= 2
    shared, found = np.empty((*SIZE.hw, 3), np.uint8), []
    for frame in frames:
        if session.pending == session.in_flight:
            found.append(session.finish().copy())
        shared[:] = frame
        session.submit(shared)
        shared[:] = 0
    while session.pending:
        found.append(session.finish().copy())
    assert np.array_equal(np.stack(found), expected)


def test_any_number_of_frames_may_be_in_flight_in_turn(session, frames, expected):
    at = 0
    for count in (1, session.in_flight, 2, 1, session.in_flight - 1):
        batch = range(at, at + count)
        outs = [np.full(SIZE.hw, 99, np.uint8) for _ in batch]
        for index, out in zip(batch, outs):
            session.submit(frames[index % FRAMES], out)
        for index, out in zip(batch, outs):
            assert session.finish() is out
            assert np.array_equal(out, expected[index % FRAMES])
        at += count
    assert np.array_equal(session.infer(frames[0]), expected[0])


def test_one_frame_more_is_refused_and_disturbs_nothing(session, frames, expected):
    for index in range(session.in_flight):
        session.submit(frames[index])
    for call in (session.submit, session.infer, session.logits):
        with pytest.raises(BackendError, match="in flight"):
            call(frames[-1])
    for index in range(session.in_flight):
        assert np.array_equal(session.finish(), expected[index])


def test_a_session_is_closed_with_frames_in_flight(artifact, frames):
    session = open_session(artifact, "int8", backend="openvino", threads=2, throughput=True)
    session.submit(frames[0])
    session.submit(frames[1])
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.finish()


class _Frames(Source):
    def __init__(self, frames) -> None:
        super().__init__("frames", fps=30, size_hw=SIZE.hw, count=len(frames))
        self._frames = frames

    def _read(self, index, out):
        if index == len(self._frames):
            return None
        image = out if out is not None else np.empty((*SIZE.hw, 3), np.uint8)
        image[:] = self._frames[index]
        return image


class _Masks(Sink):
    def __init__(self) -> None:
        super().__init__("masks")
        self.pairs = []

    def write(self, frame, mask) -> None:
        self.pairs.append((frame.image.copy(), mask.copy()))


def test_a_run_over_a_file_keeps_frames_and_masks_together(session, frames, expected):
    many = np.concatenate([frames, frames, frames])
    sink = _Masks()
    report = run(_Frames(many), Segmenter(session), [sink])
    assert report.frames_delivered == len(many)
    assert_adds_up(report)
    for (image, mask), frame, want in zip(sink.pairs, many, np.concatenate([expected] * 3)):
        assert np.array_equal(image, frame)
        assert np.array_equal(mask, want)
