"""OpenCV as a reader. The capture is a double; real streams are in test_network_cameras.py."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from bisenet_edge.runtime.gstreamer.binding import PipelineError
from bisenet_edge.runtime.sources.opencv import OpenCvReader


class CaptureDouble:
    """One step per frame: a number fills the picture, None is damaged; waits for `go` before each."""

    def __init__(self, *steps: int | None, opens: bool = True) -> None:
        self._steps = list(steps)
        self._opens = opens
        self._now: int | None = None
        self.go = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.buffers: set[int] = set()
        self.released = threading.Event()

    def isOpened(self) -> bool:  # noqa: N802
        return self._opens

    def grab(self) -> bool:
        self.asked.release()
        assert self.go.acquire(timeout=20)
        if not self._steps:
            return False
        self._now = self._steps.pop(0)
        return True

    def retrieve(self, out: np.ndarray | None) -> tuple[bool, np.ndarray | None]:
        if self._now is None:
            return False, None
        image = out if out is not None else np.empty((4, 6, 3), np.uint8)
        image[:] = self._now
        self.buffers.add(image.ctypes.data)
        return True, image

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FPS: 15.0}.get(what, 0.0)

    def release(self) -> None:
        self.released.set()


def test_frames_buffers_damage_and_loss() -> None:
    capture = CaptureDouble(1, None, *range(2, 20))
    reader = OpenCvReader(lambda: capture)
    out = None
    seen = []
    capture.go.release()
    for _ in range(19):
        out = reader.poll(out, 20)
        seen.append(int(out[0, 0, 0]))
        capture.go.release(2 if len(seen) == 1 else 1)
    assert seen == list(range(1, 20))
    assert len(capture.buffers) <= 3
    assert (reader.corrupt, reader.size_hw, reader.fps) == (1, (4, 6), 15)
    with pytest.raises(PipelineError, match="no more frames"):
        reader.poll(out, 20)
    assert capture.released.wait(20)


def test_the_newest_frame_wins() -> None:
    capture = CaptureDouble(*range(10))
    reader = OpenCvReader(lambda: capture)
    capture.go.release(11)
    assert capture.released.wait(20)
    assert reader.poll(None, 20)[0, 0, 0] == 9
    assert len(capture.buffers) <= 3


def test_a_buffer_that_is_offered_twice_is_written_once() -> None:
    # The caller offers the same buffer until a frame comes; no two frames may go into it.
    capture = CaptureDouble(1, 2, 3)
    reader = OpenCvReader(lambda: capture)
    offered = np.zeros((4, 6, 3), np.uint8)
    assert reader.poll(offered, 0.001) is None
    frames = []
    for out in (offered, None, None):
        assert capture.asked.acquire(timeout=20)
        capture.go.release()
        assert capture.asked.acquire(timeout=20)  # the frame is there, and where the next one goes is settled
        capture.asked.release()
        frames.append(reader.poll(out, 20))
    capture.go.release()
    assert [int(frame[0, 0, 0]) for frame in frames] == [1, 2, 3]
    assert len({frame.ctypes.data for frame in frames}) == 3


def test_a_hanging_driver_neither_blocks_a_read_nor_close() -> None:
    capture = CaptureDouble(1)
    reader = OpenCvReader(lambda: capture)
    assert reader.poll(None, 0.01) is None
    reader.close()
    assert not capture.released.is_set(), "it is released when the driver comes back, on its own thread"
    capture.go.release(2)
    assert capture.released.wait(20)


def test_what_cannot_be_opened() -> None:
    reader = OpenCvReader(lambda: CaptureDouble(opens=False))
    with pytest.raises(PipelineError, match="cannot open"):
        reader.poll(None, 20)
