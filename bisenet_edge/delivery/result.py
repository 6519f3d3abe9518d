"""What became of one device."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from bisenet_edge.delivery.device import Device
from bisenet_edge.delivery.job import Step
from bisenet_edge.errors import BisenetEdgeError

Verdict = Literal["ok", "gate", "error", "skipped", "planned"]


@dataclass(frozen=True)
class HostResult:
    """One device after a command.

    Attributes:
        host: as given to ssh.
        verdict: "ok"; "gate" (self-test or latency: exit 3); "error"; "skipped" (the fleet was stopped
            before it); "planned" (a dry run: nothing was changed).
        board: name in `deploy/boards`; "" = not found out.
        before: the release that ran before; "" = none, or not found out.
        runs: what runs now, in words; asked after the work, over a new connection if need be.
        size_bytes: of the bundle; 0 = none was pushed.
        found_bytes: of these, what was on the device already.
        steps: what the device said.
        error: what, got, expected, next step.
        log: the last lines that the device wrote, where it failed.
        device: the last look at it; None = there was none.
        notes: what a person should read: the plan, what was removed, a lost connection.
    """

    host: str
    verdict: Verdict
    board: str = ""
    before: str = ""
    runs: str = ""
    size_bytes: int = 0
    found_bytes: int = 0
    steps: tuple[Step, ...] = ()
    error: BisenetEdgeError | None = None
    log: tuple[str, ...] = ()
    device: Device | None = None
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """It counts against the failures that a fleet may have."""
        return self.verdict in ("gate", "error")

    def to_json(self) -> dict[str, Any]:
        """The attributes by name; an error as its four parts."""
        value = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        value["steps"] = [dataclasses.asdict(step) for step in self.steps]
        value["device"] = self.device.to_json() if self.device else None
        if self.error is not None:
            error = self.error
            value["error"] = {k: getattr(error, k) for k in ("what", "got", "expected", "fix")}
        return value
