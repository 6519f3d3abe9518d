"""The overlay as a stream, read back by OpenCV's FFmpeg."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from pictures import CAR, ROAD, sink_at

from bisenet_edge.errors import MissingDependencyError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.sinks import h264, rtsp

HERE = Path(__file__).resolve().parent
SYSTEM_GI = Path("/usr/lib/python3/dist-packages/gi")
NEEDS_GI = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process that sees this checkout and the system's PyGObject."""
    folder = tmp_path_factory.mktemp("gi")
    if SYSTEM_GI.is_dir():
        (folder / "gi").symlink_to(SYSTEM_GI)
    found = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path), str(folder)])}
    done = subprocess.run([sys.executable, "-c", NEEDS_GI], env=found, capture_output=True, check=False)
    if done.returncode != 0 or h264.find_encoder(Size(320, 240)) is None:
        pytest.skip(f"GStreamer's RTSP server is missing for this Python: {rtsp.INSTALL}")
    return found


@dataclass
class Server:
    address: str
    told: str = ""
    logged: str = ""


@contextlib.contextmanager
def serving(uri: str, environment: dict[str, str]) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "serve_rtsp.py"), uri],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        server = Server(process.stdout.readline().strip())
        assert server.address
        yield server
        server.told, server.logged = process.communicate("end", timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def read(address: str, count: int) -> list[np.ndarray]:
    capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 8000])
    images = []
    while len(images) < count:
        good, image = capture.read()
        if not good:
            break
        images.append(image)
    capture.release()
    return images


def test_opencv_reads_the_overlay_back(environment: dict[str, str]) -> None:
    with serving("rtsp://:0/street", environment) as server:
        assert server.address.startswith("rtsp://127.0.0.1:")
        assert server.address.endswith("/street")
        images = read(server.address, 45)
        again = read(server.address, 3)  # the first viewer has gone: encoding begins anew
    assert len(images) == 45
    assert len(again) == 3
    assert {image.shape for image in images} == {(240, 320, 3)}
    rows = images[40][100:140].astype(float)
    table = CAMVID.bgr_table().astype(float)
    for side, train_id in ((rows[:, 20:140], ROAD), (rows[:, 180:300], CAR)):
        np.testing.assert_allclose(side.mean((0, 1)), (100 + table[train_id]) / 2, atol=14)
    assert float(server.told.split()[1]) < 5  # no write waited for a viewer


def test_hostile_clients_do_not_stop_the_frames_nor_a_viewer(environment: dict[str, str]) -> None:
    with serving("rtsp://:0?max_clients=2", environment) as server, contextlib.ExitStack() as stack:
        port = urlsplit(server.address).port
        for _ in range(200):  # they say nothing
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        assert len(read(server.address, 10)) == 10
    frames, longest_s = server.told.split()
    assert int(frames) > 10
    assert float(longest_s) < 5


def test_a_network_needs_the_token(environment: dict[str, str]) -> None:
    with serving("rtsp://0.0.0.0:0/live", environment) as server:
        parts = urlsplit(server.address)
        assert parts.username == "viewer"
        assert parts.password is not None
        assert len(parts.password) >= 20
        here = f"127.0.0.1:{parts.port}/live"
        assert read(f"rtsp://{here}", 1) == []
        assert read(f"rtsp://viewer:wrong-token@{here}", 1) == []
        assert len(read(f"rtsp://viewer:{parts.password}@{here}", 3)) == 3
    assert server.logged.count(parts.password) == 1


def test_a_token_that_was_given_is_told_nobody(environment: dict[str, str]) -> None:
    with serving("rtsp://0.0.0.0:0/live?token=correct-horse", environment) as server:
        port = urlsplit(server.address).port
    assert f"stream: rtsp://viewer@{socket.gethostname()}:{port}/live" in server.logged
    assert "correct-horse" not in server.logged


def test_a_login_in_a_wrong_address_is_not_told() -> None:
    with pytest.raises(UsageError, match="needs a port") as caught:
        sink_at("rtsp://me:hunter2@0.0.0.0:8554/live")
    assert "hunter2" not in str(caught.value)


def test_a_port_that_is_taken_is_told(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        uri = f"rtsp://:{taken.getsockname()[1]}"
        command = [sys.executable, str(HERE / "serve_rtsp.py"), uri]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "the port is taken" in done.stderr


def test_without_pygobject_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent: Optional[object] = None
    monkeypatch.setitem(sys.modules, "gi", absent)
    with pytest.raises(MissingDependencyError, match=r"gir1\.2-gst-rtsp-server-1\.0"):
        sink_at("rtsp://:8554/live")


@pytest.mark.parametrize(
    "rest", ["", ":8554/a b", ":8554/a/b", ":8554?max_clients=0", ":8554?token=short", "x"]
)
def test_uris_that_are_not_understood(rest: str) -> None:
    with pytest.raises(UsageError):
        sink_at(f"rtsp://{rest}")
