"""Many sinks on one run: each its own pace, its own drops, its own end. No test depends on a time."""

from __future__ import annotations

import errno
import random
import threading
import time
from typing import Callable, List

import pytest
from pipeline_doubles import (
    TIMEOUT_S,
    AheadSession,
    EchoSession,
    ListSink,
    NumberSource,
    assert_adds_up,
    nothing,
    run_threads,
)

from bisenet_edge.errors import SinkError
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.pipeline.observer import Observer
from bisenet_edge.runtime.pipeline.run import RunOptions, run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.pipeline.stages import slots_needed
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.sinks.disk import disk_full
from bisenet_edge.runtime.sources import open_source
from bisenet_edge.runtime.status import RunStatus

SIZES = [(32, 64), (40, 100), (64, 128), (100, 40)]
FULL_DISK = OSError(errno.ENOSPC, "No space left on device")


class Notes(Observer):
    def __init__(self) -> None:
        self.events: List[str] = []

    def event(self, text: str) -> None:
        self.events.append(text)


def failing_at(number: int, error: BaseException) -> Callable[[int], None]:
    def fail(index: int) -> None:
        if index == number:
            raise error

    return fail


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("live", [False, True])
def test_no_mask_is_ever_attributed_to_another_frame(seed: int, live: bool) -> None:
    # Frames of changing sizes, an engine that is ahead in half of the cases, sinks of random paces of which
    # one fails in half of the live cases: whatever arrives shows the number of its own frame.
    random_of = random.Random(seed)
    size_changes = sorted(random_of.sample(range(1, 250), 12))

    def size_of(index: int):
        return SIZES[sum(change <= index for change in size_changes) % len(SIZES)]

    def pace(longest_s: float, also: Callable[[int], None] = nothing) -> Callable[[int], None]:
        own = random.Random(random_of.random())

        def wait(index: int) -> None:
            also(index)
            if own.random() < 0.3:
                time.sleep(own.random() * longest_s)

        return wait

    breaks = failing_at(0, SinkError("gone")) if live and seed % 4 < 2 else nothing
    sinks = [ListSink(pace(0.002)), ListSink(pace(0.01, breaks)), ListSink(), ListSink(pace(0.001))]
    source = NumberSource(250, live=live, before=pace(0.002), size_of=size_of)
    with AheadSession(pace(0.002)) if seed % 2 else EchoSession(pace(0.002)) as session:
        report = run(source, Segmenter(session), sinks)
        slots = slots_needed(len(sinks), session.in_flight)
    assert report.frames_captured == 250
    assert_adds_up(report)
    for sink, told in zip(sinks, report.sinks):
        indices = [index for index, _, _ in sink.seen]
        assert all(frame == mask == index % 251 for index, frame, mask in sink.seen)
        assert indices == sorted(set(indices))
        assert len(indices) == told.written
        assert live or indices == list(range(250))
        assert sink.ended == "closed"
    assert [bool(told.failure) for told in report.sinks] == [False, breaks is not nothing, False, False]
    # A slot may hold images of several sizes one after another, never two at a time.
    assert len(source.buffers) <= slots * len(SIZES) * 12


def test_a_blocked_sink_stops_neither_a_live_source_nor_the_other_sinks() -> None:
    # The first sink does not return from its first frame until the second has taken all 200.
    all_written = threading.Event()
    taken = threading.Semaphore(0)

    def before_read(index: int) -> None:
        if 0 < index < 200:
            assert taken.acquire(timeout=TIMEOUT_S)

    def note(index: int) -> None:
        taken.release()
        if index == 199:
            all_written.set()

    def block(index: int) -> None:
        assert all_written.wait(TIMEOUT_S)

    blocked, free = ListSink(block), ListSink(note)
    source = NumberSource(200, live=True, before=before_read)
    report = run(source, Segmenter(EchoSession()), [blocked, free])
    assert free.seen == [(i, i, i) for i in range(200)]
    assert blocked.seen == [(0, 0, 0), (199, 199, 199)]
    assert [(sink.written, sink.dropped) for sink in report.sinks] == [(2, 198), (200, 0)]
    assert report.frames_dropped == 0
    assert any("took 2 of them, 198 were dropped" in line for line in report.sentences())


