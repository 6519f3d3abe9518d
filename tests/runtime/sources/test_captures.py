"""The exact pipeline of every kind of source, for a Jetson and in software."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from bisenet_edge.frame import Size
from bisenet_edge.runtime.sources import captures
from bisenet_edge.runtime.sources.captures import JETSON, SOFTWARE, Capture
from bisenet_edge.runtime.sources.options import StreamOptions

NVMM = "video/x-raw(memory:NVMM)"
HD = StreamOptions(width=1280, height=720, fps=Fraction(30))
SMALL = StreamOptions(width=1280, height=720, fps=Fraction(30), out=Size(640, 360), flip=2)
RTSP = "rtspsrc location=rtsp://cam/a latency=100 drop-on-latency=true protocols=tcp"
HTTP = "souphttpsrc location=http://cam/a is-live=true do-timestamp=true timeout=5 retries=0"


def texts(found: list[Capture]) -> dict[str, str]:
    return {capture.variant: capture.pipeline.text for capture in found}


def test_csi() -> None:
    assert texts(captures.csi(0, HD)) == {
        JETSON: f"nvarguscamerasrc sensor-id=0 ! {NVMM},width=1280,height=720,framerate=30/1,format=NV12 ! "
        "nvvidconv flip-method=0 ! video/x-raw,format=BGRx"
    }
    assert texts(captures.csi(1, SMALL)) == {
        JETSON: f"nvarguscamerasrc sensor-id=1 ! {NVMM},width=1280,height=720,framerate=30/1,format=NV12 ! "
        "nvvidconv flip-method=2 interpolation-method=1 ! video/x-raw,width=640,height=360,format=BGRx"
    }
    assert captures.csi(0, HD)[0].dated


def test_v4l2_motion_jpeg() -> None:
    assert texts(captures.v4l2("/dev/video2", "mjpeg", SMALL)) == {
        JETSON: "v4l2src device=/dev/video2 ! image/jpeg,width=1280,height=720,framerate=30/1 ! "
        "jpegparse name=jpegs ! nvv4l2decoder mjpeg=true ! "
        "nvvidconv flip-method=2 interpolation-method=1 ! video/x-raw,width=640,height=360,format=BGRx",
        SOFTWARE: "v4l2src device=/dev/video2 ! image/jpeg,width=1280,height=720,framerate=30/1 ! "
        "jpegdec name=jpegs ! videoflip video-direction=180 ! videoscale add-borders=false ! videoconvert ! "
        "video/x-raw,width=640,height=360,format=BGRx",
    }


def test_v4l2_raw() -> None:
    camera = "v4l2src device=/dev/video0 ! video/x-raw,width=1280,height=720,framerate=30/1,format=YUY2"
    assert texts(captures.v4l2("/dev/video0", "yuyv", HD)) == {
        JETSON: f"{camera} ! nvvidconv ! {NVMM},format=NV12 ! nvvidconv flip-method=0 ! "
        "video/x-raw,format=BGRx",
        SOFTWARE: f"{camera} ! videoconvert ! video/x-raw,format=BGRx",
    }


@pytest.mark.parametrize(
    ("codec", "jetson", "software"),
    [
        (
            "",
            "rtph264depay ! h264parse ! nvv4l2decoder enable-max-performance=true",
            "rtph264depay ! h264parse ! avdec_h264",
        ),
        (
            "h265",
            "rtph265depay ! h265parse ! nvv4l2decoder enable-max-performance=true",
            "rtph265depay ! h265parse ! avdec_h265",
        ),
        (
            "mjpeg",
            "rtpjpegdepay ! jpegparse name=jpegs ! nvv4l2decoder mjpeg=true",
            "rtpjpegdepay ! jpegdec name=jpegs",
        ),
        ("auto", "decodebin", "decodebin"),
    ],
)
def test_rtsp(codec: str, jetson: str, software: str) -> None:
    assert texts(captures.rtsp("rtsp://cam/a", StreamOptions(codec=codec))) == {
        JETSON: f"{RTSP} ! {jetson} ! nvvidconv flip-method=0 ! video/x-raw,format=BGRx",
        SOFTWARE: f"{RTSP} ! {software} ! videoconvert ! video/x-raw,format=BGRx",
    }


@pytest.mark.parametrize(
    ("codec", "jetson", "software"),
    [
        (
            "",
            "multipartdemux ! jpegparse name=jpegs ! nvv4l2decoder mjpeg=true",
            "multipartdemux ! jpegdec name=jpegs",
        ),
        ("auto", "decodebin", "decodebin"),
    ],
)
def test_http(codec: str, jetson: str, software: str) -> None:
    found = captures.http("http://cam/a", StreamOptions(codec=codec))
    assert texts(found) == {
        JETSON: f"{HTTP} ! {jetson} ! nvvidconv flip-method=0 ! video/x-raw,format=BGRx",
        SOFTWARE: f"{HTTP} ! {software} ! videoconvert ! video/x-raw,format=BGRx",
    }
    assert not any(capture.dated for capture in found)


def test_a_login_is_no_part_of_the_address() -> None:
    (text, _) = texts(captures.rtsp("rtsp://me:p%40ss@cam:554/a?x=1", StreamOptions())).values()
    assert text.startswith("rtspsrc location=rtsp://cam:554/a?x=1 user-id=me user-pw=p@ss latency=100 ")


def test_video_files() -> None:
    jetson_end = "nvvidconv flip-method=0 ! video/x-raw,format=BGRx"
    decoder = "nvv4l2decoder enable-max-performance=true"
    software = "decodebin ! videoconvert ! video/x-raw,format=BGRx"
    assert texts(captures.video_file(Path("/a.mp4"), "h264", StreamOptions())) == {
        JETSON: f"filesrc location=/a.mp4 ! qtdemux ! h264parse ! {decoder} ! {jetson_end}",
        SOFTWARE: f"filesrc location=/a.mp4 ! {software}",
    }
    assert texts(captures.video_file(Path("/a.mkv"), "h265", StreamOptions())) == {
        JETSON: f"filesrc location=/a.mkv ! matroskademux ! h265parse ! {decoder} ! {jetson_end}",
        SOFTWARE: f"filesrc location=/a.mkv ! {software}",
    }
    assert texts(captures.video_file(Path("/a.avi"), "", StreamOptions())) == {
        SOFTWARE: f"filesrc location=/a.avi ! {software}"
    }


def test_videoflip_turns_as_nvvidconv_does(gst: object) -> None:
    # By NVIDIA's guide: 1 = 90 degrees counter-clockwise, 3 = clockwise, 5 and 7 the diagonals.
    import numpy as np

    from bisenet_edge.runtime.gstreamer import Pipeline, caps, element
    from bisenet_edge.runtime.sources.appsink import AppsinkReader

    def picture(flip: int) -> np.ndarray:
        source = Pipeline.of(
            element("videotestsrc", num_buffers=1, pattern="smpte"),
            caps("video/x-raw", width=64, height=48, format="I420"),
        )
        end = captures.Pipeline.of(*captures._software_end(StreamOptions(flip=flip)))
        reader = AppsinkReader(source + end, live=False, dated=False)
        found = reader.poll(None, 10)
        reader.close()
        assert found is not None
        return found

    plain = picture(0)
    wanted = {
        1: np.rot90(plain, 1),
        2: np.rot90(plain, 2),
        3: np.rot90(plain, 3),
        4: plain[:, ::-1],
        5: np.rot90(plain.transpose(1, 0, 2), 2),
        6: plain[::-1],
        7: plain.transpose(1, 0, 2),
    }
    for flip, expected in wanted.items():
        got = picture(flip)
        assert got.shape == expected.shape
        assert np.abs(got.astype(int) - expected).mean() < 6, flip  # chroma is half as fine
