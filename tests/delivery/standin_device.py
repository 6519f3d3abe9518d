"""A device with an old release and a stand-in for the installer, which meets the test at each step."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from throwaway_sshd import FAKES, Sshd

from bisenet_edge.delivery.deliver import Delivery, Payload
from bisenet_edge.delivery.device import Place
from bisenet_edge.delivery.session import Way
from bisenet_edge.delivery.ssh import SshOptions
from bisenet_edge.delivery.target import Target


@dataclass
class StandIn:
    """A device with a stand-in for the installer, an old release on it and its service running.

    Attributes:
        sshd: behind it.
        prefix: of the releases.
        gates: folder where the stand-in meets the test at each step.
        bundle: the payload.
    """

    sshd: Sshd
    prefix: Path
    gates: Path
    bundle: Path

    @property
    def payload(self) -> Payload:
        digest = hashlib.sha256(self.bundle.read_bytes()).hexdigest()
        return Payload(self.bundle, None, digest, unpacked_bytes=10)

    def delivery(self, *options: str, **more: object) -> Delivery:
        settings: dict[str, object] = {
            "payload_for": lambda board: self.payload,
            "installer": (FAKES / "installer.sh").read_text(),
            "options": (str(self.gates), *options),
        }
        return Delivery(**{**settings, **more})  # type: ignore[arg-type]

    def way(self, **more: object) -> Way:
        settings: dict[str, object] = {
            "ssh": SshOptions(config=self.sshd.config),
            "place": Place(str(self.prefix)),
            "retry_waits_s": (),
        }
        return Way(**{**settings, **more})  # type: ignore[arg-type]

    def target(self, host: str = "jet", **more: object) -> Target:
        return Target(host, **more)  # type: ignore[arg-type]

    @property
    def current(self) -> str:
        return os.readlink(self.prefix / "current").removeprefix("releases/")

    @property
    def service(self) -> str:
        """The release that the service runs."""
        state = self.sshd.folder / "state" / "bisenet-edge.service"
        return state.read_text().strip() if state.exists() else ""

    def hold_at(self, step: str) -> None:
        """Make the stand-in wait when it comes to a step, until `let_go`."""
        (self.gates / f"hold-{step}").touch()

    def reached(self, step: str) -> bool:
        return (self.gates / f"at-{step}").exists()

    def let_go(self) -> None:
        for file in self.gates.glob("hold-*"):
            file.unlink()

    def job_is_over(self) -> bool:
        jobs = self.prefix / "jobs"
        last = jobs / (jobs / "last").read_text().strip()
        return (last / "status").exists()

    def kill_job(self) -> None:
        """Kill what the device works on, as a restart would."""
        pids = [
            int(p.name)
            for p in Path("/proc").iterdir()
            if p.name.isdigit() and f"{self.prefix}/jobs/".encode() in _command_line(p)
        ]
        assert pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
