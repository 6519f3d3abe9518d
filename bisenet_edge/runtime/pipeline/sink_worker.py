"""One sink on a thread of its own, so that a slow one stops neither capture nor the other sinks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional

from bisenet_edge.errors import BisenetEdgeError, SinkError
from bisenet_edge.runtime.pipeline.clock import SampleRing
from bisenet_edge.runtime.pipeline.run_report import SinkReport
from bisenet_edge.runtime.pipeline.slots import Handover, Slot, SlotPool, ToSource
from bisenet_edge.runtime.sinks.base import Sink
from bisenet_edge.runtime.status import RunStatus
from bisenet_edge.runtime.uris import redacted

FAULTS = (SinkError, OSError)
"""What a sink may suffer from the world outside. Anything else is a mistake in it, and ends the run."""


@dataclass(frozen=True)
class Surroundings:
    """What the sinks of a run share.

    Attributes:
        pool: where slots go back to.
        to_source: brings a mask to its picture's size.
        live: the newest frame wins, and a sink that fails leaves the run to the others.
    """

    pool: SlotPool
    to_source: ToSource
    live: bool


class SinkWorker:
    """Gives one sink its frames. Each of its counters belongs to one thread, so that none is lost.

    Attributes:
        uri: of the sink, without its token.
        written: frames that the sink took.
        failure: why the sink takes no more; "" while it does.
        busy: it is in a call of the sink.
        abandoned: nobody waits for it any more.
    """

    def __init__(self, sink: Sink, around: Surroundings) -> None:
        self.sink = sink
        self.uri = redacted(sink.uri)
        self.written = 0
        self.failure = ""
        self.busy = False
        self.abandoned = False
        self._around = around
        self._handover = Handover()
        self._offered = 0
        self._replaced = 0
        self._lost = 0
        self._status: Optional[RunStatus] = None
        self._told: Optional[RunStatus] = None
        self._times = SampleRing()

    def offer(self, slot: Slot) -> None:
        """Hand over a slot of which this sink is counted as a user. Waits for room, unless live."""
        self._offered += 1
        left_out = self._handover.put(slot, newest_wins=self._around.live)
        if left_out is not None:
            self._replaced += 1
            self._around.pool.release(left_out)

    def tell(self, status: RunStatus) -> None:
        """Leave a status for the sink; a newer one takes its place."""
        self._status = status
        self._handover.wake()

    def end(self) -> None:
        """No more slots will come."""
        self._handover.close()

    def discard(self) -> None:
        """No more slots will come, and the one that waits is dropped."""
        slot = self._handover.close(discard=True)
        if slot is not None:
            self._lost += 1
            self._around.pool.release(slot)

    def abandon(self, reason: str) -> None:
        """Wait for this sink no longer: it does not return from a call."""
        self.abandoned = True
        self.failure = reason
        self._handover.close(discard=True)

    def run(self) -> None:
        """Work until `end` or `discard`; on the sink's own thread.

        Raises:
            SinkError, OSError: the sink failed, and the run is not live.
        """
        while not self._handover.ended:
            slot = self._handover.get()
            self.busy = True
            try:
                if slot is not None:
                    self._write(slot)
                self._pass_on_status()
            except FAULTS as error:
                if not self._around.live:
                    raise
                self.discard()
                self._close_failed(error)
                return
            finally:
                self.busy = False

    def report(self) -> SinkReport:
        """Counters so far: exact once the thread has ended."""
        # An abandoned thread may hold a slot that is neither written nor dropped, and never will be.
        dropped = self._offered - self.written if self.abandoned else self._replaced + self._lost
        return SinkReport(self.uri, self.written, dropped, self.failure, self._times.summary())

    def _close_failed(self, error: Exception) -> None:
        """Keep what can be kept of a sink that failed, and why it did."""
        reason = one_line(error)
        try:
            self.sink.close()
        except FAULTS as second:
            reason += f"; closing it: {one_line(second)}"
        self.failure = self.failure or reason

    def _write(self, slot: Slot) -> None:
        assert slot.frame is not None
        start_ns = time.perf_counter_ns()
        written = 0
        try:
            self.sink.write(slot.frame, slot.shown_mask(self._around.to_source))
            written = 1
            self._times.add((time.perf_counter_ns() - start_ns) / 1e6)
        finally:
            self.written += written
            self._lost += 1 - written
            self._around.pool.release(slot)

    def _pass_on_status(self) -> None:
        status = self._status
        if status is not None and status is not self._told:
            self._told = status
            self.sink.tell(status)


def one_line(error: Exception) -> str:
    """An error as one line of a log."""
    if isinstance(error, BisenetEdgeError):
        return f"{error.what}: {error.got}" if error.got else error.what
    return f"{type(error).__name__}: {error}"
