"""Clients that mean no good, in a process of their own. Usage: hostile.py PORT KIND COUNT; ends with stdin.

silent: connect and say nothing. slow: send a request letter by letter. deaf: ask for the stream and never
read. loud: send a header without an end. gone: ask for a picture and reset the connection.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import sys
import time

REQUESTS = {
    "silent": b"",
    "slow": b"G",
    "deaf": b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "loud": b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 200_000,
    "gone": b"GET /snapshot.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


def attack(port: int, kind: str) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port), timeout=10)
    if kind == "deaf":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with contextlib.suppress(OSError):
        peer.sendall(REQUESTS[kind])
    if kind == "gone":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    return peer


def main() -> None:
    port, kind, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    peers = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            peers.append(attack(port, kind))
    print(len(peers), flush=True)
    if kind == "slow":
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s:
            for peer in peers:
                with contextlib.suppress(OSError):
                    peer.send(b"E")
            time.sleep(0.2)
    sys.stdin.read()


if __name__ == "__main__":
    main()
