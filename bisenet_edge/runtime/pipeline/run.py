"""Camera to mask: capture, inference and output at the same time, each in a thread of its own.

    source --> [room for one] --> segmenter --+--> [room for one] --> sink
       ^                                      +--> [room for one] --> sink
       |                                                               |
       +--------------- slots that no sink needs any more -------------+

A slot holds one frame and its mask, and travels round: no buffer is allocated per frame. All sinks read
the same slot; the last one that is done gives it back.

A file is processed whole and in order: whoever finds no room waits, and an error of any stage ends the
run. From a live source the newest frame wins: it takes the place of the one that waits for inference,
and at each sink of the one that waits there. A live run outlives a sink that fails: the sink is closed,
the others go on, and the report says so.

Counters are exact: captured = delivered + dropped, and at each sink written + dropped = delivered.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.pipeline.frame_age import FrameAges
from bisenet_edge.runtime.pipeline.observer import Observer
from bisenet_edge.runtime.pipeline.run_report import NO_SINK_LEFT, SECONDS, STOPPED, RunReport
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.pipeline.stages import Stages
from bisenet_edge.runtime.pipeline.vital_signs import Sensors, VitalSigns, blind
from bisenet_edge.runtime.sinks import Sink
from bisenet_edge.runtime.sources import Source

__all__ = ["RunOptions", "RunReport", "run"]

POLL_S = 0.1
HARD_END_S = 1.5
"""How long threads may take to return after an error or a second signal."""


@dataclass(frozen=True)
class RunOptions:
    """How to run.

    Attributes:
        latency_budget_ms: masks older than this are counted; None: none are.
        max_frames: end after so many frames were captured.
        max_seconds: end after so many seconds.
        drain_s: how long frames on their way may take after the run was told to end. A sink or source
            that has not returned from its call by then is left behind. Below systemd's TimeoutStopSec.
        status_s: how often sinks and observers are told how the run is doing.
        sensors: gives (temperature in degrees Celsius, power in mW), each None where not known; for the
            status.
        observers: told on the calling thread.
    """

    latency_budget_ms: Optional[float] = None
    max_frames: Optional[int] = None
    max_seconds: Optional[float] = None
    drain_s: float = 8.0
    status_s: float = 1.0
    sensors: Sensors = blind
    observers: Tuple[Observer, ...] = ()


def run(
    source: Source,
    segmenter: Segmenter,
    sinks: Sequence[Sink],
    *,
    options: Optional[RunOptions] = None,
    progress: Progress = quiet,
    stop: Optional[threading.Event] = None,
) -> RunReport:
    """Segment every frame of a source and give it to every sink.

    Args:
        source: stays open.
        segmenter: used by one other thread meanwhile.
        sinks: closed at the end, or aborted when anything raises (what becomes of a recording then, it
            knows itself). One that hangs is neither.
        options: limits, budget and observers.
        progress: told on the calling thread, about ten times a second; total 0 = unknown.
        stop: when set (by a signal handler), no more frames are read, those on their way are written,
            and files are closed. The first KeyboardInterrupt sets it; a second one does not wait.

    Raises:
        Whatever a stage raised: the original exception, after all threads have ended. Sinks of a live
        source that failed are in the report instead.
        SourceError, BackendError: the source or the engine did not return from a call in time.
    """
    chosen = options or RunOptions()
    watch = _Watch(source, segmenter, sinks, chosen, stop or threading.Event())
    return watch.run(progress)


class _Watch:
    """What the calling thread does while the stages work."""

    def __init__(
        self,
        source: Source,
        segmenter: Segmenter,
        sinks: Sequence[Sink],
        options: RunOptions,
        stop: threading.Event,
    ) -> None:
        self._source = source
        self._options = options
        self._stop = stop
        self._ages = FrameAges(options.latency_budget_ms)
        limit = -1 if options.max_frames is None else options.max_frames
        self._stages = Stages(source, segmenter, sinks, self._ages, limit)
        self._signs = VitalSigns(source, self._stages, options.sensors)
        self._start_s = time.monotonic()
        self._told_stopping = False

    def run(self, progress: Progress) -> RunReport:
        stages = self._stages
        try:
            stages.start()
            self._until_ended(progress)
            stages.raise_error()
            self._tell_stopping()
            stages.close_sinks()
            self._tell_events()
            stages.raise_if_hanging()
        except BaseException:
            stages.end_now()
            stages.join(HARD_END_S)
            stages.abort_sinks()
            raise
        progress("frames", stages.delivered, stages.delivered)
        return self._report()

    def _until_ended(self, progress: Progress) -> None:
        while self._stages.running:
            try:
                self._stages.something_ended.wait(POLL_S)
                self._stages.something_ended.clear()
                self._tell_progress(progress)
                self._look(time.monotonic())
            except KeyboardInterrupt:
                if self._stop.is_set():
                    raise  # the second one: the user does not want to wait
                self._stop.set()

    def _look(self, now_s: float) -> None:
        """See whether it is time to end, to tell how the run is doing, or to wait no longer."""
        stages, options = self._stages, self._options
        if stages.halted_s is None:
            self._halt_if_due(now_s)
        elif now_s > stages.halted_s + options.drain_s:
            stages.give_up_hanging()
            if now_s > stages.halted_s + options.drain_s + HARD_END_S:
                stages.raise_error()
                stages.raise_if_hanging()
        self._tell_events()
        if self._signs.due(now_s, options.status_s):
            status, alive = self._signs.read(now_s)
            for worker in stages.sinks:
                worker.tell(status)
            for observer in options.observers:
                observer.status(status, alive=alive)

    def _halt_if_due(self, now_s: float) -> None:
        limit_s = self._options.max_seconds
        if self._stop.is_set():
            reason = STOPPED
        elif limit_s is not None and now_s - self._start_s >= limit_s:
            reason = SECONDS
        elif self._stages.sinks and all(worker.failure for worker in self._stages.sinks):
            reason = NO_SINK_LEFT
        else:
            return
        self._stages.halt(reason)
        self._tell_stopping()

    def _tell_stopping(self) -> None:
        if not self._told_stopping:
            self._told_stopping = True
            for observer in self._options.observers:
                observer.stopping()

    def _tell_events(self) -> None:
        for text in self._signs.new_events():
            for observer in self._options.observers:
                observer.event(text)

    def _tell_progress(self, progress: Progress) -> None:
        # done == total means the end, and is told once; a video's header may promise too few frames.
        done, total = self._stages.delivered, self._source.count or 0
        if done:
            progress("frames", done, total if total > done else 0)

    def _report(self) -> RunReport:
        stages = self._stages
        sinks = tuple(worker.report() for worker in stages.sinks)
        times = stages.clock.summaries()
        writes = [sink.write for sink in sinks if sink.write]
        if writes:
            times["sink"] = max(writes, key=lambda summary: summary.p50_ms)
        return RunReport(
            frames_captured=stages.captured,
            frames_delivered=stages.delivered,
            frames_dropped=stages.dropped,
            ended_by=stages.ended_by,
            wall_s=time.monotonic() - self._start_s,
            stages=times,
            frame_age=self._ages.ring.summary(),
            latency_budget_ms=self._options.latency_budget_ms,
            deadline_misses=self._ages.misses,
            clock_jumps=self._ages.clock_jumps,
            reopened=self._source.reopened,
            corrupt=self._source.corrupt,
            sinks=sinks,
        )
