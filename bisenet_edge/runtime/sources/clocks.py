"""Times of a camera's clock on this program's clock."""

from __future__ import annotations

import time
from typing import Callable, Optional

MAX_AGE_NS = 10_000_000_000
"""A frame older than this was not delayed: its clock has jumped. Cameras and jitter buffers hold well
under a second."""


class CaptureClock:
    """Turns readings of another clock into `time.monotonic_ns()`: never in the future, never backwards.

    The two clocks are compared once, and again when a reading comes out implausible: after the other
    clock was set, or the machine slept. What is still implausible then counts as captured on arrival.

    Args:
        read_clock: the other clock, in nanoseconds.
    """

    def __init__(self, read_clock: Callable[[], int], now: Callable[[], int] = time.monotonic_ns) -> None:
        self._read_clock = read_clock
        self._now = now
        self._newest_ns = 0
        self._compare()

    def to_monotonic(self, reading_ns: Optional[int]) -> int:
        """When a frame was captured that the other clock dates `reading_ns`; None = no date."""
        now_ns = self._now()
        captured_ns = now_ns
        if reading_ns is not None:
            if not self._plausible(reading_ns + self._offset_ns, now_ns):
                self._compare()
            if self._plausible(reading_ns + self._offset_ns, now_ns):
                captured_ns = reading_ns + self._offset_ns
        self._newest_ns = max(self._newest_ns, captured_ns)
        return self._newest_ns

    def _compare(self) -> None:
        self._offset_ns = self._now() - self._read_clock()

    @staticmethod
    def _plausible(captured_ns: int, now_ns: int) -> bool:
        return now_ns - MAX_AGE_NS <= captured_ns <= now_ns
