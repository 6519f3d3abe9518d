"""What goes wrong in a run: workers that raise or hang, clocks that jump, sources that are lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import List, Optional

import pytest
from pipeline_doubles import (
    TIMEOUT_S,
    EchoSession,
    ListSink,
    NumberSource,
    assert_adds_up,
    nothing,
    run_threads,
)

from bisenet_edge.errors import BackendError, SourceError
from bisenet_edge.frame import Frame
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.pipeline.observer import Observer
from bisenet_edge.runtime.pipeline.run import RunOptions, run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.sources import open_source

HOUR_NS = 3_600_000_000_000
SECOND_NS = 1_000_000_000  # less than this machine has been up


@pytest.mark.parametrize("stage", ["source", "session", "sink"])
@pytest.mark.parametrize("live", [False, True])
def test_an_error_of_any_stage_is_raised_on_the_caller(tmp_path: Path, stage: str, live: bool) -> None:
    problem = ZeroDivisionError("as it was raised")

    def fail(index: int) -> None:
        if index == 4:
            raise problem

    hooks = {name: fail if name == stage else nothing for name in ("source", "session", "sink")}
    # Live, or the counters of session and sink might never reach 4.
    lockstep = threading.Semaphore(1)

    def paced(index: int) -> None:
        if live and index > 0:
            lockstep.acquire(timeout=0.2)
        hooks["source"](index)

    def written(index: int) -> None:
        lockstep.release()
        hooks["sink"](index)

    video = open_sink(str(tmp_path / "a.avi"), CAMVID, 30, live=live)
    sinks = [video, ListSink(before=written)]
    source = NumberSource(1000, live=live, before=paced)
    with pytest.raises(ZeroDivisionError) as caught:
        run(source, Segmenter(EchoSession(hooks["session"])), sinks)
    assert caught.value is problem
    assert source.interrupted.is_set()
    assert run_threads() == []
    assert sinks[1].ended == "aborted"
    if live:  # a recording is kept as far as it goes
        with open_source(str(tmp_path / "a.avi")) as kept:
            assert len(list(iter(kept.read, None))) >= 1
    else:  # half a converted file is not
        assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_progress_display_ends_the_run() -> None:
    def broken(step: str, done: int, total: int) -> None:
        raise BrokenPipeError

    sink = ListSink()
    with pytest.raises(BrokenPipeError):
        run(NumberSource(10**9), Segmenter(EchoSession()), [sink], progress=broken)
    assert sink.ended == "aborted"
    assert run_threads() == []


def test_a_source_that_never_returns_does_not_keep_a_run_from_ending() -> None:
    stop, release = threading.Event(), threading.Event()

    def hang(index: int) -> None:
        if index == 3:
            stop.set()
            assert release.wait(TIMEOUT_S)

    sink = ListSink()
    try:
        with pytest.raises(SourceError, match="does not return from a read"):
            run(
                NumberSource(9, live=True, before=hang),
                Segmenter(EchoSession()),
                [sink],
                stop=stop,
                options=RunOptions(drain_s=0.2),
            )
        assert sink.ended == "closed"
        assert sink.seen
    finally:
        release.set()


def test_an_engine_that_never_returns_does_not_keep_a_run_from_ending(monkeypatch) -> None:
    monkeypatch.setattr("bisenet_edge.runtime.pipeline.run.HARD_END_S", 0.2)
    stop, release = threading.Event(), threading.Event()

    def hang(call: int) -> None:
        if call == 3:
            stop.set()
            assert release.wait(TIMEOUT_S)

    sink = ListSink()
    try:
        with pytest.raises(BackendError, match="does not finish a frame"):
            run(
                NumberSource(10**9, live=True),
                Segmenter(EchoSession(hang)),
                [sink],
                stop=stop,
                options=RunOptions(drain_s=0.2),
            )
        assert sink.ended == "aborted"
    finally:
        release.set()


class StampedSource(NumberSource):
    """Frame i is stamped with the time of its reading plus `offsets_ns[i]`."""

    def __init__(self, offsets_ns: List[int]) -> None:
        super().__init__(len(offsets_ns))
        self._offsets_ns = offsets_ns

    def read(self, out=None) -> Optional[Frame]:
        frame = super().read(out)
        if frame is not None:
            frame.captured_ns += self._offsets_ns[frame.index]
        return frame


@pytest.mark.parametrize(
    ("offsets_ns", "jumps"),
    [
        ([0] * 6, 0),
        ([0, HOUR_NS, 0, HOUR_NS, 0, 0], 2),  # single stamps in the future
        ([HOUR_NS] * 6, 6),  # a clock that is ahead all the time
        ([0, 0, -SECOND_NS, -SECOND_NS, -SECOND_NS, -SECOND_NS], 1),  # set back once
        ([-SECOND_NS, -SECOND_NS, 0, 0, 0, 0], 0),  # set right: the first ones may well be that old
        ([-(10**19)] * 2 + [0, 0, 0, 10**19], 3),  # before the clock began; nonsense
    ],
)
def test_a_camera_clock_that_jumps_never_makes_a_negative_age(offsets_ns: List[int], jumps: int) -> None:
    events: List[str] = []

    class Notes(Observer):
        def event(self, text: str) -> None:
            events.append(text)

    class AgeSink(ListSink):
        def write(self, frame, mask):
            assert frame.captured_ns <= time.monotonic_ns()
            super().write(frame, mask)

    options = RunOptions(latency_budget_ms=1e12, observers=(Notes(),))
    report = run(StampedSource(offsets_ns), Segmenter(EchoSession()), [AgeSink()], options=options)
    assert report.clock_jumps == jumps
    assert report.frame_age.min_ms >= 0
    assert report.frames_delivered == len(offsets_ns)
    assert len(events) == (1 if jumps else 0)
    assert any("clock jumped" in line for line in report.sentences()) == bool(jumps)


def test_setting_the_time_of_day_changes_nothing(monkeypatch) -> None:
    def forbidden(*args):
        raise AssertionError("the time of day was read")

    monkeypatch.setattr(time, "time", forbidden)
    monkeypatch.setattr(time, "time_ns", forbidden)
    report = run(NumberSource(50), Segmenter(EchoSession()), [ListSink()])
    assert report.frame_age.min_ms >= 0


def test_a_source_that_is_lost_lives_while_it_is_tried_again_and_is_counted() -> None:
    seen = threading.Event()

    class Watcher(Observer):
        def status(self, status, *, alive: bool) -> None:
            if source.attempts and not seen.is_set():
                looks.append(alive)
            if len(looks) > 3:
                seen.set()

    looks: List[bool] = []

    def before_read(index: int) -> None:
        if index == 5:  # lost: no frames, but every look finds another attempt to open it
            while not seen.is_set():
                source.attempts += 1
                time.sleep(0.001)
            source.reopened = 2
            source.corrupt = 7

    source = NumberSource(10, live=True, before=before_read)
    options = RunOptions(observers=(Watcher(),), status_s=0.0)
    report = run(source, Segmenter(EchoSession()), [ListSink()], options=options)
    assert looks == [True] * 4
    assert (report.reopened, report.corrupt) == (2, 7)
    assert any("opened again 2 times, 7 damaged" in line for line in report.sentences())
    assert_adds_up(report)
