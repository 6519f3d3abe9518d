"""The overlay as an H.264 stream that players open: `ffplay rtsp://127.0.0.1:8554/live`.

The server is GStreamer's gst-rtsp-server through PyGObject. It encodes once for all viewers, and only while
there is one.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from typing import Any, List, Optional
from urllib.parse import quote

import cv2
import numpy as np

from bisenet_edge.errors import MissingDependencyError, SinkError, UsageError
from bisenet_edge.frame import Frame, Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.datasets import parse_int, parse_options
from bisenet_edge.runtime.overlay import Overlay
from bisenet_edge.runtime.sinks import h264
from bisenet_edge.runtime.sinks.addresses import cannot_listen, split_address, token_for
from bisenet_edge.runtime.sinks.base import Sink
from bisenet_edge.runtime.sinks.drawing import DrawingThread
from bisenet_edge.runtime.sinks.steady import at_video_size, video_size
from bisenet_edge.runtime.uris import redacted

log = logging.getLogger(__name__)

DEFAULTS = {"token": "", "max_clients": "8"}
EXAMPLES = "rtsp://:8554/live (this machine only) or rtsp://0.0.0.0:8554/live (network)"
USER = "viewer"
STOP_S = 5.0
BACKLOG = 256  # the 5 of gst-rtsp-server let a few silent clients delay all others
INSTALL = (
    "sudo apt-get install -y python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 "
    "gstreamer1.0-tools gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)


class RtspSink(Sink):
    """Serves the overlay by RTSP.

    The stream has the size of the first frame; a frame of another size is scaled to fit and padded. There is
    nothing to open before the first frame.

    Args:
        uri: `rtsp://[HOST]:PORT[/NAME][?token=...&max_clients=8]`; NAME is `live` if it is missing. Without
            HOST it is 127.0.0.1. On any other address than the loopback viewers need the user `viewer` and a
            token as password: the one that is given, which is told nobody, or a new one, which is told once.
        rest: what follows `rtsp://`.
        labels: classes and colours.
        fps: nominal frames per second.

    Raises:
        UsageError: no port, or an option that is not understood.
        SinkError: the address or port cannot be had.
        MissingDependencyError: GStreamer, its RTSP server or an H.264 encoder is not installed.
    """

    def __init__(self, uri: str, rest: str, labels: LabelSet, fps: float) -> None:
        super().__init__(uri)
        address, _, query = rest.partition("?")
        address, _, name = address.partition("/")
        uri = redacted(f"rtsp://{address}")  # what errors may tell: without the token
        host, port = split_address(address, uri, "rtsp://:8554/live")
        if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", name):
            raise UsageError("a stream needs a plain name", got=name, fix="for example rtsp://:8554/live")
        options = parse_options(query, DEFAULTS, uri)
        most = parse_int(options["max_clients"], "max_clients", uri)
        if not 1 <= most <= 64:
            raise UsageError(f"'max_clients' is out of range in '{uri}'", got=most, expected="1 to 64")
        token = token_for(host, options["token"], uri)
        self._fps = fps if 1 <= fps <= 240 else 30.0  # False for nan
        self._overlay = Overlay(labels)
        self._server = _Server(host, port, uri, most)
        if token:
            self._server.ask_for(token)
        self._path = f"/{name or 'live'}"
        self._size: Optional[Size] = None
        self._canvas = np.empty((0, 0, 3), np.uint8)
        self._drawer = DrawingThread("bisenet-edge rtsp", self._draw)
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
        place = f"{f'[{shown}]' if ':' in shown else shown}:{self._server.port}{self._path}"
        login = f"{USER}:{quote(token, safe='')}@" if token else ""
        self.address = f"rtsp://{login}{place}"
        # Who gave the token has it already, and a journal is read by more people than him.
        log.warning("stream: %s", f"rtsp://{USER}@{place}" if options["token"] else self.address)

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        self._drawer.check()
        if self._size is None:
            self._size = video_size(frame.image)
            self._server.offer(self._path, self._size, self._fps)
        if self._server.watched:
            self._drawer.put(frame, mask)

    def _draw(self, frame: Frame, mask: np.ndarray) -> None:
        if self._canvas.shape != frame.image.shape:
            self._canvas = np.empty_like(frame.image)
        drawn = self._overlay.draw(frame.image, mask, self._canvas)
        assert self._size is not None
        self._server.push(cv2.cvtColor(at_video_size(drawn, self._size), cv2.COLOR_BGR2BGRA).tobytes())

    def _complete(self) -> None:
        self._drawer.close(STOP_S)
        self._server.stop()

    def _discard(self) -> None:
        self._complete()


class _Server:
    """gst-rtsp-server with a main loop in a thread of its own."""

    def __init__(self, host: str, port: int, uri: str, most_clients: int) -> None:
        self._gst, self._rtsp, self._glib = _load()
        self._most_clients = most_clients
        self._clients: List[Any] = []
        self._source: Any = None
        self._frame_bytes = 0
        from bisenet_edge.runtime.sinks.preview.server import (
            listen,
        )  # brings asyncio, which is slow to import

        try:  # the server's own failure has no reason
            listening, port = listen(host, port)
            listening.close()
        except OSError as error:
            raise cannot_listen(error, uri, port, EXAMPLES) from error
        self._server = self._rtsp.RTSPServer()
        self._server.set_address(host)
        self._server.set_service(str(port))
        self._server.set_backlog(BACKLOG)
        self._server.get_session_pool().set_max_sessions(most_clients)
        self._server.connect("client-connected", self._on_client)
        self._role: Any = None
        context = self._glib.MainContext()
        if not self._server.attach(context):
            raise SinkError("cannot listen here", got=uri, fix=f"for example {EXAMPLES}")
        self.port = int(self._server.get_bound_port())
        self._loop = self._glib.MainLoop.new(context, False)
        self._thread = threading.Thread(target=self._loop.run, name="bisenet-edge rtsp server", daemon=True)
        self._thread.start()

    @property
    def watched(self) -> bool:
        """Whether somebody is looking."""
        return self._source is not None

    def ask_for(self, token: str) -> None:
        """Let in only who gives the token as the password of the user `viewer`."""
        rights = self._rtsp.RTSPToken()
        rights.set_string(self._rtsp.RTSP_TOKEN_MEDIA_FACTORY_ROLE, USER)
        auth = self._rtsp.RTSPAuth()
        auth.add_basic(self._rtsp.RTSPAuth.make_basic(USER, token), rights)
        self._server.set_auth(auth)
        self._role = self._gst.Structure.new_from_string(
            f"{USER},media.factory.access=(boolean)true,media.factory.construct=(boolean)true"
        )

    def offer(self, path: str, size: Size, fps: float) -> None:
        """Make the stream known."""
        encoder = h264.find_encoder(size)
        if encoder is None:
            raise MissingDependencyError(
                "a stream needs an H.264 encoder of GStreamer", got="none that works", fix=INSTALL
            )
        self._frame_bytes = size.width * size.height * 4
        factory = self._rtsp.RTSPMediaFactory()
        factory.set_launch(
            f"( appsrc name=frames is-live=true format=time do-timestamp=true block=false "
            f"caps={h264.raw_caps(size, fps)} ! {h264.encode(encoder, size, fps, low_latency=True)} "
            f"! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )
        factory.set_shared(True)
        if self._role is not None:
            factory.add_role_from_structure(self._role)
        factory.connect("media-configure", self._on_media)
        self._server.get_mount_points().add_factory(path, factory)

    def push(self, data: bytes) -> None:
        """Give a picture (BGRx) to the viewers; left out while the encoder is behind."""
        source = self._source
        if source is None or source.get_property("current-level-bytes") > self._frame_bytes:
            return
        source.emit("push-buffer", self._gst.Buffer.new_wrapped(data))

    def stop(self) -> None:
        """Send everybody away and free the port."""
        self._source = None
        self._server.client_filter(lambda server, client: self._rtsp.RTSPFilterResult.REMOVE)
        self._glib.idle_add(self._loop.quit)
        self._loop.quit()
        self._thread.join(STOP_S)

    def _on_media(self, factory: Any, media: Any) -> None:
        media.connect("unprepared", self._on_unprepared)
        self._source = media.get_element().get_by_name("frames")

    def _on_unprepared(self, media: Any) -> None:
        self._source = None

    def _on_client(self, server: Any, client: Any) -> None:
        """Bound the connections: when there are too many, the oldest that has opened no stream goes."""
        client.connect("closed", self._on_closed)
        self._clients.append(client)
        if len(self._clients) > 4 * self._most_clients:
            idle = [c for c in self._clients if not c.session_filter(None)]
            idle[0].close()

    def _on_closed(self, client: Any) -> None:
        if client in self._clients:
            self._clients.remove(client)


def _load() -> Any:
    """The modules Gst, GstRtspServer and GLib.

    Raises:
        MissingDependencyError: they are not installed for this Python.
    """
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstRtspServer", "1.0")
        from gi.repository import GLib, Gst, GstRtspServer
    except (ImportError, ValueError) as error:  # ValueError: PyGObject is there, a typelib is not
        raise MissingDependencyError(
            "a stream needs GStreamer's RTSP server and PyGObject: system packages, not of pip",
            got=str(error),
            expected="a Python that sees them; a virtual environment: made with --system-site-packages",
            fix=INSTALL,
        ) from error
    Gst.init(None)
    return Gst, GstRtspServer, GLib
