"""Cameras on a loopback network, read by every backend; and what goes wrong with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from cameras import RtspCamera, http_camera, jpeg, until

from bisenet_edge.errors import SourceError, SourceLostError
from bisenet_edge.runtime.sources import open_source
from bisenet_edge.runtime.sources.reopening import ReopeningSource
from bisenet_edge.runtime.sources.stream import StreamSource

LEVELS = (40, 120, 200)
BACKENDS = ["gi", "gst-launch", "opencv"]


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch, gst: object, gst_launch: str) -> None:
    """No proxy between a test and its camera; and no long wait for a camera that is back."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("bisenet_edge.runtime.sources.reopening.FIRST_WAIT_S", 0.05)
    monkeypatch.setattr("bisenet_edge.runtime.sources.reopening.LONGEST_WAIT_S", 0.2)


@pytest.fixture
def rtsp_camera(gst_environment: dict[str, str]) -> Iterator[RtspCamera]:
    camera = RtspCamera(gst_environment)
    yield camera
    camera.kill()


def levels_of(frames: list) -> list[int]:
    return [min(LEVELS, key=lambda level: abs(level - frame.image.mean())) for frame in frames]


@pytest.mark.parametrize("backend", BACKENDS)
def test_rtsp(backend: str, rtsp_camera: RtspCamera) -> None:
    with open_source(f"rtsp://{rtsp_camera.address}?backend={backend}") as source:
        assert (source.live, source.size_hw, source.clock) == (True, (240, 320), "arrival")
        frames, out = [], None
        for _ in range(10):
            frames.append(source.read(out))
            assert frames[-1].captured_ns <= time.monotonic_ns()
            out = np.empty((240, 320, 3), np.uint8)
    assert [frame.index for frame in frames] == list(range(10))
    times = [frame.captured_ns for frame in frames]
    assert times == sorted(times)
    assert len(np.unique(frames[-1].image.reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize("backend", ["gi", "gst-launch"])
def test_a_killed_rtsp_camera_comes_back_with_another_size(backend: str, rtsp_camera: RtspCamera) -> None:
    events: list[str] = []
    uri = f"rtsp://{rtsp_camera.address}?backend={backend}&stall=1"
    with open_source(uri, on_event=events.append) as source:
        assert source.read().image.shape == (240, 320, 3)
        rtsp_camera.kill()
        found: list = []
        reader = threading.Thread(
            target=lambda: until(lambda: source.reopened > 0, lambda: found.append(source.read())),
            daemon=True,
        )
        reader.start()
        until(lambda: bool(events), lambda: time.sleep(0.01))
        rtsp_camera.start("160x120")
        reader.join(60)
        assert not reader.is_alive()
        assert source.reopened == 1
        assert found[-1].image.shape == (120, 160, 3)
        assert [f.index for f in found] == list(range(1, 1 + len(found)))
        times = [f.captured_ns for f in found]
        assert times == sorted(times)
    assert "trying again in" in events[0]
    assert "back after loss" in events[-1]


def test_an_rtsp_camera_with_a_password(gst_environment: dict[str, str]) -> None:
    camera = RtspCamera(gst_environment, login="me:geheim")
    try:
        with open_source(f"rtsp://me:geheim@{camera.address}?backend=gi") as source:
            assert source.read() is not None
            assert source.uri == f"rtsp://me:***@{camera.address}?backend=gi"
        for backend in ("gi", "opencv"):  # gst-launch is never given a password
            with pytest.raises(SourceError) as caught:
                open_source(f"rtsp://me:falsch@{camera.address}?backend={backend}&stall=2")
            assert "falsch" not in str(caught.value)
            assert "me:***@127.0.0.1" in str(caught.value)
            if backend == "gi":
                assert "nauthorized" in str(caught.value)
    finally:
        camera.kill()


@pytest.mark.parametrize("backend", ["gi", "gst-launch"])
def test_a_wrong_codec_names_the_option(backend: str, rtsp_camera: RtspCamera) -> None:
    with pytest.raises(SourceError, match=r"codec=h265"):
        open_source(f"rtsp://{rtsp_camera.address}?codec=h265&backend={backend}")


@pytest.mark.parametrize("backend", BACKENDS)
def test_http(backend: str) -> None:
    parts = [jpeg(level) for level in LEVELS]
    with http_camera(parts, after="repeat") as camera:
        with open_source(f"http://{camera.address}?channel=2&backend={backend}") as source:
            frames = [source.read() for _ in range(12)]
            assert source.corrupt == 0
        assert camera.requests[0] == b"GET /video?channel=2 HTTP/1.1"
    assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
    assert set(levels_of(frames)) == set(LEVELS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_half_open_http_camera_is_lost(backend: str) -> None:
    with http_camera([jpeg(level) for level in LEVELS] * 3, after="stall") as camera:
        source = open_source(f"http://{camera.address}?stall=0.5&backend={backend}")
        assert isinstance(source, ReopeningSource)
        inner = source._source
        assert isinstance(inner, StreamSource)
        with pytest.raises(SourceLostError):
            until(lambda: False, inner.read)
        source.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_interrupt_while_a_camera_is_silent(backend: str) -> None:
    with http_camera([jpeg(level) for level in LEVELS], after="stall") as camera:
        source = open_source(f"http://{camera.address}?stall=600&backend={backend}")
        threading.Timer(0.5, source.interrupt).start()
        until(lambda: source.read() is None, lambda: None)
        assert source.read() is None
        source.close()


def test_a_camera_that_changes_its_size_in_mid_stream() -> None:
    parts = [jpeg(40)] * 20 + [jpeg(120, 200, 100)] * 20 + [jpeg(200, 64, 48)] * 20
    wanted = {(120, 160, 3), (100, 200, 3), (48, 64, 3)}
    with http_camera(parts, after="repeat") as camera:
        with open_source(f"http://{camera.address}?backend=gi") as source:
            seen = set()
            until(lambda: seen == wanted, lambda: seen.add(source.read().image.shape))
            assert source.reopened == 0
        with open_source(f"http://{camera.address}?backend=gst-launch", on_event=lambda text: None) as source:
            seen.clear()
            until(lambda: seen == wanted, lambda: seen.add(source.read().image.shape))
            assert source.reopened > 0, "a pipe has no headers: another size is another stream"
        with open_source(f"http://{camera.address}?backend=gst-launch&out=160x120") as source:
            frames = [source.read() for _ in range(60)]
            assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
            assert source.reopened == 0


def test_damaged_jpegs_are_thrown_away_counted_and_end_nothing() -> None:
    good = [jpeg(level) for level in LEVELS]
    scan = good[0].rfind(b"\xff\xda") + 40
    damaged = [
        good[0][: len(good[0]) // 2],
        good[1][: scan + 1] + b"\xff\xc4" + good[1][scan + 3 :],
        b"\xff\xd8 no picture \xff\xd9",
        b"",
        good[2][:-2],
    ]
    frames: list = []
    with http_camera([*good, *damaged], after="repeat", pause_s=0.005) as camera:
        source = open_source(f"http://{camera.address}?backend=gi")
        until(lambda: source.corrupt >= 12, lambda: frames.append(source.read()))
        assert source.reopened == 0
        source.close()
    assert len(frames) > 6
    for frame, level in zip(frames, levels_of(frames)):
        assert np.abs(frame.image.astype(int) - level).max() < 40, "a part is grey"


def test_a_jpeg_with_flipped_bytes_ends_nothing() -> None:
    random = np.random.default_rng(3)
    parts = []
    for index in range(40):
        data = bytearray(jpeg(LEVELS[index % 3]))
        for _ in range(index % 4 * 8):
            data[int(random.integers(2, len(data)))] ^= int(random.integers(1, 256))
        parts.append(bytes(data))
    with http_camera(parts, after="repeat", pause_s=0.002) as camera:
        source = open_source(f"http://{camera.address}?backend=gi", on_event=lambda text: None)
        for _ in range(60):
            assert source.read() is not None
        assert source.corrupt > 0
        source.close()


def test_nobody_there(unused_port: int) -> None:
    for scheme in ("rtsp", "http"):
        for backend in BACKENDS:
            with pytest.raises(SourceError, match="cannot be opened"):
                open_source(f"{scheme}://127.0.0.1:{unused_port}/a?backend={backend}&stall=2")


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
