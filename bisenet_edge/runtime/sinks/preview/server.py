"""The server of the preview: one thread, one event loop, a bounded number of everything.

A connection costs a few kilobytes until its request is complete, and it has `HEAD_S` for that. When too many
are waiting, the oldest is dropped: whoever opens a thousand and says nothing drives out nobody but himself.
A viewer gets the newest picture, or, while he is slow to take one, none; after `WRITE_S` he is dropped.
"""

from __future__ import annotations

import asyncio
import json
import pkgutil
import socket
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Callable, Dict, Optional, Set, Tuple

from bisenet_edge.runtime.sinks.preview.guard import Guard
from bisenet_edge.runtime.sinks.preview.messages import (
    MOST_HEAD_BYTES,
    BadRequestError,
    Request,
    Response,
    response_head,
)

HEAD_S = 5.0
WRITE_S = 10.0
CLOSE_S = 3.0
FIRST_PICTURE_S = 5.0
MOST_WAITING = 512
SEND_BUFFER_BYTES = 65536
BACKLOG = 256  # below MOST_WAITING: one round of accepting never drives out the whole of the round before
BOUNDARY = "frame"
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
NO_TOKEN = (
    "This preview needs its token: open the link that the service told on stderr when it started, "
    "or, if it was started with a token of yours, add ?token=... to this address."
)
FOREIGN_NAME = "This name is not one of this machine: use its address, or localhost."
NOT_FOUND = "There is: / /stream.mjpg /snapshot.jpg /status.json /healthz"
# How a connection ends without an answer: the peer leaves or is too slow, or the server is closed.
GONE = (
    ConnectionError,
    asyncio.TimeoutError,
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    asyncio.CancelledError,
)


@dataclass(frozen=True)
class Picture:
    """A JPEG and the frame that it shows."""

    jpeg: bytes
    frame_index: int


