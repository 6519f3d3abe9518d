"""Sources, sessions and sinks of which a test knows every frame.

Frame i is filled with i % 251, and so is its mask if it is the right one.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Callable, List, Optional, Set, Tuple

import numpy as np

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.frame import Frame, Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.pipeline.run_report import RunReport
from bisenet_edge.runtime.sinks import Sink
from bisenet_edge.runtime.sources import Source

SIZE = Size(64, 32)
TIMEOUT_S = 20
ARTIFACT = Artifact(Path(), Manifest("toy", "", "toy", CAMVID, SIZE, "int8"))


def nothing(index: int) -> None:
    """Do nothing."""


def network_size(index: int) -> Tuple[int, int]:
    return SIZE.hw


class NumberSource(Source):
    """`before` is called ahead of each read, also of the last; `size_of` gives a frame's (height, width)."""

    def __init__(
        self,
        frames: int,
        *,
        live: bool = False,
        before: Callable[[int], None] = nothing,
        size_of: Callable[[int], Tuple[int, int]] = network_size,
    ) -> None:
        super().__init__("numbers", fps=30, size_hw=size_of(0), count=None if live else frames)
        self.live = live
        self.interrupted = threading.Event()
        self._frames = frames
        self._before = before
        self._size_of = size_of
        self.buffers: Set[int] = set()

    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        self._before(index)
        if index == self._frames:
            return None
        shape = (*self._size_of(index), 3)
        image = out if out is not None and out.shape == shape else np.empty(shape, np.uint8)
        image[:] = index % 251
        self.buffers.add(image.ctypes.data)
        return image

    def interrupt(self) -> None:
        super().interrupt()
        self.interrupted.set()


class EchoSession(Session):
    """Its mask is the number that the frame is filled with."""

    def __init__(self, before: Callable[[int], None] = nothing) -> None:
        super().__init__(ARTIFACT, "int8")
        self._before = before
        self.calls = 0

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self._before(self.calls)
        self.calls += 1
        mask[:] = frame[..., 0]


class AheadSession(Session):
    """As `EchoSession`, but computes in a thread of its own and takes two frames.

    Attributes:
        log: "submit" and "finish" as they were called.
    """

    in_flight = 2

    def __init__(self, before: Callable[[int], None] = nothing) -> None:
        super().__init__(ARTIFACT, "int8")
        self._before = before
        self._work: queue.Queue[Optional[Tuple[np.ndarray, np.ndarray]]] = queue.Queue()
        self._done: queue.Queue[int] = queue.Queue()
        self.log: List[str] = []
        self._thread = threading.Thread(target=self._compute, daemon=True)
        self._thread.start()

    def _submit(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self.log.append("submit")
        self._work.put((frame.copy(), mask))

    def _finish(self, mask: np.ndarray) -> None:
        self.log.append("finish")
        self._done.get(timeout=TIMEOUT_S)

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        raise AssertionError("frames are submitted")

    def _close(self) -> None:
        self._work.put(None)
        self._thread.join()

    def _compute(self) -> None:
        for number, (frame, mask) in enumerate(iter(self._work.get, None)):
            self._before(number)
            mask[:] = frame[..., 0]
            self._done.put(number)


class ListSink(Sink):
    """Keeps (index, number in the frame, number in the mask), and how it ended."""

    def __init__(self, before: Callable[[int], None] = nothing, uri: str = "list") -> None:
        super().__init__(uri)
        self._before = before
        self.seen: List[Tuple[int, int, int]] = []
        self.buffers: Set[int] = set()
        self.ended = ""

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        self._before(len(self.seen))
        assert mask.shape == frame.image.shape[:2]
        assert (frame.image == frame.image[0, 0, 0]).all()
        (number,) = np.unique(mask)
        self.seen.append((frame.index, int(frame.image[0, 0, 0]), int(number)))
        self.buffers.add(mask.ctypes.data)

    def _complete(self) -> None:
        self.ended = "closed"

    def _discard(self) -> None:
        self.ended = "aborted"


def run_threads() -> List[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("bisenet-edge")]


def assert_adds_up(report: RunReport) -> None:
    """captured = delivered + dropped, and the same again at each sink."""
    assert report.frames_captured == report.frames_delivered + report.frames_dropped
    for sink in report.sinks:
        assert sink.written + sink.dropped == report.frames_delivered, sink
