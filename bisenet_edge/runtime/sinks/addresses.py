"""Addresses that a sink listens on."""

from __future__ import annotations

import ipaddress
from typing import Tuple

from bisenet_edge.errors import UsageError


def split_address(address: str, uri: str, example: str) -> Tuple[str, int]:
    """Split `[HOST]:PORT` of a server: ("127.0.0.1", 8080) for ":8080", ("::1", 8080) for "[::1]:8080".

    Raises:
        UsageError: there is no port from 0 to 65535.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or "/" in host or "@" in host:
        raise UsageError(
            "an address to listen on needs a port",
            got=uri,
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
