"""The threads of one run: capture, inference, and one for each sink; and what flows between them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Callable, Deque, Optional, Sequence

from bisenet_edge.errors import BackendError, SinkError, SourceError
from bisenet_edge.runtime.pipeline.clock import FrameClock, StageClock
from bisenet_edge.runtime.pipeline.frame_age import FrameAges
from bisenet_edge.runtime.pipeline.run_report import END_OF_SOURCE, ERROR, FRAMES
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.pipeline.sink_worker import FAULTS, SinkWorker, Surroundings, one_line
from bisenet_edge.runtime.pipeline.slots import Handover, Slot, SlotPool
from bisenet_edge.runtime.sinks import Sink
from bisenet_edge.runtime.sources import Source

THREAD_NAME = "bisenet-edge"


def slots_needed(sinks: int, in_flight: int) -> int:
    """How many slots let capture go on whatever the sinks do.

    One is being captured, one waits for inference, `in_flight` are in inference, and a sink that is
    blocked keeps two: the one it writes and the one that waits for it.
    """
    return 2 + in_flight + 2 * sinks


class _Worker(threading.Thread):
    """A thread that hands its error over. A daemon: one that hangs must not keep the process alive."""

    def __init__(self, name: str, work: Callable[[], None], stages: Stages) -> None:
        super().__init__(name=f"{THREAD_NAME} {name}", daemon=True)
        self._work = work
        self._stages = stages

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  raised again on the caller's thread
            self._stages.fail(error)
        finally:
            self._stages.something_ended.set()


class Stages:
    """What runs between a source and its sinks.

    Attributes:
        live: the newest frame wins.
        captured, delivered, dropped: counters of frames, exact once all threads have ended; each belongs
            to one thread.
        ended_by: why no more frames are read, "" while they are.
        halted_s: `time.monotonic()` when that was asked for; None before.
        something_ended: set when a thread ends.
    """

    def __init__(
        self,
        source: Source,
        segmenter: Segmenter,
        sinks: Sequence[Sink],
        ages: FrameAges,
        max_frames: int = -1,
    ) -> None:
        self.live = source.live
        self.ages = ages
        self.clock = StageClock()
        self.captured = self.delivered = self.dropped = 0
        self.ended_by = ""
        self.halted_s: Optional[float] = None
        self.something_ended = threading.Event()
        self._source = source
        self._segmenter = segmenter
        self._max_frames = max_frames
        self._halted = threading.Event()
        self._given_up = False
        self._error: Optional[BaseException] = None
        self._lock = threading.Lock()
        self._to_infer = Handover()
        number = slots_needed(len(sinks), segmenter.session.in_flight)
        self._pool = SlotPool([Slot(segmenter.new_mask(), FrameClock(self.clock)) for _ in range(number)])
        around = Surroundings(self._pool, segmenter.to_source, self.live)
        self.sinks = [SinkWorker(sink, around) for sink in sinks]
        self._capturing = _Worker("capture", self._capture, self)
        self._inferring = _Worker("infer", self._infer, self)
        self._writing = [_Worker(f"sink {worker.uri}", worker.run, self) for worker in self.sinks]

    def start(self) -> None:
        """Start all threads."""
        for thread in (self._capturing, self._inferring, *self._writing):
            thread.start()

    @property
    def running(self) -> bool:
        """Whether a thread still works for this run; one that was given up does not count."""
        capturing = self._capturing.is_alive() and not self._given_up
        writing = (
            thread.is_alive() and not worker.abandoned for worker, thread in zip(self.sinks, self._writing)
        )
        return capturing or self._inferring.is_alive() or any(writing)

    def halt(self, reason: str) -> None:
        """Read no more frames; those on their way are written."""
        self.ended_by = self.ended_by or reason
        if self.halted_s is None:
            self.halted_s = time.monotonic()
            self._halted.set()
            self._source.interrupt()

    def fail(self, error: BaseException) -> None:
        """End the run for an error; the first one counts."""
        with self._lock:
            self._error = self._error or error
        self.end_now()

    def end_now(self) -> None:
        """Drop what is on its way, and let every thread return."""
        self.halt(ERROR)
        self._pool.close()
        self._to_infer.close(discard=True)
        for worker in self.sinks:
            worker.discard()

    def raise_error(self) -> None:
        """Raise what a stage raised, if any did: the original exception."""
        if self._error is not None:
            raise self._error

    def give_up_hanging(self) -> None:
        """Wait no longer for a source or a sink that does not return from a call.

        Where the source is live, the rest goes on: what the other sinks have is completed.
        """
        self._given_up = True
        self._to_infer.close()
        for worker in self.sinks:
            if worker.busy and not worker.abandoned:
                worker.abandon("it did not return from a write in time")
                if not self.live:
                    self.fail(SinkError("a sink does not return from a write", got=worker.uri))

    def raise_if_hanging(self) -> None:
        """Raise what `give_up_hanging` left behind and the report would not tell.

        Raises:
            SourceError: the source does not return from a read.
            BackendError: the engine does not finish a frame.
        """
        if self._inferring.is_alive():
            raise BackendError("the engine does not finish a frame", got=self._segmenter.session.backend)
        if self._capturing.is_alive():
            raise SourceError("a source does not return from a read", got=self._source.uri)

    def join(self, timeout_s: float) -> None:
        """Wait for all threads, so long at most; mark an engine that does not return by then."""
        end_s = time.monotonic() + timeout_s
        for thread in (self._capturing, self._inferring, *self._writing):
            if thread.ident is not None:
                thread.join(max(0.0, end_s - time.monotonic()))
        self._segmenter.hangs = self._inferring.is_alive()

    def close_sinks(self) -> None:
        """Complete all outputs. Where the source is live, one that cannot be completed leaves the others.

        Raises:
            SinkError, OSError: the source is not live.
        """
        for worker in self.sinks:
            if worker.failure:
                continue
            try:
                worker.sink.close()
            except FAULTS as error:
                if not self.live:
                    raise
                worker.failure = one_line(error)

    def abort_sinks(self) -> None:
        """Give all outputs up; one that hangs is left alone."""
        for worker, thread in zip(self.sinks, self._writing):
            if not thread.is_alive():
                with contextlib.suppress(*FAULTS):  # the error that led here is the one to tell
                    worker.sink.abort()

    def _capture(self) -> None:
        while not self._halted.is_set():
            if self.captured == self._max_frames:
                self.ended_by = self.ended_by or FRAMES
                break
            slot = self._pool.take()
            if slot is None:
                break
            start_ns = time.perf_counter_ns()
            frame = self._source.read(slot.frame.image if slot.frame else None)
            if frame is None:
                self.ended_by = self.ended_by or END_OF_SOURCE
                break
            slot.clock.add("decode", start_ns, time.perf_counter_ns())
            self.ages.arrived(frame)
            frame.stages_ms = slot.clock.stages_ms
            slot.frame = frame
            self.captured += 1
            left_out = self._to_infer.put(slot, newest_wins=self.live)
            if left_out is not None:
                self.dropped += 1
                self._pool.give_back(left_out)
        self._to_infer.close()

    def _infer(self) -> None:
        in_flight: Deque[Slot] = deque()
        while True:
            # Frames ahead of time only where one waits already: what is in flight is finished first
            # otherwise, and no frame grows older for the sake of throughput.
            slot = self._to_infer.get(wait=not in_flight)
            if slot is not None:
                assert slot.frame is not None
                self._segmenter.submit(slot.frame.image, slot.buffer, slot.clock)
                in_flight.append(slot)
                if len(in_flight) < self._segmenter.session.in_flight:
                    continue
            if not in_flight:
                break
            self._deliver(in_flight.popleft())
        for worker in self.sinks:
            worker.end()

    def _deliver(self, slot: Slot) -> None:
        assert slot.frame is not None
        slot.filled(self._segmenter.finish(slot.clock))
        self.ages.ready(slot.frame)
        self.delivered += 1
        slot.users = len(self.sinks)
        if not self.sinks:
            self._pool.give_back(slot)
        for worker in self.sinks:
            worker.offer(slot)
