"""A live source that is lost and comes back. Nothing waits: the backoff is told its times."""

from __future__ import annotations

import logging
import threading

import pytest
from source_doubles import Openers, ScriptedSource

from bisenet_edge.errors import SourceError, SourceLostError, UsageError
from bisenet_edge.runtime.sources.reopening import Backoff, ReopeningSource

LOST = SourceLostError("no frame for 5 s", got="")
ABSENT = SourceError("a camera cannot be opened", got="cam: No such file")


class NoWait(Backoff):
    """Gives the real waits to `told`, and zero to the source."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[float] = []

    def next_wait_s(self) -> float:
        self.told.append(super().next_wait_s())
        return 0.0


def test_the_wait_doubles_up_to_half_a_minute_and_starts_anew_after_a_good_minute() -> None:
    now = 0.0
    backoff = Backoff(lambda: now)
    assert [backoff.next_wait_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.opened()
    now += 59.9
    assert backoff.next_wait_s() == 30
    backoff.opened()
    now += 60
    assert [backoff.next_wait_s() for _ in range(2)] == [0.5, 1]
    now += 1000  # closed for long is not healthy for long
    assert backoff.next_wait_s() == 2


def test_lost_twice_and_back() -> None:
    first = ScriptedSource([(4, 6), (4, 6)], LOST, corrupt=2)
    second = ScriptedSource([(8, 10)], LOST, corrupt=3)
    third = ScriptedSource([(4, 6)], LOST)
    openers = Openers(first, ABSENT, ABSENT, second, third)
    events: list[str] = []
    backoff = NoWait()
    with ReopeningSource("rtsp://me:pass@cam", openers, on_event=events.append, backoff=backoff) as source:
        assert source.live
        assert source.size_hw == (4, 6)
        frames = [source.read() for _ in range(4)]
        assert [frame.index for frame in frames] == [0, 1, 2, 3]
        assert [frame.image.shape[:2] for frame in frames] == [(4, 6), (4, 6), (8, 10), (4, 6)]
        times = [frame.captured_ns for frame in frames]
        assert times == sorted(times)
        assert (source.reopened, source.corrupt) == (2, 5)
    assert backoff.told == [0.5, 1, 2, 4]
    assert [first.closed, second.closed, third.closed] == [True] * 3
    assert events == [
        "rtsp://me:***@cam: no frame for 5 s; trying again in 0 s",
        "rtsp://me:***@cam: a camera cannot be opened: cam: No such file; trying again in 0 s",
        "rtsp://me:***@cam: a camera cannot be opened: cam: No such file; trying again in 0 s",
        "rtsp://me:***@cam: back after loss no. 1",
        "rtsp://me:***@cam: no frame for 5 s; trying again in 0 s",
        "rtsp://me:***@cam: back after loss no. 2",
    ]


def test_a_source_that_never_opened_is_an_error_at_once() -> None:
    openers = Openers(ABSENT, ABSENT)
    with pytest.raises(SourceError, match="No such file"):
        ReopeningSource("cam", openers)
    assert openers.calls == 1


def test_wait_forever() -> None:
    openers = Openers(ABSENT, ABSENT, ABSENT, ScriptedSource([(4, 6)], LOST))
    events: list[str] = []
    with ReopeningSource(
        "cam", openers, on_event=events.append, backoff=NoWait(), wait_forever=True
    ) as source:
        assert openers.calls == 0
        assert source.size_hw == (0, 0)
        frame = source.read()
    assert frame.index == 0
    assert (source.reopened, openers.calls, len(events)) == (0, 4, 3)


def test_a_wrong_option_is_no_reason_to_wait() -> None:
    openers = Openers(UsageError("unknown option"), ABSENT)
    source = ReopeningSource("cam", openers, backoff=NoWait(), wait_forever=True)
    with pytest.raises(UsageError):
        source.read()


def test_interrupt_ends_the_wait_and_every_later_read() -> None:
    waiting = threading.Event()
    openers = Openers(ScriptedSource([], LOST))
    source = ReopeningSource("cam", openers, on_event=lambda text: waiting.set(), backoff=Backoff())
    source._backoff._next_s = 3600.0
    found: list[object] = []
    reader = threading.Thread(target=lambda: found.append(source.read()), daemon=True)
    reader.start()
    assert waiting.wait(20)
    source.interrupt()
    reader.join(20)
    assert found == [None]
    assert source.read() is None
    source.close()


def test_events_go_to_the_log_unless_told_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    openers = Openers(ScriptedSource([], LOST), ScriptedSource([(4, 6)], LOST))
    with caplog.at_level(logging.WARNING, "bisenet_edge.sources"):
        ReopeningSource("cam", openers, backoff=NoWait()).read()
    assert [record.getMessage() for record in caplog.records] == [
        "cam: no frame for 5 s; trying again in 0 s",
        "cam: back after loss no. 1",
    ]