def test_a_live_source_never_waits_for_a_slot_when_every_sink_is_blocked() -> None:
    all_read = threading.Event()

    def before_read(index: int) -> None:
        if index == 500:
            all_read.set()

    def block(index: int) -> None:
        assert all_read.wait(TIMEOUT_S)

    sinks = [ListSink(block) for _ in range(4)]
    source = NumberSource(500, live=True, before=before_read)
    report = run(source, Segmenter(EchoSession()), sinks)
    assert report.frames_captured == 500
    assert_adds_up(report)
    assert len(source.buffers) <= slots_needed(4, 1)


def test_a_live_run_outlives_a_sink_that_fails_and_says_so() -> None:
    told = threading.Event()

    class Told(Notes):
        def event(self, text: str) -> None:
            super().event(text)
            told.set()

    offered = threading.Semaphore(0)

    def before_read(index: int) -> None:
        if 1 <= index <= 4:
            assert offered.acquire(timeout=TIMEOUT_S)
        if index == 50:
            assert told.wait(TIMEOUT_S)  # said while it runs, not at its end

    def fill_the_disk(index: int) -> None:
        offered.release()
        if index == 3:
            raise FULL_DISK

    notes = Told()
    broken, whole = ListSink(fill_the_disk, "overlay.mp4"), ListSink()
    source = NumberSource(100, live=True, before=before_read)
    report = run(source, Segmenter(EchoSession()), [broken, whole], options=RunOptions(observers=(notes,)))
    assert notes.events == [
        "sink overlay.mp4 failed and was closed: OSError: [Errno 28] No space left on device"
    ]
    assert (len(broken.seen), broken.ended, whole.ended) == (3, "closed", "closed")
    assert whole.seen[-1] == (99, 99, 99)
    assert [sink.uri for sink in report.failures] == ["overlay.mp4"]
    assert "No space left" in report.to_json()["sinks"][0]["failure"]
    assert_adds_up(report)


def test_a_disk_that_is_full_ends_the_recording_and_not_the_run_fake(tmp_path, monkeypatch) -> None:
    asked, full = [], threading.Event()

    def check_space(path) -> None:
        asked.append(path)
        if len(asked) == 20:
            full.set()
            raise disk_full(path, "1.0 MB left")

    def before_read(index: int) -> None:
        if full.is_set():
            after.append(index)

    after: List[int] = []
    monkeypatch.setattr("bisenet_edge.runtime.sinks.files.check_space", check_space)
    video, other = open_sink(str(tmp_path / "a.avi"), CAMVID, 30, live=True), ListSink()
    stop = threading.Event()
    other._before = lambda index: stop.set() if len(after) > 100 else None
    source = NumberSource(10**9, live=True, before=before_read)
    report = run(source, Segmenter(EchoSession()), [video, other], stop=stop)
    assert [sink.uri for sink in report.failures] == [str(tmp_path / "a.avi")]
    assert "the disk is full" in report.sinks[0].failure
    assert other.ended == "closed"
    assert_adds_up(report)
    with open_source(str(tmp_path / "a.avi")) as kept:
        assert kept.read() is not None


def test_a_token_is_told_to_nobody() -> None:
    notes = Notes()
    sinks = [ListSink(failing_at(0, FULL_DISK), "http://:8080?token=hush"), ListSink()]
    options = RunOptions(observers=(notes,))
    report = run(NumberSource(60, live=True), Segmenter(EchoSession()), sinks, options=options)
    told = f"{report.to_json()} {report.sentences()} {list(report.times())} {notes.events}"
    assert "http://:8080?token=***" in told
    assert "hush" not in told


def test_a_live_run_ends_at_once_when_no_sink_is_left() -> None:
    sinks = [ListSink(failing_at(2, FULL_DISK)), ListSink(failing_at(4, SinkError("client gone")))]
    report = run(NumberSource(10**9, live=True), Segmenter(EchoSession()), sinks)
    assert report.ended_by == "no sink left"
    assert len(report.failures) == 2
    assert_adds_up(report)
    assert run_threads() == []


def test_a_sink_that_cannot_be_closed_after_it_failed_says_both() -> None:
    class Broken(ListSink):
        def _complete(self) -> None:
            raise SinkError("a video was not written whole", got="a.mp4")

    sinks = [Broken(failing_at(0, FULL_DISK)), ListSink()]
    report = run(NumberSource(60, live=True), Segmenter(EchoSession()), sinks)
    (failed,) = report.failures
    assert failed.failure.endswith(
        "No space left on device; closing it: a video was not written whole: a.mp4"
    )


