"""The pipeline: order, overlap, dropping, buffers, limits and stopping. No test depends on a time."""

from __future__ import annotations

import math
import signal
import threading
from pathlib import Path
from typing import Callable, List, Tuple

import cv2
import numpy as np
import pytest
from pipeline_doubles import (
    ARTIFACT,
    TIMEOUT_S,
    AheadSession,
    EchoSession,
    ListSink,
    NumberSource,
    assert_adds_up,
    run_threads,
)

from bisenet_edge.errors import SourceError
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.backends.null import NullSession
from bisenet_edge.runtime.pipeline.clock import STAGES
from bisenet_edge.runtime.pipeline.run import RunOptions, RunReport, run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.pipeline.stages import slots_needed
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.sources import open_source


def test_every_frame_of_a_file_arrives_in_order_with_its_own_mask() -> None:
    source, first, second = NumberSource(300), ListSink(), ListSink()
    report = run(source, Segmenter(EchoSession()), [first, second])
    assert first.seen == second.seen == [(i, i % 251, i % 251) for i in range(300)]
    assert (report.frames_captured, report.frames_delivered, report.frames_dropped) == (300, 300, 0)
    assert [(sink.written, sink.dropped) for sink in report.sinks] == [(300, 0), (300, 0)]
    assert report.ended_by == "end of source"
    assert not report.stopped
    assert (first.ended, second.ended) == ("closed", "closed")
    assert run_threads() == []


def test_buffers_go_round() -> None:
    source, sink = NumberSource(200), ListSink()
    run(source, Segmenter(EchoSession()), [sink])
    assert len(source.buffers) <= slots_needed(1, 1)
    assert len(sink.buffers) <= slots_needed(1, 1)


def test_the_report_has_every_stage() -> None:
    report = run(NumberSource(120), Segmenter(NullSession(ARTIFACT, "int8")), [ListSink()])
    assert isinstance(report, RunReport)
    assert tuple(report.stages) == STAGES
    assert all(s.samples == 120 for s in report.stages.values())
    value = report.to_json()
    assert value["frames_delivered"] == 120
    assert value["fps"] == pytest.approx(120 / report.wall_s, rel=0.01)
    assert value["frame_age"]["p99_ms"] > 0
    assert set(value["stages"]) == {"decode", "resize", "infer", "sink"}
    assert value["sinks"][0]["write"]["samples"] == 120
    assert list(report.times()) == ["decode", "resize", "infer", "sink list", "frame age"]


def test_frames_carry_their_times_to_the_sinks() -> None:
    class TimesSink(ListSink):
        def write(self, frame, mask):
            assert set(frame.stages_ms) == {"decode", "resize", "infer"}
            assert all(value >= 0 for value in frame.stages_ms.values())
            super().write(frame, mask)

    assert run(NumberSource(20), Segmenter(EchoSession()), [TimesSink()]).sinks[0].written == 20


def test_capture_inference_and_output_run_at_the_same_time() -> None:
    # Reading frame 2, inferring frame 1 and writing frame 0 to both sinks wait for each other: one after
    # another, or two of them in one thread, would break the barrier.
    together = threading.Barrier(4)

    def meet_at(wanted: int) -> Callable[[int], None]:
        return lambda index: together.wait(TIMEOUT_S) if index == wanted else None

    source = NumberSource(6, before=meet_at(2))
    sinks = [ListSink(before=meet_at(0)), ListSink(before=meet_at(0))]
    report = run(source, Segmenter(EchoSession(before=meet_at(1))), sinks)
    assert report.frames_delivered == 6


def test_a_file_waits_for_a_slow_sink() -> None:
    read = []
    gate = threading.Event()
    slots = slots_needed(1, 1)

    def note(index: int) -> None:
        read.append(index)
        if index == slots - 1:
            gate.set()  # the last free slot is in use, the next read must wait for one

    def hold(index: int) -> None:
        assert gate.wait(TIMEOUT_S)
        if index == 0:
            assert max(read) == slots - 1

    report = run(NumberSource(50, before=note), Segmenter(EchoSession()), [ListSink(before=hold)])
    assert report.frames_delivered == 50


