"""How old masks are when they are ready, and which of them are too old."""

from __future__ import annotations

import time
from typing import Optional

from bisenet_edge.frame import Frame
from bisenet_edge.runtime.pipeline.clock import SampleRing


class FrameAges:
    """Frame ages of a run, by the monotonic clock only: setting the time of day changes nothing here.

    Attributes:
        ring: the newest ages; their number is `ring.total`.
        misses: masks that were older than the budget.
        clock_jumps: frames whose capture time could not be.
    """

    def __init__(self, budget_ms: Optional[float]) -> None:
        self.ring = SampleRing()
        self.misses = 0
        self.clock_jumps = 0
        self._budget_ms = float("inf") if budget_ms is None else budget_ms
        self._last_ns = 0

    def arrived(self, frame: Frame) -> None:
        """Look at the capture time of a frame that has just been read; called by the capture thread.

        A camera stamps frames by a clock of its own, which may be set. A time in the future, or before
        that of the frame ahead, says nothing of this frame's age: the time of its arrival takes its place.
        """
        now_ns = time.monotonic_ns()
        stamp_ns = frame.captured_ns
        if not self._last_ns <= stamp_ns <= now_ns:
            self.clock_jumps += 1
            frame.captured_ns = now_ns
        # The stamp itself, where it can be: after a jump back the next one is right again.
        self._last_ns = max(0, min(stamp_ns, now_ns))

    def ready(self, frame: Frame) -> None:
        """Note that the mask of a frame is ready; called by the thread of inference."""
        age_ms = (time.monotonic_ns() - frame.captured_ns) / 1e6
        self.ring.add(age_ms)
        self.misses += age_ms > self._budget_ms
