"""What systemd is told: ready, how it goes, alive, stopping. The protocol is that of sd_notify(3).

READY when the source, the sinks and the engine are open: everything that can be configured wrongly has
been tried by then, so `systemctl start` tells the truth. Not at the first mask: a camera that is not
plugged in yet is no reason to fail the start, and would be none to repeat it.

WATCHDOG is fed by masks that a sink took, never by a timer: a service whose masks do not arrive is dead,
however busy it is. Only while a lost source is being opened again each attempt counts as well: a restart
would bring the camera back no sooner. The caller tells which it is (`Observer.status`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Mapping, Optional

from bisenet_edge.errors import UsageError
from bisenet_edge.runtime.pipeline.observer import Observer
from bisenet_edge.runtime.status import RunStatus

SEND_TIMEOUT_S = 1.0
LOADING_S = 60
"""How long a step of opening may take. Where an engine is built, in minutes, each of its steps asks anew."""
BUILDING_PERIOD_S = 1.0


_MORE_TIME = f"EXTEND_TIMEOUT_USEC={LOADING_S * 1_000_000}"


class Notifier(Observer):
    """Sends to the socket that systemd names; without one it does nothing.

    Attributes:
        watchdog_s: systemd kills the service when it was not told "alive" for so long; None: it does not.
    """

    def __init__(self, address: str = "", watchdog_s: Optional[float] = None) -> None:
        self.watchdog_s = watchdog_s
        self._built_s = float("-inf")
        # Linux writes a name in the abstract namespace with "@" where the address has a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: Optional[socket.socket] = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(SEND_TIMEOUT_S)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Notifier:
        """As NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID say.

        Raises:
            UsageError: an address that is neither a path nor an abstract name, or a time that is no number.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        if address and not address.startswith(("/", "@")):
            raise UsageError(
                "NOTIFY_SOCKET is not understood", got=repr(address), expected="/path or @abstract-name"
            )
        usec = environ.get("WATCHDOG_USEC", "")
        if usec and not usec.isdigit():
            raise UsageError("WATCHDOG_USEC is not understood", got=repr(usec), expected="microseconds")
        # The watchdog may be meant for another process of the same service.
        meant = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        return cls(address, int(usec) / 1e6 if usec and address and meant else None)

    def loading(self, what: str) -> None:
        """What is being opened, which may take long."""
        self._send(f"STATUS=opening {what}", _MORE_TIME)

    def building(self, step: str, done: int, total: int) -> None:
        """How far the engine is, told once a second at most; the arguments of `Progress`."""
        now_s = time.monotonic()
        if now_s - self._built_s >= BUILDING_PERIOD_S:
            self._built_s = now_s
            self._send(f"STATUS={step}" + (f", {done} of {total}" if total else ""), _MORE_TIME)

    def ready(self) -> None:
        """The run begins."""
        self._send("READY=1", "STATUS=waiting for the first mask")

    def status(self, status: RunStatus, *, alive: bool) -> None:
        lines = ["STATUS=" + describe(status)]
        if alive and self.watchdog_s is not None:
            lines.append("WATCHDOG=1")
        self._send(*lines)

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=completing outputs")

    def close(self) -> None:
        """Send nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            # Masks do not depend on who watches over them: systemd may be restarting itself.
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), self._address)


def describe(status: RunStatus) -> str:
    """A status in one line, as `systemctl status` shows it."""
    words = [f"{status.fps:.1f} FPS"]
    if status.age_p50_ms is not None:
        words.append(f"frame age p50 {status.age_p50_ms:.1f} ms")
    if status.age_p99_ms is not None:
        words.append(f"p99 {status.age_p99_ms:.1f} ms")
    words.append(f"{status.dropped} of {status.captured} frames dropped")
    if status.reopened:
        words.append(f"source opened again {status.reopened} times")
    if status.temperature_c is not None:
        words.append(f"{status.temperature_c:.0f} °C")
    if status.power_mw is not None:
        words.append(f"{status.power_mw / 1e3:.1f} W")
    return ", ".join(words)
