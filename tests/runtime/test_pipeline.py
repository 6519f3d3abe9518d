"""The pipeline: order, overlap, dropping, buffers, errors and stopping. No test depends on a time."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Callable, List, Optional, Set, Tuple

import cv2
import numpy as np
import pytest

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.errors import SourceError
from bisenet_edge.frame import Frame, Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.backends.null import NullSession
from bisenet_edge.runtime.pipeline import SLOTS, RunReport, run
from bisenet_edge.runtime.segmenter import STAGES, Segmenter
from bisenet_edge.runtime.sinks import Sink, open_sink
from bisenet_edge.runtime.sources import Source, open_source

SIZE = Size(64, 32)
TIMEOUT_S = 20
ARTIFACT = Artifact(Path(), Manifest("toy", "", "toy", CAMVID, SIZE, "int8"))


def nothing(index: int) -> None:
    """Do nothing."""


class NumberSource(Source):
    """Frame i is filled with i % 251; `before` is called ahead of each read, also of the last."""

    def __init__(self, frames: int, *, live: bool = False, before: Callable[[int], None] = nothing) -> None:
        super().__init__("numbers", fps=30, size_hw=SIZE.hw, count=None if live else frames)
        self.live = live
        self._frames = frames
        self._before = before
        self.buffers: Set[int] = set()

    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        self._before(index)
        if index == self._frames:
            return None
        image = out if out is not None else np.empty((*SIZE.hw, 3), np.uint8)
        image[:] = index % 251
        self.buffers.add(image.ctypes.data)
        return image


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


class ListSink(Sink):
    """Keeps (index, number in the frame, number in the mask), and how it ended."""

    def __init__(self, before: Callable[[int], None] = nothing) -> None:
        super().__init__("list")
        self._before = before
        self.seen: List[Tuple[int, int, int]] = []
        self.buffers: Set[int] = set()
        self.ended = ""

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        self._before(len(self.seen))
        assert mask.shape == frame.image.shape[:2]
        (number,) = np.unique(mask)
        self.seen.append((frame.index, int(frame.image[0, 0, 0]), int(number)))
        self.buffers.add(mask.ctypes.data)

    def _complete(self) -> None:
        self.ended = "closed"

    def _discard(self) -> None:
        self.ended = "aborted"


def run_threads() -> List[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("bisenet-edge")]


def test_every_frame_of_a_file_arrives_in_order_with_its_own_mask() -> None:
    source, first, second = NumberSource(300), ListSink(), ListSink()
    report = run(source, Segmenter(EchoSession()), [first, second])
    assert first.seen == second.seen == [(i, i % 251, i % 251) for i in range(300)]
    assert (report.frames_captured, report.frames_written, report.frames_dropped) == (300, 300, 0)
    assert not report.stopped
    assert (first.ended, second.ended) == ("closed", "closed")
    assert run_threads() == []


def test_buffers_go_round() -> None:
    source, sink = NumberSource(200), ListSink()
    run(source, Segmenter(EchoSession()), [sink])
    assert len(source.buffers) <= SLOTS
    assert len(sink.buffers) <= SLOTS


def test_the_report_has_every_stage() -> None:
    report = run(NumberSource(120), Segmenter(NullSession(ARTIFACT, "int8")), [])
    assert isinstance(report, RunReport)
    assert tuple(report.stages) == STAGES
    assert all(s.samples == 120 for s in report.stages.values())
    value = report.to_json()
    assert value["frames_written"] == 120
    assert value["fps"] == pytest.approx(120 / report.wall_s, rel=0.01)
    assert value["frame_age"]["p99_ms"] > 0
    assert set(value["stages"]) == {"decode", "resize", "infer", "sink"}


def test_capture_inference_and_output_run_at_the_same_time() -> None:
    # Reading frame 2, inferring frame 1 and writing frame 0 wait for each other: one after another, or
    # two of them in one thread, would break the barrier.
    together = threading.Barrier(3)

    def meet_at(wanted: int) -> Callable[[int], None]:
        return lambda index: together.wait(TIMEOUT_S) if index == wanted else None

    source = NumberSource(6, before=meet_at(2))
    sink = ListSink(before=meet_at(0))
    report = run(source, Segmenter(EchoSession(before=meet_at(1))), [sink])
    assert report.frames_written == 6


def test_a_file_waits_for_a_slow_sink() -> None:
    read = []
    gate = threading.Event()

    def note(index: int) -> None:
        read.append(index)
        if index == SLOTS - 1:
            gate.set()  # every slot is in use, the next read must wait for one

    def hold(index: int) -> None:
        assert gate.wait(TIMEOUT_S)
        if index == 0:
            assert max(read) == SLOTS - 1

    report = run(NumberSource(50, before=note), Segmenter(EchoSession()), [ListSink(before=hold)])
    assert report.frames_written == 50


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
    assert sink.seen == [(0, 0, 0), (9, 9, 9)]
    assert (report.frames_captured, report.frames_written, report.frames_dropped) == (10, 2, 8)
    assert len(source.buffers) <= SLOTS


def test_a_blocked_sink_does_not_stop_a_live_source() -> None:
    # Frames 0, 1 and 2 fill everything behind inference; then the source must go on all the same.
    all_read = threading.Event()
    inferring = [threading.Event() for _ in range(3)]

    def before_infer(call: int) -> None:
        if call < 3:
            inferring[call].set()

    def before_read(index: int) -> None:
        if 1 <= index <= 3:
            assert inferring[index - 1].wait(TIMEOUT_S)
        if index == 200:
            all_read.set()

    def before_write(index: int) -> None:
        assert all_read.wait(TIMEOUT_S)

    sink = ListSink(before=before_write)
    source = NumberSource(200, live=True, before=before_read)
    report = run(source, Segmenter(EchoSession(before_infer)), [sink])
    assert sink.seen == [(i, i, i) for i in (0, 1, 2, 199)]
    assert (report.frames_captured, report.frames_written, report.frames_dropped) == (200, 4, 196)


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

    video = open_sink(str(tmp_path / "a.avi"), CAMVID, 30)
    sinks = [video, ListSink(before=written)]
    source = NumberSource(1000, live=live, before=paced)
    with pytest.raises(ZeroDivisionError) as caught:
        run(source, Segmenter(EchoSession(hooks["session"])), sinks)
    assert caught.value is problem
    assert sinks[1].ended == "aborted"
    assert list(tmp_path.iterdir()) == []
    assert run_threads() == []


def test_an_error_while_closing_aborts_the_other_sinks() -> None:
    class BrokenSink(ListSink):
        def _complete(self) -> None:
            raise ZeroDivisionError

    last = ListSink()
    with pytest.raises(ZeroDivisionError):
        run(NumberSource(3), Segmenter(EchoSession()), [BrokenSink(), last])
    assert last.ended == "aborted"


def test_an_error_of_the_progress_display_ends_the_run() -> None:
    def broken(step: str, done: int, total: int) -> None:
        raise BrokenPipeError

    sink = ListSink()
    with pytest.raises(BrokenPipeError):
        run(NumberSource(10**9), Segmenter(EchoSession()), [sink], progress=broken)
    assert sink.ended == "aborted"
    assert run_threads() == []


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
    assert told[-1] == ("frames", report.frames_written, report.frames_written)
    assert len(told) > 1
    assert all(done > 0 and total in (promised, 0) and done != total for _, done, total in told[:-1])


def test_stopping_writes_what_is_on_its_way_and_closes_a_playable_video(tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_after_ten(index: int) -> None:
        if index == 10:
            stop.set()

    sinks = [open_sink(str(tmp_path / "a.mp4"), CAMVID, 30), ListSink(before=stop_after_ten)]
    report = run(NumberSource(10**9), Segmenter(EchoSession()), sinks, stop=stop)
    assert report.stopped
    assert 10 < report.frames_captured == report.frames_written <= 10 + SLOTS + 1
    assert [index for index, _, _ in sinks[1].seen] == list(range(report.frames_written))
    with open_source(str(tmp_path / "a.mp4")) as source:
        assert len(list(iter(source.read, None))) == report.frames_written


def test_ctrl_c_stops_cleanly() -> None:
    def interrupt(index: int) -> None:
        if index == 10:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    sink = ListSink(before=interrupt)
    report = run(NumberSource(10**9), Segmenter(EchoSession()), [sink])
    assert report.stopped
    assert report.frames_written == len(sink.seen) > 10
    assert sink.ended == "closed"


def test_a_second_ctrl_c_does_not_wait_for_the_rest() -> None:
    stop = threading.Event()
    main = threading.main_thread().ident

    def interrupt_twice(index: int) -> None:
        if index == 10:
            signal.pthread_kill(main, signal.SIGINT)
            assert stop.wait(TIMEOUT_S)
            signal.pthread_kill(main, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(NumberSource(10**9), Segmenter(EchoSession()), [ListSink(before=interrupt_twice)], stop=stop)
    assert run_threads() == []


def test_stopped_before_the_first_frame(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    report = run(
        NumberSource(5), Segmenter(EchoSession()), [open_sink(str(tmp_path / "a.mp4"), CAMVID, 30)], stop=stop
    )
    assert (report.frames_captured, report.frame_age, report.stages) == (0, None, {})
    assert report.to_json()["frame_age"] is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_several_sizes_gives_each_picture_a_mask_of_its_own_size(tmp_path: Path) -> None:
    sizes = [(40, 100), (100, 40), (32, 64), (64, 128), (40, 100)]
    (tmp_path / "in").mkdir()
    for index, hw in enumerate(sizes):
        cv2.imwrite(str(tmp_path / "in" / f"{index}.png"), np.full((*hw, 3), index, np.uint8))
    with open_source(str(tmp_path / "in")) as source:
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
