"""Work on one device over as many connections as it takes, told as a result."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bisenet_edge.delivery.device import Device, Place, look
from bisenet_edge.delivery.failures import ConnectionLostError
from bisenet_edge.delivery.fitness import become_root, refuse_without_tools
from bisenet_edge.delivery.job import Job, Outcome, Step, Work
from bisenet_edge.delivery.result import HostResult, Verdict
from bisenet_edge.delivery.ssh import Connection, SshOptions
from bisenet_edge.delivery.target import Target
from bisenet_edge.errors import BisenetEdgeError, DeliveryError

EXIT_GATE = 3


@dataclass(frozen=True)
class Way:
    """How devices are reached, the same for all of them.

    Attributes:
        ssh: how ssh is called.
        place: where on a device.
        retry_waits_s: before each new attempt after a lost connection.
        stop: set = begin nothing more.
    """

    ssh: SshOptions = field(default_factory=SshOptions)
    place: Place = field(default_factory=Place)
    retry_waits_s: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    stop: threading.Event = field(default_factory=threading.Event)

    def place_on(self, target: Target) -> Place:
        """Where on this device: its own prefix counts before the command's."""
        return replace(self.place, prefix=target.prefix) if target.prefix else self.place

    def connect(self, target: Target) -> Connection:
        """A connection, to be opened."""
        return Connection(target.host, self.ssh)


class Session:
    """One device while it is worked on.

    Attributes:
        result: what is known so far.
        doing: where a connection that breaks now breaks; "" = there was none yet.
        job: what the device does by itself; None = nothing yet.
    """

    def __init__(self, target: Target, way: Way) -> None:
        self.target = target
        self.way = way
        self.place = way.place_on(target)
        self.result = HostResult(target.host, "error", board=target.board)
        self.doing = ""
        self.job: Job | None = None

    def run(self, work: Callable[[Connection], HostResult]) -> HostResult:
        """Connect and work, again after each lost connection; an error becomes the result."""
        waits = iter(self.way.retry_waits_s)
        try:
            while True:
                try:
                    with self.way.connect(self.target) as connection:
                        return work(connection)
                except ConnectionLostError as error:
                    if not self.doing:
                        raise  # it was never reached: waiting for a device that is off helps nobody
                    self.note(f"connection lost while {self.doing}")
                    wait_s = next(waits, None)
                    if wait_s is None or self.way.stop.wait(wait_s):
                        return self._lost(error)
        except BisenetEdgeError as error:
            return replace(self.result, verdict="error", error=error)

    def look(self, connection: Connection) -> Device:
        """Look at the device, refuse one that lacks commands, and become root where that is needed.

        Raises:
            DeliveryError: commands are missing, or root is needed and cannot be had.
            ConnectionLostError: the connection broke.
        """
        self.doing = self.doing or "asking what the device is"
        device = look(connection, self.place)
        self.result = replace(
            self.result, before=self.result.before or device.current, runs=device.running, device=device
        )
        refuse_without_tools(device)
        become_root(connection, device, self.place)
        return device

    def finish(
        self, connection: Connection, work: Work, last: str, tell: Callable[[Step], None]
    ) -> HostResult:
        """Have the device do the work, follow it to its end, and judge it.

        Args:
            connection: to the device.
            work: what it does; another connection goes on with the work of the first.
            last: the step that must have gone well in the end.
            tell: called with each step.

        Raises:
            DeliveryError: other work is running there.
            ConnectionLostError: the connection broke; the work goes on.
        """
        self.job = self.job or Job(work, self.place.prefix)
        self.doing = "beginning the work on the device"
        self.result = replace(self.result, steps=())

        def take(step: Step) -> None:
            self.result = replace(self.result, steps=(*self.result.steps, step))
            self.doing = f"the device works (last step: {step.name})"
            tell(step)

        outcome = self.job.run(connection, take)
        self.doing = "asking what the device runs"
        device = look(connection, self.place)
        result = replace(self.result, steps=outcome.steps, runs=device.running, device=device)
        if outcome.status == 0 and any(step.name == last and step.ok for step in outcome.steps):
            return replace(result, verdict="ok")
        verdict: Verdict = "gate" if outcome.status == EXIT_GATE else "error"
        return replace(result, verdict=verdict, error=_failure(device, outcome), log=outcome.log)

    def note(self, text: str) -> None:
        """Add what a person should read."""
        self.result = replace(self.result, notes=(*self.result.notes, text))

    def _lost(self, error: ConnectionLostError) -> HostResult:
        """Ask a last time what the device runs."""
        runs = "not known: the device does not answer"
        if not self.way.stop.is_set():
            # It may stay as it is: that is what `runs` says.
            with contextlib.suppress(BisenetEdgeError), self.way.connect(self.target) as connection:
                runs = look(connection, self.place).running
        lost = DeliveryError(
            f"the connection to {self.target.host} was lost while {self.doing}",
            got=error.got,
            expected="a connection; what the device has begun, it finishes or takes back by itself",
            fix="give the same command again: it goes on from there",
        )
        return replace(self.result, verdict="error", error=lost, runs=runs)


def _failure(device: Device, outcome: Outcome) -> DeliveryError:
    if outcome.status is None:
        return DeliveryError(
            f"the work on {device.host} was killed, or the device was restarted meanwhile",
            got=f"no exit status in {outcome.log_path}",
            fix="give the same command again",
        )
    failed = next((step for step in outcome.steps if not step.ok), None)
    remedies = [line.split("next:", 1)[1].strip() for line in outcome.log if line.strip().startswith("next:")]
    said = next((line for line in reversed(outcome.log) if line.startswith("error:")), "")
    words = (failed.detail if failed else "") or said.removeprefix("error:").strip()
    return DeliveryError(
        f"{failed.name if failed else 'the work'} failed on {device.host}; it runs {device.running}",
        got=words or f"exit status {outcome.status}",
        expected=f"status 0; the whole log is {outcome.log_path} there",
        fix=f"on the device: {remedies[-1]}" if remedies else f"ssh {device.host} cat {outcome.log_path}",
    )