def test_the_newest_frame_of_a_live_source_wins() -> None:
    # Inference of frame 0 lasts until frame 9 has been captured and the source asks for the tenth:
    # of frames 1 to 9 only the newest is left.
    busy, captured = threading.Event(), threading.Event()

    def before_read(index: int) -> None:
        if index == 1:
            assert busy.wait(TIMEOUT_S)
        if index == 10:
            captured.set()

    def before_infer(call: int) -> None:
        if call == 0:
            busy.set()
            assert captured.wait(TIMEOUT_S)

    sink = ListSink()
    source = NumberSource(10, live=True, before=before_read)
    report = run(source, Segmenter(EchoSession(before_infer)), [sink])
    assert (report.frames_captured, report.frames_delivered, report.frames_dropped) == (10, 2, 8)
    assert sink.seen[-1] == (9, 9, 9)
    assert_adds_up(report)
    assert len(source.buffers) <= slots_needed(1, 1)


def test_an_engine_that_takes_two_frames_gets_the_next_one_ahead_of_time_fake() -> None:
    # Frame 0 is submitted when frame 1 waits for inference, i.e. when frame 2 is read; the engine begins
    # frame 0 when frame 1 was submitted, too: without frames ahead it never would.
    next_waits, both_submitted = threading.Event(), threading.Event()

    def before_read(index: int) -> None:
        if index == 2:
            next_waits.set()

    class Session(AheadSession):
        def _submit(self, frame, mask):
            assert next_waits.wait(TIMEOUT_S)
            super()._submit(frame, mask)
            if self.log.count("submit") == 2:
                both_submitted.set()

    def before_compute(number: int) -> None:
        assert both_submitted.wait(TIMEOUT_S)

    sink = ListSink()
    with Session(before_compute) as session:
        report = run(NumberSource(40, before=before_read), Segmenter(session), [sink])
    assert sink.seen == [(i, i, i) for i in range(40)]
    assert session.log[:3] == ["submit", "submit", "finish"]
    assert report.frames_delivered == 40
    assert run_threads() == []


def test_a_frame_is_finished_at_once_where_none_waits_fake() -> None:
    # Frame i is only read when the mask of frame i - 1 was written: two in flight can never be.
    written = threading.Semaphore(1)

    def before_read(index: int) -> None:
        assert written.acquire(timeout=TIMEOUT_S)

    sink = ListSink(before=lambda index: written.release())
    with AheadSession() as session:
        report = run(NumberSource(30, live=True, before=before_read), Segmenter(session), [sink])
    assert session.log == ["submit", "finish"] * 30
    assert report.frames_delivered == 30


@pytest.mark.parametrize(("live", "promised"), [(False, 20), (True, 0)])
def test_progress_is_full_once_at_the_end(live: bool, promised: int) -> None:
    told: List[Tuple[str, int, int]] = []
    enough = threading.Event()

    def tell(step: str, done: int, total: int) -> None:
        told.append((step, done, total))
        enough.set()

    def before_read(index: int) -> None:
        if index == 10:
            assert enough.wait(TIMEOUT_S)

    report = run(NumberSource(20, live=live, before=before_read), Segmenter(EchoSession()), [], progress=tell)
    assert told[-1] == ("frames", report.frames_delivered, report.frames_delivered)
    assert len(told) > 1
    assert all(done > 0 and total in (promised, 0) and done != total for _, done, total in told[:-1])


