"""Readers and sources that do what a test tells them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from bisenet_edge.runtime.sources.base import Source
from bisenet_edge.runtime.sources.reader import FrameReader

HW = (4, 6)


class ScriptedReader(FrameReader):
    """Does one thing per poll: a number gives a frame filled with it, None none, an error is raised.

    After the script: nothing more comes, or with `then_ends` the end.
    """

    def __init__(self, *script: object, then_ends: bool = False) -> None:
        self._script = list(script)
        self._then_ends = then_ends
        self.fps = 25.0
        self.closed = False
        self.polls = 0

    def poll(self, out: np.ndarray | None, timeout_s: float) -> np.ndarray | None:
        self.polls += 1
        step = self._script.pop(0) if self._script else None
        if isinstance(step, Exception):
            raise step
        if step == "corrupt":
            self.corrupt += 1
            return None
        if step is None:
            self.ended = self._then_ends and not self._script
            return None
        image = out if out is not None else np.empty((*HW, 3), np.uint8)
        image[:] = step
        self.size_hw = HW
        self.captured_ns = int(step)
        return image

    def close(self) -> None:
        self.closed = True


class ScriptedSource(Source):
    """A live source: gives frames of these shapes, then raises."""

    live = True

    def __init__(self, shapes: list[tuple[int, int]], error: Exception, corrupt: int = 0) -> None:
        super().__init__("scripted", fps=30, size_hw=shapes[0] if shapes else (0, 0), count=None)
        self._shapes = list(shapes)
        self._error = error
        self.corrupt = corrupt
        self.closed = False

    def _read(self, index: int, out: np.ndarray | None) -> np.ndarray | None:
        if not self._shapes:
            raise self._error
        return np.zeros((*self._shapes.pop(0), 3), np.uint8)

    def close(self) -> None:
        self.closed = True


class Openers:
    """Opens each of a list in turn: a source, or an error that is raised."""

    def __init__(self, *steps: object) -> None:
        self._steps = list(steps)
        self.calls = 0
        self.when_empty: Callable[[], None] = lambda: None

    def __call__(self, interrupted: threading.Event) -> Source:
        self.calls += 1
        step = self._steps.pop(0)
        if not self._steps:
            self.when_empty()
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, Source)
        return step
