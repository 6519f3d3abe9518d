"""A page to look at what the camera sees and the network makes of it, while it runs."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any, Dict, Optional
from urllib.parse import quote

import cv2
import numpy as np

from bisenet_edge import __version__
from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Frame
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.class_areas import class_areas
from bisenet_edge.runtime.datasets import parse_int, parse_options
from bisenet_edge.runtime.overlay import Overlay
from bisenet_edge.runtime.sinks.addresses import cannot_listen, split_address, token_for
from bisenet_edge.runtime.sinks.base import Sink
from bisenet_edge.runtime.sinks.drawing import DrawingThread
from bisenet_edge.runtime.sinks.preview.guard import Guard
from bisenet_edge.runtime.sinks.preview.server import Picture, PreviewServer, listen
from bisenet_edge.runtime.status import RunStatus
from bisenet_edge.runtime.uris import redacted

log = logging.getLogger(__name__)

DEFAULTS = {"token": "", "max_clients": "8", "quality": "80", "fps": "15", "width": "1280"}
STALE_S = 10.0
EXAMPLES = "http://:8080 (this machine only) or http://0.0.0.0:8080 (network)"


class HttpSink(Sink):
    """A live preview in a browser. Pictures are drawn and compressed only while somebody looks.

    Args:
        uri: `http://[HOST]:PORT[?token=...&max_clients=8&quality=80&fps=15&width=1280]`. Without HOST it is
            127.0.0.1. On any other address than the loopback a token is needed: the one that is given, which
            is told nobody, or a new one, which is told once.
        rest: what follows `http://`.
        labels: classes and colours.

    Raises:
        UsageError: no port, or an option that is not understood.
        SinkError: the address or port cannot be had.
    """

    def __init__(self, uri: str, rest: str, labels: LabelSet) -> None:
        super().__init__(uri)
        address, _, query = rest.partition("?")
        uri = redacted(f"http://{address}")  # what errors may tell: without the token
        host, port = split_address(address.rstrip("/"), uri, "http://:8080")
        options = parse_options(query, DEFAULTS, uri)
        numbers = {key: parse_int(options[key], key, uri) for key in DEFAULTS if key != "token"}
        _check_range(numbers, uri)
        token = token_for(host, options["token"], uri)
        try:
            listening, port = listen(host, port)
        except OSError as error:
            raise cannot_listen(error, uri, port, EXAMPLES) from error
        self._labels, self._overlay = labels, Overlay(labels, legend=False)
        self._quality, self._most_width = numbers["quality"], numbers["width"]
        self._pause_ns = 10**9 // numbers["fps"]
        self._frames, self._started_s, self._last_s, self._drawn_ns = 0, time.monotonic(), 0.0, 0
        self._run: Optional[RunStatus] = None
        self._shown: Dict[str, Any] = {}
        self._canvas = np.empty((0, 0, 3), np.uint8)
        guard = Guard(host, port, token)
        self._drawer = DrawingThread("bisenet-edge drawing", self._draw)
        self._server = PreviewServer(listening, guard, numbers["max_clients"], self._status, self._health)
        self.address = _browser_address(guard, token)
        # Who gave the token has it already, and a journal is read by more people than him.
        log.warning("preview: %s", _browser_address(guard, "") if options["token"] else self.address)

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        self._drawer.check()
        self._frames += 1
        self._last_s = time.monotonic()
        now_ns = time.monotonic_ns()
        if self._server.viewers and now_ns - self._drawn_ns >= self._pause_ns:
            self._drawn_ns = now_ns
            self._drawer.put(frame, mask)

    def tell(self, status: RunStatus) -> None:
        self._run = status

    def _draw(self, frame: Frame, mask: np.ndarray) -> None:
        if self._canvas.shape != frame.image.shape:
            self._canvas = np.empty_like(frame.image)
        drawn = self._overlay.draw(frame.image, mask, self._canvas)
        height, width = drawn.shape[:2]
        if width > self._most_width:
            size = (self._most_width, max(1, round(height * self._most_width / width)))
            drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
        good, jpeg = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        assert good
        self._shown = {
            "index": frame.index,
            "age_ms": round((time.monotonic_ns() - frame.captured_ns) / 1e6, 1),
            "size": [height, width],
            "areas": {name: round(share, 4) for name, share in class_areas(mask, self._labels).items()},
        }
        self._server.publish(Picture(jpeg.tobytes(), frame.index))

    def _status(self) -> Dict[str, Any]:
        quiet_s = time.monotonic() - self._last_s if self._frames else None
        return {
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "frames": self._frames,
            "quiet_s": None if quiet_s is None else round(quiet_s, 2),
            "viewers": self._server.viewers,
            "shown": self._shown or None,
            "run": None if self._run is None else self._run.to_json(),
            "labels": self._labels.to_json(),
        }

    def _health(self) -> str:
        if self._drawer.error is not None:
            return "the overlay cannot be drawn"
        if not self._frames:
            return "no frame yet"
        quiet_s = time.monotonic() - self._last_s
        return f"no frame for {quiet_s:.0f} s" if quiet_s > STALE_S else ""

    def _complete(self) -> None:
        self._drawer.close()
        self._server.close()

    def _discard(self) -> None:
        self._complete()


def _check_range(numbers: Dict[str, int], uri: str) -> None:
    ranges = {"max_clients": (1, 64), "quality": (10, 100), "fps": (1, 60), "width": (160, 8192)}
    for name, (least, most) in ranges.items():
        if not least <= numbers[name] <= most:
            raise UsageError(
                f"'{name}' is out of range in '{uri}'", got=numbers[name], expected=f"{least} to {most}"
            )


def _browser_address(guard: Guard, token: str) -> str:
    host = guard.host
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    if ":" in host:
        host = f"[{host}]"
    query = f"?token={quote(token, safe='')}" if token else ""
    return f"http://{host}:{guard.port}/{query}"
