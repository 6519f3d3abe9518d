"""Capture times of a camera whose clock is another one, and jumps."""

from __future__ import annotations

from bisenet_edge.runtime.sources.clocks import MAX_AGE_NS, CaptureClock

MS = 1_000_000


class Clocks:
    """Two clocks that a test sets."""

    def __init__(self) -> None:
        self.camera = 5_000 * MS
        self.ours = 90_000 * MS

    def pass_ms(self, ms: int) -> None:
        self.camera += ms * MS
        self.ours += ms * MS


def test_a_reading_becomes_our_time() -> None:
    clocks = Clocks()
    clock = CaptureClock(lambda: clocks.camera, lambda: clocks.ours)
    clocks.pass_ms(40)
    assert clock.to_monotonic(clocks.camera - 15 * MS) == clocks.ours - 15 * MS
    assert clock.to_monotonic(None) == clocks.ours


def test_a_clock_that_jumps_gives_no_time_in_the_future_and_none_backwards() -> None:
    clocks = Clocks()
    clock = CaptureClock(lambda: clocks.camera, lambda: clocks.ours)
    newest = 0
    for jump_ms in (0, 3_600_000, 0, -7_200_000, 0, 20, -20, 11_000, -11_000, 0):
        clocks.camera += jump_ms * MS
        clocks.pass_ms(33)
        captured = clock.to_monotonic(clocks.camera - 10 * MS)
        assert newest <= captured <= clocks.ours
        assert captured >= clocks.ours - MAX_AGE_NS
        newest = captured
    clocks.pass_ms(33)
    # A small jump is taken for delay until it shows; afterwards dates are right to that much.
    assert clocks.ours - clock.to_monotonic(clocks.camera - 10 * MS) <= 50 * MS


def test_dates_that_make_no_sense_count_as_arrival() -> None:
    clocks = Clocks()
    clock = CaptureClock(lambda: clocks.camera, lambda: clocks.ours)
    clocks.pass_ms(33)
    clocks.pass_ms(60_000)
    for reading in (0, clocks.camera + 10**15, -(10**15)):
        clocks.pass_ms(33)
        assert clock.to_monotonic(reading) == clocks.ours
