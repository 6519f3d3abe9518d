"""The exact Jetson pipelines, run: NVIDIA's elements are stand-ins, everything around them is real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cameras import RtspCamera, http_camera, jpeg

STAND_INS = Path(__file__).with_name("stand_ins.py")


def read_through_stand_ins(uri: str, environment: dict[str, str]) -> dict[str, object]:
    # In a process of its own: here they would make every later test believe it runs on a Jetson.
    done = subprocess.run(
        [sys.executable, str(STAND_INS), uri],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check(said: dict[str, object], width: int, height: int, clock: str) -> None:
    assert said["shapes"] == [[height, width, 3]]
    assert said["indices"] == [0, 1, 2, 3, 4]
    assert said["clock"] == clock
    assert said["live"]
    assert said["buffers"] == 1, "every frame after the first one goes into the caller's buffer"
    assert 0 <= said["youngest_ns"] <= said["oldest_ns"]
    assert said["colours"] > 100, "the picture is not what the camera showed"


@pytest.mark.parametrize(
    ("uri", "width", "height"),
    [
        ("csi://0", 1280, 720),
        ("csi://1?width=640&height=480&fps=15&flip=2&out=320x240&backend=gi", 320, 240),
        ("v4l2:///dev/video0", 640, 480),
        ("v4l2:///dev/video0?format=yuyv&out=320x180", 320, 180),
    ],
)
def test_cameras_fake(uri: str, width: int, height: int, gst_environment: dict[str, str]) -> None:
    check(read_through_stand_ins(uri, gst_environment), width, height, "camera")


def test_rtsp_fake_decoder(gst_environment: dict[str, str]) -> None:
    camera = RtspCamera(gst_environment)
    try:
        check(
            read_through_stand_ins(f"rtsp://{camera.address}?out=160x120", gst_environment),
            160,
            120,
            "arrival",
        )
    finally:
        camera.kill()


def test_http_fake_decoder(gst_environment: dict[str, str]) -> None:
    with http_camera([jpeg(level) for level in (40, 120, 200)], after="repeat") as camera:
        check(read_through_stand_ins(f"http://{camera.address}", gst_environment), 160, 120, "arrival")


def test_a_csi_camera_elsewhere_is_one_clear_error(gst: object) -> None:
    from bisenet_edge.errors import MissingDependencyError
    from bisenet_edge.runtime.sources import open_source

    with pytest.raises(MissingDependencyError, match=r"(?s)on a Jetson only.*nvarguscamerasrc.*v4l2://"):
        open_source("csi://0")
