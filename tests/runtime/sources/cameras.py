"""Network cameras on loopback for tests, and pictures that can be told apart."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).parent
BOUNDARY = b"frame"


class RtspCamera:
    """An RTSP server in a process of its own; `kill` and `start` it again on the same port."""

    def __init__(self, environment: dict[str, str], size: str = "320x240", login: str = "") -> None:
        self._environment = environment
        self._login = login
        self.port = "0"
        self.start(size)

    def start(self, size: str) -> None:
        words = [sys.executable, str(HERE / "rtsp_camera.py"), self.port, size, *filter(None, [self._login])]
        self._process = subprocess.Popen(words, env=self._environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the RTSP server did not start"
        self.port = line

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}/cam"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class HttpCamera:
    """A motion JPEG server: sends each part to whoever connects, then what `after` says.

    Attributes:
        requests: the first lines that clients sent.
    """

    def __init__(self, parts: list[bytes], *, after: str = "stall", pause_s: float = 0.02) -> None:
        # Shared: whoever connects again gets what comes next, as from a camera.
        self._parts = itertools.cycle(parts)
        self._count = len(parts)
        self._after = after
        self._pause_s = pause_s
        self._over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.1)
        self.requests: list[bytes] = []
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}/video"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        clients = []
        while not self._over.is_set():
            with contextlib.suppress(socket.timeout):
                client, _ = self._server.accept()
                clients.append(threading.Thread(target=self._serve, args=(client,)))
                clients[-1].start()
        for thread in clients:
            thread.join()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            self.requests.append(client.recv(4096).partition(b"\r\n")[0])
            head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=" + BOUNDARY
            client.sendall(head + b"\r\n\r\n")
            while not self._over.is_set():
                for part in itertools.islice(self._parts, self._count):
                    about = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (
                        BOUNDARY,
                        len(part),
                    )
                    client.sendall(about + part + b"\r\n")
                    self._over.wait(self._pause_s)
                if self._after == "close":
                    return
                if self._after == "stall":
                    self._over.wait(60)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._server.close()


@contextlib.contextmanager
def http_camera(parts: list[bytes], **how: object) -> Iterator[HttpCamera]:
    camera = HttpCamera(parts, **how)  # type: ignore[arg-type]
    try:
        yield camera
    finally:
        camera.close()


def jpeg(level: int, width: int = 160, height: int = 120) -> bytes:
    """A noisy picture whose mean is about `level`."""
    noise = np.random.default_rng(level).integers(-10, 10, (height, width, 3))
    return bytes(cv2.imencode(".jpg", np.clip(noise + level, 0, 255).astype(np.uint8))[1])


def until(condition: Callable[[], bool], step: Callable[[], object], most: int = 3000) -> None:
    """Repeat a step until something is so."""
    for _ in range(most):
        if condition():
            return
        step()
    raise AssertionError(f"not so after {most} steps")
