"""Camera to mask: capture, inference and output at the same time, each in its own thread.

    source --> [queue of one] --> segmenter --> [queue of one] --> sinks
       ^                                                             |
       +------------------- slots that are free again ---------------+

A slot holds one frame and its mask, and travels round: no buffer is allocated per frame. A file is
processed whole and in order, so a full queue makes its reader wait. From a live source the newest frame
wins: it takes the place of the one that waits for inference, which is dropped and counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Deque, Dict, List, Optional, Sequence

import numpy as np

from bisenet_edge.frame import Frame
from bisenet_edge.latency import LatencySummary
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.segmenter import NEWEST_SAMPLES, Segmenter, StageClock
from bisenet_edge.runtime.sinks import Sink
from bisenet_edge.runtime.sources import Source

# One each: being captured, waiting for inference, in inference, waiting for output, being written.
# With fewer, a blocked sink would stop the capture of a live source.
SLOTS = 5
POLL_S = 0.1


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        frames_captured: frames read; = frames_written + frames_dropped.
        frames_written: frames whose masks went to every sink.
        frames_dropped: frames of a live source that a newer one replaced.
        stopped: it was asked to stop before the source ended.
        wall_s: seconds from the first read to the last closed sink.
        stages: percentiles by stage: "decode", "resize", "infer", "sink" (see `segmenter.STAGES`).
        frame_age: from a frame's capture until its mask is ready; None without frames.
    """

    frames_captured: int
    frames_written: int
    frames_dropped: int
    stopped: bool
    wall_s: float
    stages: Dict[str, LatencySummary]
    frame_age: Optional[LatencySummary]

    @property
    def fps(self) -> float:
        """Masks written per second of wall time."""
        return self.frames_written / self.wall_s

    def to_json(self) -> Dict[str, Any]:
        return {
            "frames_captured": self.frames_captured,
            "frames_written": self.frames_written,
            "frames_dropped": self.frames_dropped,
            "stopped": self.stopped,
            "wall_s": round(self.wall_s, 4),
            "fps": round(self.fps, 3),
            "stages": {stage: summary.to_json() for stage, summary in self.stages.items()},
            "frame_age": self.frame_age.to_json() if self.frame_age else None,
        }


def run(
    source: Source,
    segmenter: Segmenter,
    sinks: Sequence[Sink],
    *,
    progress: Progress = quiet,
    stop: Optional[threading.Event] = None,
) -> RunReport:
    """Segment every frame of a source and give it to every sink.

    Args:
        source: stays open.
        segmenter: used by one other thread meanwhile.
        sinks: closed at the end, or aborted when anything raises.
        progress: told on the calling thread, about ten times a second; total 0 = unknown.
        stop: when set (by a signal handler), no more frames are read, those on their way are written,
            and files are closed. The first KeyboardInterrupt sets it.

    Raises:
        Whatever a stage raised: the original exception, after all threads have ended.
    """
    work = _Run(source, segmenter, sinks, stop or threading.Event())
    start_s = time.monotonic()
    try:
        work.execute(progress)
        for sink in sinks:
            sink.close()
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    return work.report(time.monotonic() - start_s)


class _Slot:
    """One frame on its way round, and the buffers that it needs.

    Attributes:
        frame: None until it was first used; later the last frame, whose image is written over.
        buffer: uint8 [H, W] of the network's size.
        mask: the part of `buffer` that shows the picture.
    """

    def __init__(self, buffer: np.ndarray) -> None:
        self.frame: Optional[Frame] = None
        self.buffer = buffer
        self.mask = buffer


class _Queue:
    """Hands slots from one thread to the next; `queue.Queue` can neither be closed nor replace its item."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._slots: Deque[_Slot] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, slot: _Slot, newest_wins: bool = False) -> Optional[_Slot]:
        """Add a slot. When full, wait; or with `newest_wins` give back the oldest, which it replaces."""
        with self._changed:
            if not newest_wins:
                self._changed.wait_for(lambda: self._closed or len(self._slots) < self._capacity)
            if self._closed:
                return None
            displaced = self._slots.popleft() if len(self._slots) >= self._capacity else None
            self._slots.append(slot)
            self._changed.notify_all()
            return displaced

    def get(self) -> Optional[_Slot]:
        """Take the oldest slot, waiting for one; None once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._slots))
            slot = self._slots.popleft() if self._slots else None
            self._changed.notify_all()
            return slot

    def close(self, *, discard: bool = False) -> None:
        """Let nothing more in; `discard` what is inside, too."""
        with self._changed:
            self._closed = True
            if discard:
                self._slots.clear()
            self._changed.notify_all()


