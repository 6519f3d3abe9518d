"""What ssh's words mean, and what to do about them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from bisenet_edge.errors import DeliveryError


@dataclass(frozen=True)
class _Refusal:
    """What ssh says when trying again does not help."""

    words: tuple[str, ...]
    what: str
    expected: str
    fix: str


# The first that fits counts: a changed key is also a key that could not be verified.
_REFUSALS = (
    _Refusal(
        ("REMOTE HOST IDENTIFICATION HAS CHANGED",),
        "{host} shows another host key than before: another device, or somebody in between",
        "the key in known_hosts",
        "find out why; if the device was set up anew: {forget}",
    ),
    _Refusal(
        ("Host key verification failed", "host key is known"),
        "{host} is not known here yet: its host key is in no known_hosts file",
        "a device whose key you have compared once",
        "{look}     # compare the fingerprint with the device's, then answer yes",
    ),
    _Refusal(
        ("Permission denied", "Too many authentication failures"),
        "{host} does not let you in",
        "a key that the device knows, in your agent or your ssh configuration",
        "ssh-copy-id {more}{host}",
    ),
    _Refusal(
        ("Could not resolve hostname",), "nobody knows where {host} is", "a name or an address", "{look}"
    ),
    _Refusal(
        ("Bad configuration option", "Can't open user config file", "bad configuration options"),
        "your ssh configuration cannot be read",
        "a file that ssh takes",
        "{look}",
    ),
)
_UNREACHABLE = (
    "Connection refused",
    "Connection timed out",
    "Operation timed out",
    "No route to host",
    "Network is unreachable",
)


class ConnectionLostError(DeliveryError):
    """The device cannot be reached now, or no longer: trying again may help."""


class RemoteCommandError(DeliveryError):
    """A command on the device ended with an error.

    Attributes:
        status: its exit status.
    """

    def __init__(self, what: str, *, status: int, got: str = "", fix: str = "") -> None:
        super().__init__(what, got=got, fix=fix)
        self.status = status


def printable(text: str) -> str:
    """Text of a device as it may go to a terminal: no escape sequences, no control characters."""
    return "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else "?" for c in text.expandtabs(4))


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in printable(text.replace("\r", "\n")).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def ssh_failure(host: str, stderr: str, config: str = "") -> DeliveryError:
    """The error for an ssh that made no connection.

    Args:
        host: as given to ssh.
        stderr: what ssh said.
        config: options to repeat in the commands that are proposed ("-F FILE").
    """
    said = last_line(stderr)
    more = f"{config} " if config else ""
    look = f"ssh {more}{host} true"
    for refusal in _REFUSALS:
        if any(words in stderr for words in refusal.words):
            fix = refusal.fix.format(look=look, more=more, host=host, forget=_forget(host, stderr))
            return DeliveryError(refusal.what.format(host=host), got=said, expected=refusal.expected, fix=fix)
    reached = not any(words in stderr for words in _UNREACHABLE)
    what = f"the connection to {host} was lost" if reached else f"{host} cannot be reached"
    return ConnectionLostError(what, got=said, fix=look)


def _forget(host: str, stderr: str) -> str:
    # ssh names the file, and the name under which it keeps the key there.
    command = re.search(r"ssh-keygen -f .+ -R .+", stderr)
    return command.group().strip() if command else f"ssh-keygen -R {host.rpartition('@')[2]}"
