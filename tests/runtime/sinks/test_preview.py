"""The server of the preview: who may look, and what the others cannot do to it."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from pictures import HW, fresh_frame, noisy_frame, road_and_car, sink_at

from bisenet_edge.errors import SinkError, UsageError
from bisenet_edge.frame import Frame
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.sinks.preview import HttpSink, server
from bisenet_edge.runtime.sinks.preview.guard import Guard
from bisenet_edge.runtime.status import RunStatus

STATUS = RunStatus(1.0, 24.5, 30.0, None, 12, 10, 2, 0, 51.0, None)


def http_sink(uri: str = "http://:0") -> HttpSink:
    sink = sink_at(uri)
    assert isinstance(sink, HttpSink)
    return sink


def port_of(sink: HttpSink) -> int:
    return urlsplit(sink.address).port or 0


@contextlib.contextmanager
def flowing(uri: str = "http://:0", every_s: float = 0.01) -> Iterator[HttpSink]:
    """A preview with frames, until the block ends. `sink.longest_write_s`: how long a write took at most."""
    sink, stop, mask = http_sink(uri), threading.Event(), road_and_car()
    shot = noisy_frame(0)  # it compresses badly, and so fills the buffers of who does not read
    sink.longest_write_s = 0.0  # type: ignore[attr-defined]

    def feed() -> None:
        index = 0
        while not stop.wait(every_s):
            start_s = time.monotonic()
            sink.write(Frame(shot.image, index, time.monotonic_ns()), mask)
            sink.longest_write_s = max(sink.longest_write_s, time.monotonic() - start_s)  # type: ignore[attr-defined]
            index += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield sink
    finally:
        stop.set()
        feeder.join()
        sink.close()


def get(
    sink: HttpSink, path: str, headers: Optional[dict[str, str]] = None, method: str = "GET"
) -> tuple[int, bytes, Message]:
    """Ask for a path: (status, body, headers)."""
    named = {"Host": "localhost", **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in named.items()), "", ""]
    head, _, body = raw(sink, "\r\n".join(lines).encode()).partition(b"\r\n\r\n")
    first, _, rest = head.partition(b"\r\n")
    return int(first.split()[1]), body, message_from_bytes(rest)


def raw(sink: HttpSink, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port_of(sink)), timeout=20) as peer:
        peer.sendall(request)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while part := peer.recv(65536):
                data += part
        return data


@contextlib.contextmanager
def viewer(sink: HttpSink) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port_of(sink)), timeout=20) as peer:
        peer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield peer


def read_pictures(peer: socket.socket, count: int) -> list[np.ndarray]:
    file, pictures = peer.makefile("rb"), []
    while len(pictures) < count:
        line = file.readline()
        assert line, "the stream ended"
        if line.lower().startswith(b"content-length:"):
            size = int(line.split(b":")[1])
            assert file.readline() == b"\r\n"
            pictures.append(cv2.imdecode(np.frombuffer(file.read(size), np.uint8), cv2.IMREAD_COLOR))
    return pictures


def wait_until(true: object) -> None:
    assert callable(true)
    end_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_page_status_snapshot_stream_and_health() -> None:
    with flowing() as sink:
        sink.tell(STATUS)
        status, body, headers = get(sink, "/")
        assert status == 200
        assert b"<title>bisenet-edge live preview</title>" in body
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert get(sink, "/page.css")[0] == get(sink, "/page.js")[0] == 200
        status, body, headers = get(sink, "/snapshot.jpg")
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        assert cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR).shape == (*HW, 3)
        told = json.loads(get(sink, "/status.json")[1])
        assert told["run"] == STATUS.to_json()
        assert told["labels"]["names"] == list(CAMVID.names)
        assert told["shown"]["areas"]["road"] == told["shown"]["areas"]["car"] == 0.5
        assert told["shown"]["age_ms"] > 0
        with viewer(sink) as peer:
            assert {p.shape for p in read_pictures(peer, 3)} == {(*HW, 3)}
        wait_until(lambda: sink._frames)
        assert get(sink, "/healthz")[:2] == (200, b"ok\n")
        assert get(sink, "/", method="HEAD")[:2] == (200, b"")
        assert get(sink, "/nothing")[0] == 404
        assert get(sink, "/", method="POST")[0] == 405


def test_a_drawing_thread_that_has_died_is_told() -> None:
    with http_sink() as sink, viewer(sink):

        def broken(*_: object) -> np.ndarray:
            raise ZeroDivisionError("no picture")

        sink._overlay.draw = broken  # type: ignore[method-assign]
        wait_until(lambda: sink._server.viewers)
        sink.write(fresh_frame(0), road_and_car())
        wait_until(lambda: get(sink, "/healthz")[:2] == (503, b"the overlay cannot be drawn\n"))
        with pytest.raises(SinkError, match="ZeroDivisionError: no picture"):
            sink.write(fresh_frame(1), road_and_car())


def test_opencv_reads_the_stream() -> None:
    with flowing() as sink:
        capture = cv2.VideoCapture(sink.address + "stream.mjpg")
        good, image = capture.read()
        capture.release()
    assert good
    assert image.shape == (*HW, 3)


def test_pictures_are_made_only_while_somebody_looks() -> None:
    with http_sink() as sink:
        assert isinstance(sink, HttpSink)
        for index in range(50):
            sink.write(fresh_frame(index), road_and_car())
        assert sink._drawer._incoming._incoming is None  # nothing was even copied
        assert json.loads(get(sink, "/status.json")[1])["shown"] is None


def test_a_large_picture_is_made_smaller() -> None:
    with http_sink("http://:0?width=320") as sink, viewer(sink) as peer:
        wait_until(lambda: sink._server.viewers)
        sink.write(fresh_frame(0, (720, 1280)), road_and_car((720, 1280)))
        assert read_pictures(peer, 1)[0].shape == (180, 320, 3)


def test_health_tells_when_no_frame_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_PICTURE_S", 0.1)
    with http_sink() as sink:
        assert get(sink, "/healthz")[:2] == (503, b"no frame yet\n")
        assert get(sink, "/snapshot.jpg")[0] == 503
        sink.write(fresh_frame(0), road_and_car())
        assert get(sink, "/healthz")[0] == 200
        sink._last_s -= 60
        assert get(sink, "/healthz")[:2] == (503, b"no frame for 60 s\n")


def test_more_viewers_than_allowed_are_turned_away_and_places_are_given_back() -> None:
    with flowing("http://:0?max_clients=2") as sink:
        with viewer(sink) as first, viewer(sink) as second:
            read_pictures(first, 1), read_pictures(second, 1)
            status, body, headers = get(sink, "/stream.mjpg")
            assert (status, headers["Retry-After"]) == (503, "5")
            assert b"2 are looking" in body
            assert get(sink, "/status.json")[0] == 200  # the figures are for all
        wait_until(lambda: not sink._server.viewers)
        with viewer(sink) as third:
            read_pictures(third, 1)


def test_a_viewer_who_leaves_while_no_picture_comes_gives_his_place_back() -> None:
    with http_sink() as sink:
        with viewer(sink):
            wait_until(lambda: sink._server.viewers == 1)
        wait_until(lambda: sink._server.viewers == 0)


@pytest.mark.parametrize("kind", ["silent", "slow", "loud", "gone", "deaf"])
def test_a_thousand_hostile_clients_stop_nobody(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the frames nor a viewer who was there, nor, but for those who take the places, a new one."""
    monkeypatch.setattr(server, "WRITE_S", 1.0)
    program = str(Path(__file__).with_name("hostile.py"))
    with flowing() as sink, viewer(sink) as peer:
        read_pictures(peer, 2)
        threads, before_kb = threading.active_count(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        attackers = subprocess.Popen(
            [sys.executable, program, str(port_of(sink)), kind, "1000"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert attackers.stdout is not None
            assert int(attackers.stdout.readline()) > 900
            frames = sink._frames
            read_pictures(peer, 20)  # more than lay in the buffers
            assert get(sink, "/status.json")[0] == 200
            wait_until(lambda: sink._frames > frames)
            assert len(sink._server._waiting) <= server.MOST_WAITING
            assert threading.active_count() == threads
            if kind in ("deaf", "gone"):  # they take all places, and lose them for not reading
                wait_until(lambda: get(sink, "/snapshot.jpg")[0] == 200)
            else:
                assert get(sink, "/snapshot.jpg")[0] == 200
        finally:
            attackers.kill()
            attackers.communicate()
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        assert grown_kb < 64 * 1024
        assert sink.longest_write_s < 5  # type: ignore[attr-defined]


def test_whoever_says_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.2)
    with http_sink() as sink:
        assert raw(sink, b"GET / HTTP/1.1\r\n") == b""


@pytest.mark.parametrize(
    "request_line",
    [b"\x16\x03\x01\x02\x00", b"GET", b"GET / HTTP/2", b"GET http://x/ HTTP/1.1",
     b"GET / HTTP/1.1\r\nno colon", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
     b"GET /?" + b"&".join([b"a=1"] * 20) + b" HTTP/1.1"],
)  # fmt: skip
def test_what_is_not_http_is_told_so(request_line: bytes) -> None:
    with http_sink() as sink:
        assert raw(sink, request_line + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert get(sink, "/")[0] == 200


@pytest.mark.parametrize(
    ("header", "known"),
    [("localhost", True), ("127.0.0.1:9000", True), ("[::1]:80", True), ("LOCALHOST.", True),
     ("evil.example", False), ("127.0.0.1.evil.example", False), ("192.168.0.7", False), ("", False)],
)  # fmt: skip
def test_a_foreign_name_is_refused_on_the_loopback(header: str, known: bool) -> None:
    """DNS rebinding: a page of evil.example, whose name now points to 127.0.0.1, asks for our pictures."""
    with http_sink() as sink:
        assert get(sink, "/", {"Host": header})[0] == (200 if known else 421)


def test_on_a_network_the_own_names_are_known() -> None:
    guard = Guard("0.0.0.0", 80, "secret-token")
    for name in (socket.gethostname(), "192.168.0.7:8080", "[fe80::1]", "localhost"):
        assert guard.knows_host(name)
    assert not guard.knows_host("evil.example")
    assert Guard("robot.example", 80, "").knows_host("robot.example:80")


def test_a_network_needs_the_token(caplog: pytest.LogCaptureFixture) -> None:
    with flowing("http://0.0.0.0:0") as sink:
        token = urlsplit(sink.address).query.partition("=")[2]
        assert len(token) >= 20
        assert sum(token in record.getMessage() for record in caplog.records) == 1
        for path in ("/", "/status.json", "/stream.mjpg", "/snapshot.jpg", "/page.js"):
            assert get(sink, path)[0] == 401
            assert get(sink, f"{path}?token={token[:-1]}x")[0] == 401
            assert get(sink, path, {"Cookie": "bisenet_edge=x; a=b"})[0] == 401
        assert get(sink, "/healthz")[0] in (200, 503)
        assert get(sink, f"/snapshot.jpg?token={token}")[0] == 200
        assert get(sink, "/status.json", {"Authorization": f"Bearer {token}"})[0] == 200
        status, _, headers = get(sink, f"/?token={token}")
        assert (status, headers["Location"]) == (303, "/")
        assert "HttpOnly" in headers["Set-Cookie"]
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert get(sink, "/", {"Cookie": cookie})[0] == 200


def test_a_token_that_was_given_is_asked_for_on_the_loopback_too() -> None:
    with http_sink("http://:0?token=correct-horse") as sink:
        assert get(sink, "/status.json")[0] == 401
        assert get(sink, "/status.json?token=correct-horse")[0] == 200


def test_a_token_that_was_given_is_told_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with http_sink("http://0.0.0.0:0?token=correct-horse") as sink:
        said = [record.getMessage() for record in caplog.records]
        assert said == [f"preview: http://{socket.gethostname()}:{port_of(sink)}/"]


def test_a_login_in_a_wrong_address_is_not_told() -> None:
    with pytest.raises(UsageError, match="needs a port") as caught:
        sink_at("http://me:hunter2@0.0.0.0:8080")
    assert "hunter2" not in str(caught.value)


def test_a_port_that_is_taken_is_told_and_a_port_that_was_freed_can_be_had_at_once() -> None:
    with http_sink() as first:
        port = port_of(first)
        get(first, "/")
        with pytest.raises(SinkError, match="the port is taken") as caught:
            sink_at(f"http://:{port}?token=correct-horse")
        assert "correct-horse" not in str(caught.value)
    http_sink(f"http://:{port}").close()


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(SinkError, match="cannot listen here"):
        sink_at("http://192.0.2.1:8080")


@pytest.mark.parametrize(
    "rest",
    ["", "localhost", ":x", ":70000", ":80/page", "me@:80", ":0?token=short", ":0?fps=0", ":0?max_clients=99",
     ":0?colour=1"],
)  # fmt: skip
def test_uris_that_are_not_understood(rest: str) -> None:
    with pytest.raises(UsageError):
        sink_at(f"http://{rest}")


def test_closing_does_not_wait_for_viewers() -> None:
    sink = http_sink()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(viewer(sink))
        wait_until(lambda: sink._server.viewers == 4)
        sink.close()
    assert not sink._server._thread.is_alive()


FROM_A_ZIP = """
import sys, urllib.request
sys.path.insert(0, sys.argv[1])
import bisenet_edge
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.sinks import open_sink
assert bisenet_edge.__file__.startswith(sys.argv[1])
with open_sink("http://:0", CAMVID, 30.0) as sink:
    for path in ("", "page.css", "page.js"):
        print(len(urllib.request.urlopen(sink.address + path).read()))
"""


def test_the_page_is_in_the_program_of_a_device(tmp_path: Path) -> None:
    """A device runs one zip: its page is no file on a disk."""
    from bisenet_edge.toolchain.bundle import build_pyz

    program = tmp_path / "bisenet-edge.pyz"
    program.write_bytes(build_pyz())
    command = [sys.executable, "-S", "-c", f"import site; site.main()\n{FROM_A_ZIP}", str(program)]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(int(size) > 1000 for size in done.stdout.split())
    assert len(done.stdout.split()) == 3
