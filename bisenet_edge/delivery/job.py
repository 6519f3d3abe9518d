"""A script that runs on, on the device, when the connection is cut; and what it says.

The device runs one at a time. Who gives the same command again, after a cut, follows the one that is
running, or reads the result that nobody has been told yet.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bisenet_edge.delivery.failures import RemoteCommandError, printable
from bisenet_edge.delivery.ssh import Connection, who_we_are
from bisenet_edge.errors import DeliveryError

_STEP = re.compile(r"step ([a-z][a-z-]*) (ok|failed)(?: (.*))?")
_MOST_LINES = 200


@dataclass(frozen=True)
class Step:
    """One line "step NAME ok|failed DETAIL" of a device.

    Attributes:
        name: "verify", "selftest", ...
        ok: it went well.
        detail: in words; "" = none.
    """

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: its exit status; None = it was killed, or the device was restarted.
        steps: in the order in which they were done.
        log: the other lines that it wrote, the last 200 of them.
        log_path: the whole of it, on the device.
    """

    status: int | None
    steps: tuple[Step, ...]
    log: tuple[str, ...]
    log_path: str


@dataclass(frozen=True)
class Work:
    """What a device is to do.

    Attributes:
        script: text for its `sh`.
        arguments: of the script.
        key: the same for the same work: who asks for it again while it runs, follows it.
    """

    script: str
    arguments: tuple[str, ...]
    key: str

    @classmethod
    def of(cls, script: str, arguments: Sequence[str], *contents: str) -> Work:
        """Work that is the same when script, arguments and `contents` (hashes of files) are."""
        text = "\0".join([script, *arguments, *contents])
        return cls(script, tuple(arguments), hashlib.sha256(text.encode()).hexdigest())


class Job:
    """One piece of work on one device, over as many connections as it takes.

    Attributes:
        id: of the job that was begun or found, or last asked for; "" before that.
    """

    def __init__(self, work: Work, prefix: str) -> None:
        self.work = work
        self.prefix = prefix
        self.id = ""

    def run(self, connection: Connection, tell: Callable[[Step], None]) -> Outcome:
        """Begin the work, or find it running, and follow it to its end.

        Args:
            connection: to the device.
            tell: called with each step; from the first one again on a new connection.

        Raises:
            DeliveryError: another deployment is running there.
            ConnectionLostError: the connection broke; the work goes on. Call again with a new one.
        """
        self.id = self._start(connection)
        steps: list[Step] = []
        log: list[str] = []
        for raw in connection.lines("job", "follow", self.prefix, self.id):
            line = printable(raw)
            match = _STEP.fullmatch(line)
            if match:
                steps.append(Step(match.group(1), match.group(2) == "ok", match.group(3) or ""))
                tell(steps[-1])
            elif line.strip():
                log.append(line)
        status = connection.run("job", "outcome", self.prefix, self.id).split()[-1]
        connection.run("job", "told", self.prefix, self.id)
        return Outcome(
            status=int(status) if status.isdigit() else None,
            steps=tuple(steps),
            log=tuple(log[-_MOST_LINES:]),
            log_path=f"{self.prefix}/jobs/{self.id}/log",
        )

    def _start(self, connection: Connection) -> str:
        new = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        # Should the answer be lost, the next attempt knows the job all the same.
        mine, self.id = self.id, new
        script = self.work.script.encode()
        try:
            answer = connection.send(
                "job",
                [script],
                "start",
                self.prefix,
                new,
                mine or "-",
                self.work.key,
                who_we_are(),
                hashlib.sha256(script).hexdigest(),
                *self.work.arguments,
            ).strip()
        except RemoteCommandError as failure:
            raise DeliveryError(
                f"{connection.host} cannot begin the work",
                got=failure.got,
                fix=f"ssh {connection.host} df -h",
            ) from failure
        words = answer.split()
        if words[:2] in (["job", "started"], ["job", "attached"]) and len(words) == 3:
            return words[2]
        if words[:2] == ["job", "busy"]:
            raise DeliveryError(
                f"another deployment is running on {connection.host}",
                got=printable(answer.removeprefix("job busy ")),
                fix=f"bisenet-edge deploy status --host {connection.host}",
            )
        raise DeliveryError(f"{connection.host} gives an answer that makes no sense", got=printable(answer))
