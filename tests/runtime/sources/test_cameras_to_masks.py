"""Whole runs from cameras that fail: masks go on, what was recorded plays, counters are exact."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cameras import RtspCamera, http_camera, jpeg

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.backends.null import NullSession
from bisenet_edge.runtime.pipeline.run import RunOptions, RunReport, run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.sinks import Sink, open_sink
from bisenet_edge.runtime.sources import open_source

TIMEOUT_S = 60


class SizesSink(Sink):
    """Counts masks by size, and calls `told` after each."""

    def __init__(self, told) -> None:
        super().__init__("sizes")
        self.counts: dict[tuple[int, int], int] = {}
        self._told = told

    def write(self, frame, mask) -> None:
        assert mask.shape == frame.image.shape[:2]
        self.counts[mask.shape] = self.counts.get(mask.shape, 0) + 1
        self._told()


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch, gst: object, gst_launch: str) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("bisenet_edge.runtime.sources.reopening.FIRST_WAIT_S", 0.05)
    monkeypatch.setattr("bisenet_edge.runtime.sources.reopening.LONGEST_WAIT_S", 0.2)


@pytest.fixture
def rtsp_camera(gst_environment: dict[str, str]) -> Iterator[RtspCamera]:
    camera = RtspCamera(gst_environment)
    yield camera
    camera.kill()


def masks_of(uri: str, folder: Path, sizes: SizesSink, stop: threading.Event) -> RunReport:
    session = NullSession(Artifact(Path(), Manifest("toy", "", "toy", CAMVID, Size(64, 32), "int8")), "int8")
    with open_source(uri) as source:
        sinks = [open_sink(f"{folder}/a.avi", CAMVID, 30.0, live=True), sizes]
        options = RunOptions(max_seconds=TIMEOUT_S)
        report = run(source, Segmenter(session), sinks, stop=stop, options=options)
    assert report.ended_by == "stop"
    assert report.frames_captured == report.frames_delivered + report.frames_dropped
    assert all(sink.written + sink.dropped == report.frames_delivered for sink in report.sinks)
    assert report.failures == ()
    with open_source(f"{folder}/a.avi") as recording:
        assert recording.read() is not None
    return report


def test_an_rtsp_server_is_killed_and_restarted_during_a_run(tmp_path: Path, rtsp_camera: RtspCamera) -> None:
    stop, enough = threading.Event(), threading.Event()

    def restart() -> None:
        assert enough.wait(TIMEOUT_S)
        rtsp_camera.kill()
        rtsp_camera.start("160x120")

    def told() -> None:
        if sizes.counts.get((240, 320), 0) >= 10:
            enough.set()
        if sizes.counts.get((120, 160), 0) >= 10:
            stop.set()

    sizes = SizesSink(told)
    restarting = threading.Thread(target=restart)
    restarting.start()
    report = masks_of(f"rtsp://{rtsp_camera.address}?stall=1", tmp_path, sizes, stop)
    restarting.join()
    assert report.reopened == 1
    assert set(sizes.counts) == {(240, 320), (120, 160)}


def test_damaged_pictures_of_a_changing_size_during_a_run(tmp_path: Path) -> None:
    stop = threading.Event()
    small, large = jpeg(40), jpeg(200, 320, 240)
    damaged = [small[: len(small) // 2], b"\xff\xd8 no picture \xff\xd9", large[: len(large) // 2]]

    def told() -> None:
        if sum(sizes.counts.values()) >= 60 and len(sizes.counts) == 2:
            stop.set()

    sizes = SizesSink(told)
    with http_camera([small] * 5 + damaged + [large] * 5, after="repeat", pause_s=0.01) as camera:
        report = masks_of(f"http://{camera.address}?backend=gi", tmp_path, sizes, stop)
    assert set(sizes.counts) == {(120, 160), (240, 320)}
    assert report.corrupt > 0
    assert report.reopened == 0