class PreviewServer:
    """Serves the page, the newest picture and the status. Starts at once; `close` ends it.

    Args:
        listening: a bound socket, which becomes the server's.
        guard: who may look.
        most_viewers: how many may look at once.
        status: gives what `/status.json` tells; called on the server's thread.
        health: gives "" or what is wrong; called on the server's thread.
    """

    def __init__(
        self,
        listening: socket.socket,
        guard: Guard,
        most_viewers: int,
        status: Callable[[], Dict[str, Any]],
        health: Callable[[], str],
    ) -> None:
        self._listening, self._guard, self._most_viewers = listening, guard, most_viewers
        self._status, self._health = status, health
        self.viewers = 0  # read by other threads
        self._open: Set[asyncio.StreamWriter] = set()
        self._waiting: Dict[asyncio.StreamWriter, None] = {}  # in order of arrival
        self._files = {path: (_read(name), kind) for path, (name, kind) in FILES.items()}
        self._loop = asyncio.new_event_loop()
        self._newest: Optional[Picture] = None
        self._next: asyncio.Future[Picture] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="bisenet-edge preview", daemon=True)
        self._thread.start()

    def publish(self, picture: Picture) -> None:
        """Show a picture; from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._show, picture)

    def close(self) -> None:
        """End all connections and free the port."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _show(self, picture: Picture) -> None:
        self._newest = picture
        if not self._next.done():
            self._next.set_result(picture)
        self._next = self._loop.create_future()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, sock=self._listening, limit=MOST_HEAD_BYTES, backlog=BACKLOG)
        )
        self._loop.run_forever()
        server.close()
        # Cancelling alone does not do: before Python 3.12 `wait_for` forgets it if its future ends just then.
        for writer in self._open:
            writer.transport.abort()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_S))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # `drain` waits until all is sent: no picture lies in our memory once for each slow viewer.
        writer.transport.set_write_buffer_limits(high=0)
        self._open.add(writer)
        try:
            head = await self._head(reader, writer)
            await self._answer(head, writer)
        except GONE:
            pass
        finally:
            self._open.discard(writer)
            # Not close(), which would wait for a peer that does not read.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.close()

    async def _head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        self._waiting[writer] = None
        if len(self._waiting) > MOST_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.transport.abort()
        try:
            return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_S)
        finally:
            self._waiting.pop(writer, None)

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            request = Request.parse(head)
        except BadRequestError as error:
            await _send(writer, Response.text(HTTPStatus.BAD_REQUEST, str(error)).to_bytes())
            return
        refusal = self._refuse(request)
        if refusal is not None:
            await _send(writer, refusal.to_bytes(head_only=request.method == "HEAD"))
        elif request.path in ("/stream.mjpg", "/snapshot.jpg") and request.method == "GET":
            await self._look(request, writer)
        else:
            await _send(writer, self._plain(request).to_bytes(head_only=request.method == "HEAD"))

    def _refuse(self, request: Request) -> Optional[Response]:
        if request.method not in ("GET", "HEAD"):
            return Response.text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", Allow="GET, HEAD")
        if not self._guard.knows_host(request.headers.get("host")):
            return Response.text(HTTPStatus.MISDIRECTED_REQUEST, FOREIGN_NAME)
        # Whether the service lives is no secret, and what asks for it has no place for a token.
        if request.path != "/healthz" and not self._guard.admits(request.query.get("token"), request.headers):
            return Response.text(HTTPStatus.UNAUTHORIZED, NO_TOKEN, WWW_Authenticate="Bearer")
        return None

    def _plain(self, request: Request) -> Response:
        if request.path == "/" and "token" in request.query:
            return self._take_token_out_of_address()
        if request.path in self._files:
            body, kind = self._files[request.path]
            return Response(HTTPStatus.OK, body, kind)
        if request.path == "/status.json":
            return Response(HTTPStatus.OK, json.dumps(self._status()).encode(), "application/json")
        if request.path == "/healthz":
            wrong = self._health()
            return Response.text(HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK, wrong or "ok")
        if request.path in ("/stream.mjpg", "/snapshot.jpg"):
            return Response(HTTPStatus.OK, kind="image/jpeg")  # HEAD
        return Response.text(HTTPStatus.NOT_FOUND, NOT_FOUND)

    def _take_token_out_of_address(self) -> Response:
        # Lax, not Strict: a Strict cookie is not sent after a click on the link in a chat or mail.
        cookie = f"{self._guard.cookie}={self._guard.token}; Path=/; HttpOnly; SameSite=Lax"
        headers = {"Location": "/", **({"Set-Cookie": cookie} if self._guard.token else {})}
        return Response(HTTPStatus.SEE_OTHER, headers=headers)

    async def _look(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if self.viewers >= self._most_viewers:
            busy = f"{self.viewers} are looking already, which is the most (max_clients)"
            await _send(
                writer, Response.text(HTTPStatus.SERVICE_UNAVAILABLE, busy, Retry_After="5").to_bytes()
            )
            return
        self.viewers += 1
        try:
            if request.path == "/snapshot.jpg":
                await _send(writer, (await self._snapshot()).to_bytes())
            else:
                await self._stream(writer)
        finally:
            self.viewers -= 1

    async def _snapshot(self) -> Response:
        try:
            picture = await asyncio.wait_for(asyncio.shield(self._next), FIRST_PICTURE_S)
        except asyncio.TimeoutError:
            return Response.text(HTTPStatus.SERVICE_UNAVAILABLE, "no frame has come", Retry_After="5")
        return Response(HTTPStatus.OK, picture.jpeg, "image/jpeg", {"X-Frame": str(picture.frame_index)})

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        await _send(writer, response_head(HTTPStatus.OK, {}, kind) + f"--{BOUNDARY}\r\n".encode())
        shown: Optional[Picture] = None
        while True:
            picture = self._newest if self._newest is not shown else None
            if picture is None or shown is None:  # the first one must be new, not from the last viewer's time
                picture = await self._next_while_open(writer)
            # The boundary is sent behind a picture: a browser shows it when it has seen its end.
            part = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n".encode()
            await _send(writer, part + picture.jpeg + f"\r\n--{BOUNDARY}\r\n".encode())
            shown = picture

    async def _next_while_open(self, writer: asyncio.StreamWriter) -> Picture:
        """The next picture; a viewer who leaves while none comes must not keep his place."""
        while True:
            try:
                return await asyncio.wait_for(asyncio.shield(self._next), 1.0)
            except asyncio.TimeoutError:
                if writer.is_closing():
                    raise ConnectionResetError from None


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    if writer.is_closing():
        raise ConnectionResetError
    writer.write(data)
    await asyncio.wait_for(writer.drain(), WRITE_S)


def _read(name: str) -> bytes:
    # Works from the zip that devices run, too.
    data = pkgutil.get_data(__package__, name)
    assert data is not None
    return data


def listen(host: str, port: int) -> Tuple[socket.socket, int]:
    """A listening socket and its port (port 0: any free one).

    Raises:
        OSError: the address or port cannot be had.
    """
    kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    listening = socket.socket(kind, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # By default the kernel keeps megabytes for a slow viewer: seconds of pictures that are old by then.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # asyncio reads what there is, up to 256 KB, before it looks at the limit of a request.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MOST_HEAD_BYTES)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening, int(listening.getsockname()[1])