class _Run:
    """The three stages of one run and what flows between them."""

    def __init__(
        self, source: Source, segmenter: Segmenter, sinks: Sequence[Sink], stop: threading.Event
    ) -> None:
        self._source = source
        self._segmenter = segmenter
        self._sinks = sinks
        self._stop = stop
        self._free = _Queue(SLOTS)
        self._to_infer = _Queue(1)
        self._to_sink = _Queue(1)
        for _ in range(SLOTS):
            self._free.put(_Slot(segmenter.new_mask()))
        self._clock = StageClock()
        self._ages_ms: Deque[float] = deque(maxlen=NEWEST_SAMPLES)
        self._captured = self._written = self._dropped = 0
        self._ended = False

    def execute(self, progress: Progress) -> None:
        """Run the stages until the source ends, `stop` is set or one of them raises."""
        with ThreadPoolExecutor(max_workers=3, thread_name_prefix="bisenet-edge") as pool:
            try:
                stages = [pool.submit(stage) for stage in (self._capture, self._infer, self._output)]
                for stage in stages:
                    stage.add_done_callback(self._end_if_failed)
                self._watch(stages, progress)
            except BaseException:
                self._end_now()
                raise
        for stage in stages:
            stage.result()
        progress("frames", self._written, self._written)

    def report(self, wall_s: float) -> RunReport:
        return RunReport(
            frames_captured=self._captured,
            frames_written=self._written,
            frames_dropped=self._dropped,
            stopped=not self._ended,
            wall_s=wall_s,
            stages=self._clock.summaries(),
            frame_age=LatencySummary.of(self._ages_ms) if self._ages_ms else None,
        )

    def _watch(self, stages: List[Future[None]], progress: Progress) -> None:
        pending = set(stages)
        while pending:
            try:
                pending = wait(pending, timeout=POLL_S).not_done
                self._tell(progress)
            except KeyboardInterrupt:
                if self._stop.is_set():
                    raise  # the second one: the user does not want to wait
                self._stop.set()

    def _tell(self, progress: Progress) -> None:
        # done == total means the end, and is told once; a video's header may promise too few frames.
        done, total = self._written, self._source.count or 0
        if done:
            progress("frames", done, total if total > done else 0)

    def _capture(self) -> None:
        while not self._stop.is_set():
            slot = self._free.get()
            if slot is None:
                return
            start_ns = time.perf_counter_ns()
            frame = self._source.read(slot.frame.image if slot.frame else None)
            if frame is None:
                self._ended = True
                break
            self._clock.add("decode", start_ns, time.perf_counter_ns())
            slot.frame = frame
            self._captured += 1
            displaced = self._to_infer.put(slot, newest_wins=self._source.live)
            if displaced is not None:
                self._dropped += 1
                self._free.put(displaced)
        self._to_infer.close()

    def _infer(self) -> None:
        for slot in iter(self._to_infer.get, None):
            assert slot.frame is not None
            slot.mask = self._segmenter.segment(slot.frame.image, slot.buffer, self._clock)
            self._ages_ms.append((time.monotonic_ns() - slot.frame.captured_ns) / 1e6)
            self._to_sink.put(slot)
        self._to_sink.close()

    def _output(self) -> None:
        full = np.empty((0, 0), np.uint8)
        for slot in iter(self._to_sink.get, None):
            assert slot.frame is not None
            start_ns = time.perf_counter_ns()
            source_hw = slot.frame.image.shape[:2]
            if full.shape != source_hw:
                full = np.empty(source_hw, np.uint8)
            mask = self._segmenter.to_source(slot.mask, source_hw, full)
            for sink in self._sinks:
                sink.write(slot.frame, mask)
            self._clock.add("sink", start_ns, time.perf_counter_ns())
            self._written += 1
            self._free.put(slot)

    def _end_if_failed(self, stage: Future[None]) -> None:
        if stage.exception() is not None:
            self._end_now()

    def _end_now(self) -> None:
        for queue in (self._free, self._to_infer, self._to_sink):
            queue.close(discard=True)
