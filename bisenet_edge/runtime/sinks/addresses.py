"""Addresses that a sink listens on, and who may come there from a network."""

from __future__ import annotations

import errno
import ipaddress
import secrets
from typing import Tuple

from bisenet_edge.errors import SinkError, UsageError
from bisenet_edge.runtime.uris import redacted

TOKEN_BYTES = 16
SHORTEST_TOKEN = 8


def split_address(address: str, uri: str, example: str) -> Tuple[str, int]:
    """Split `[HOST]:PORT` of a server: ("127.0.0.1", 8080) for ":8080", ("::1", 8080) for "[::1]:8080".

    Raises:
        UsageError: there is no port from 0 to 65535.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or "/" in host or "@" in host:
        raise UsageError(
            "an address to listen on needs a port",
            got=redacted(uri),
            expected="[HOST]:PORT",
            fix=f"for example {example}",
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_for(host: str, given: str, uri: str) -> str:
    """The token that viewers need: the one that was given; a new one on a network; "" on the loopback.

    Raises:
        UsageError: the given one is too short.
    """
    if given and len(given) < SHORTEST_TOKEN:
        raise UsageError(
            "the token is too short",
            got=uri,
            expected=f"at least {SHORTEST_TOKEN} characters, or none, for a new one",
        )
    return given or ("" if is_loopback(host) else secrets.token_urlsafe(TOKEN_BYTES))


def cannot_listen(error: OSError, uri: str, port: int, example: str) -> SinkError:
    """Build the error for an address or port that cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return SinkError(
            "the port is taken",
            got=uri,
            expected="a port that nobody listens on",
            fix=f"take another, or see who has it: ss -ltnp 'sport = :{port}'",
        )
    return SinkError(
        "cannot listen here",
        got=f"{uri}: {error.strerror}",
        expected="an address of this machine and a port above 1023",
        fix=f"for example {example}",
    )