def test_stopping_writes_what_is_on_its_way_and_closes_a_playable_video(tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_after_ten(index: int) -> None:
        if index == 10:
            stop.set()

    sinks = [open_sink(str(tmp_path / "a.mp4"), CAMVID, 30), ListSink(before=stop_after_ten)]
    report = run(NumberSource(10**9), Segmenter(EchoSession()), sinks, stop=stop)
    assert (report.stopped, report.ended_by) == (True, "stop")
    assert 10 < report.frames_captured == report.frames_delivered
    assert [index for index, _, _ in sinks[1].seen] == list(range(report.frames_delivered))
    assert_adds_up(report)
    with open_source(str(tmp_path / "a.mp4")) as source:
        assert len(list(iter(source.read, None))) == report.frames_delivered


def test_ctrl_c_stops_cleanly() -> None:
    def interrupt(index: int) -> None:
        if index == 10:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    sink = ListSink(before=interrupt)
    report = run(NumberSource(10**9), Segmenter(EchoSession()), [sink])
    assert report.stopped
    assert report.frames_delivered == len(sink.seen) > 10
    assert sink.ended == "closed"


@pytest.mark.parametrize("live", [False, True])
def test_a_second_ctrl_c_does_not_wait_for_the_rest(live: bool) -> None:
    stop = threading.Event()
    main = threading.main_thread().ident

    def interrupt_twice(index: int) -> None:
        if index == 10:
            signal.pthread_kill(main, signal.SIGINT)
            assert stop.wait(TIMEOUT_S)
            signal.pthread_kill(main, signal.SIGINT)

    sink = ListSink(before=interrupt_twice)
    with pytest.raises(KeyboardInterrupt):
        run(NumberSource(10**9, live=live), Segmenter(EchoSession()), [sink], stop=stop)
    assert sink.ended == "aborted"
    assert run_threads() == []


def test_stopped_before_the_first_frame(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    waiting = threading.Event()
    source = NumberSource(5, before=lambda index: waiting.wait(0.2) and None)
    report = run(
        source, Segmenter(EchoSession()), [open_sink(str(tmp_path / "a.mp4"), CAMVID, 30)], stop=stop
    )
    assert report.ended_by == "stop"
    assert_adds_up(report)


def test_a_run_without_frames_has_no_figures_and_leaves_no_file(tmp_path: Path) -> None:
    report = run(NumberSource(0), Segmenter(EchoSession()), [open_sink(str(tmp_path / "a.mp4"), CAMVID, 30)])
    assert (report.frames_captured, report.frame_age, report.stages) == (0, None, {})
    assert report.to_json()["frame_age"] is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("live", [False, True])
def test_a_number_of_frames_is_kept_to_exactly(live: bool) -> None:
    report = run(
        NumberSource(10**9, live=live), Segmenter(EchoSession()), [], options=RunOptions(max_frames=17)
    )
    assert (report.frames_captured, report.ended_by) == (17, "frames")
    assert report.frames_delivered == 17 or live
    assert_adds_up(report)


def test_a_number_of_seconds_ends_a_source_that_waits_for_a_frame() -> None:
    # Its second frame never comes; `interrupt` is what makes the read return.
    source = NumberSource(1, live=True)
    source._before = lambda index: source.interrupted.wait(TIMEOUT_S) and None if index else None
    report = run(source, Segmenter(EchoSession()), [ListSink()], options=RunOptions(max_seconds=0.1))
    assert source.interrupted.is_set()
    assert (report.frames_captured, report.ended_by) == (1, "seconds")


@pytest.mark.parametrize(
    ("budget_ms", "frames", "misses", "kept"),
    [(1e9, 150, 0, True), (0.0, 150, 150, False), (0.0, 99, 99, None), (None, 150, 0, None)],
)
def test_masks_that_are_too_old_are_counted(budget_ms, frames, misses, kept) -> None:
    report = run(
        NumberSource(frames), Segmenter(EchoSession()), [], options=RunOptions(latency_budget_ms=budget_ms)
    )
    assert (report.deadline_misses, report.within_budget) == (misses, kept)
    said = " ".join(report.sentences())
    assert ("latency budget" in said) == (budget_ms is not None)
    assert ("MISSED" in said) == (kept is False)


def test_a_folder_of_several_sizes_gives_each_picture_a_mask_of_its_own_size(tmp_path: Path) -> None:
    sizes = [(40, 100), (100, 40), (32, 64), (64, 128), (40, 100)]
    (tmp_path / "in").mkdir()
    for index, hw in enumerate(sizes):
        cv2.imwrite(str(tmp_path / "in" / f"{index}.png"), np.full((*hw, 3), index, np.uint8))
    with open_source(str(tmp_path / "in")) as source:
        assert math.isnan(source.fps)
        run(source, Segmenter(EchoSession()), [open_sink(f"{tmp_path}/out/", CAMVID, source.fps)])
    for index, hw in enumerate(sizes):
        mask = cv2.imread(str(tmp_path / "out" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, np.full(hw, index, np.uint8))


def test_a_truncated_video_is_an_error_and_leaves_no_output(tmp_path: Path) -> None:
    clip, out = tmp_path / "clip.avi", tmp_path / "out"
    writer = cv2.VideoWriter(str(clip), int.from_bytes(b"MJPG", "little"), 25, (64, 32))
    for index in range(40):
        writer.write(np.random.default_rng(index).integers(0, 255, (32, 64, 3), dtype=np.uint8))
    writer.release()
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    sinks = [open_sink(f"{out}/{name}", CAMVID, 25) for name in ("a.mp4", "masks/")]
    with open_source(str(clip)) as source, pytest.raises(SourceError, match=r"frame \d+ of 40"):
        run(source, Segmenter(EchoSession()), sinks)
    assert list(out.iterdir()) == []