def test_a_sink_of_a_live_source_that_cannot_be_completed_leaves_the_others() -> None:
    class Broken(ListSink):
        def _complete(self) -> None:
            raise SinkError("not whole", got="a.mp4")

    notes, last = Notes(), ListSink()
    options = RunOptions(observers=(notes,))
    report = run(NumberSource(9, live=True), Segmenter(EchoSession()), [Broken(), last], options=options)
    assert [sink.failure for sink in report.sinks] == ["not whole: a.mp4", ""]
    assert last.ended == "closed"
    assert notes.events == ["sink list failed and was closed: not whole: a.mp4"]


def test_a_file_run_ends_with_the_error_of_its_sink() -> None:
    sinks = [ListSink(failing_at(3, FULL_DISK)), ListSink()]
    with pytest.raises(OSError, match="No space left") as caught:
        run(NumberSource(10**6), Segmenter(EchoSession()), sinks)
    assert caught.value is FULL_DISK
    assert [sink.ended for sink in sinks] == ["aborted", "aborted"]
    assert run_threads() == []


def test_an_error_while_closing_aborts_the_other_sinks_of_a_file() -> None:
    class BrokenSink(ListSink):
        def _complete(self) -> None:
            raise ZeroDivisionError

    last = ListSink()
    with pytest.raises(ZeroDivisionError):
        run(NumberSource(3), Segmenter(EchoSession()), [BrokenSink(), last])
    assert last.ended == "aborted"


def test_a_mistake_in_a_sink_ends_a_live_run() -> None:
    problem = ZeroDivisionError("as it was raised")
    sinks = [ListSink(failing_at(3, problem)), ListSink()]
    with pytest.raises(ZeroDivisionError) as caught:
        run(NumberSource(10**9, live=True), Segmenter(EchoSession()), sinks)
    assert caught.value is problem
    assert sinks[1].ended == "aborted"
    assert run_threads() == []


@pytest.mark.parametrize("live", [False, True])
def test_a_sink_that_never_returns_does_not_keep_a_run_from_ending(live: bool) -> None:
    stop, release = threading.Event(), threading.Event()

    def hang(index: int) -> None:
        if index == 2:
            stop.set()
            assert release.wait(TIMEOUT_S)

    hanging, other = ListSink(hang, "hanging"), ListSink()
    source = NumberSource(10**9, live=live)
    options = RunOptions(drain_s=0.2)
    try:
        if live:
            report = run(source, Segmenter(EchoSession()), [hanging, other], stop=stop, options=options)
            assert [sink.failure for sink in report.sinks] == ["it did not return from a write in time", ""]
            assert_adds_up(report)
            assert other.ended == "closed"
        else:
            with pytest.raises(SinkError, match="does not return from a write"):
                run(source, Segmenter(EchoSession()), [hanging, other], stop=stop, options=options)
            assert other.ended == "aborted"
        assert hanging.ended == ""  # another thread is inside it: neither closed nor aborted
    finally:
        release.set()


def test_sinks_are_told_how_the_run_is_doing_on_their_own_thread_even_without_frames() -> None:
    # The second frame only comes when the sink was told twice.
    twice = threading.Event()

    class Listener(ListSink):
        def __init__(self) -> None:
            super().__init__()
            self.told: List[RunStatus] = []
            self.threads = set()

        def write(self, frame, mask):
            self.threads.add(threading.get_ident())
            super().write(frame, mask)

        def tell(self, status: RunStatus) -> None:
            self.threads.add(threading.get_ident())
            self.told.append(status)
            if len(self.told) == 2:
                twice.set()

    def before_read(index: int) -> None:
        if index == 1:
            assert twice.wait(TIMEOUT_S)

    sink = Listener()
    options = RunOptions(status_s=0.0, sensors=lambda: (41.5, None))
    run(NumberSource(2, live=True, before=before_read), Segmenter(EchoSession()), [sink], options=options)
    assert len(sink.threads) == 1
    assert sink.told[-1].captured >= 1
    assert (sink.told[0].temperature_c, sink.told[0].power_mw) == (41.5, None)
    assert sink.told[0].age_p99_ms is None  # not from fewer than 100 frames


def test_a_sink_that_fails_when_it_is_told_has_failed() -> None:
    class Deaf(ListSink):
        def tell(self, status: RunStatus) -> None:
            raise SinkError("client gone")

    sink = Deaf()
    report = run(
        NumberSource(10**9, live=True), Segmenter(EchoSession()), [sink], options=RunOptions(status_s=0.0)
    )
    assert (report.ended_by, report.sinks[0].failure, sink.ended) == ("no sink left", "client gone", "closed")
