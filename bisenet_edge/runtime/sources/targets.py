"""What a camera's or stream's URI means: its pipelines, how OpenCV would read it, and what to say of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple
from urllib.parse import unquote

import cv2

from bisenet_edge.errors import SourceError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.runtime.sources import captures
from bisenet_edge.runtime.sources.captures import FLIPS, Capture
from bisenet_edge.runtime.sources.opencv import quiet_opencv
from bisenet_edge.runtime.sources.options import StreamOptions
from bisenet_edge.runtime.sources.stream import StreamPlan
from bisenet_edge.runtime.sources.v4l2 import CAMERA_FORMATS, choose_format
from bisenet_edge.runtime.uris import redacted

CSI_MODE = (1280, 720, Fraction(30))
V4L2_MODE = (640, 480)
"""What USB cameras and OpenCV start with."""
_TURNED = ("90l", "90r", "ur-ll", "ul-lr")


@dataclass(frozen=True)
class OpenCvWay:
    """How OpenCV reads a source.

    Attributes:
        open_capture: gives a `cv2.VideoCapture`.
        honours: the options that it follows besides backend, stall and wait.
        driver_clock: see OpenCvReader.
    """

    open_capture: Callable[[], Any]
    honours: Tuple[str, ...] = ()
    driver_clock: bool = False


@dataclass(frozen=True)
class Target:
    """One source, ready to be opened."""

    plan: StreamPlan
    captures: List[Capture]
    opencv: Optional[OpenCvWay]


def csi_target(uri: str, place: str, options: StreamOptions, size: Optional[Size]) -> Target:
    """`csi://0`: delivered as the camera takes it, unless `out` or `scale` says otherwise."""
    number = place.strip("/")
    if not re.fullmatch(r"[0-9]{1,2}", number):
        raise UsageError(
            "cannot read the number of a CSI camera", got=redacted(uri), expected="for example csi://0"
        )
    options = _scaled(options.with_defaults(*CSI_MODE), size, uri)
    plan = StreamPlan(
        uri,
        clock="camera",
        stall_s=options.stall,
        fix="sudo systemctl restart nvargus-daemon, then try again",
    )
    return Target(plan, captures.csi(int(number), options), None)


def v4l2_device(uri: str, place: str) -> str:
    """The device file: `v4l2:///dev/video0`, or `v4l2://0` for short."""
    device = f"/dev/video{place}" if place.isdigit() else place
    if not device.startswith("/dev/"):
        raise UsageError(
            "cannot read the device of a camera", got=redacted(uri), expected="v4l2:///dev/video0"
        )
    return device


def v4l2_target(uri: str, place: str, options: StreamOptions, size: Optional[Size]) -> Target:
    """`v4l2:///dev/video0`.

    Raises:
        SourceError: no such camera, or none that may be opened.
    """
    device = v4l2_device(uri, place)
    pixels = choose_format(device, options.format)
    fix = f"see its modes: v4l2-ctl -d {device} --list-formats-ext"
    options = _scaled(options.with_defaults(*V4L2_MODE), size, uri)
    plan = StreamPlan(uri, clock="camera", stall_s=options.stall, fix=fix)
    way = OpenCvWay(
        lambda: _open_v4l2(device, pixels, options), ("width", "height", "fps", "format"), driver_clock=True
    )
    return Target(plan, captures.v4l2(device, pixels, options), way)


def rtsp_target(uri: str, place: str, options: StreamOptions, size: Optional[Size]) -> Target:
    """`rtsp://user:password@host/path`."""
    location = _location("rtsp", place, uri)
    fix = "check address, user and password; a camera that sends H.265 needs ?codec=h265"
    plan = StreamPlan(uri, stall_s=options.stall, fix=fix)
    way = OpenCvWay(lambda: _open_ffmpeg(location, options.stall))
    return Target(plan, captures.rtsp(location, options), way)


def http_target(uri: str, place: str, options: StreamOptions, size: Optional[Size]) -> Target:
    """`http://host/path`: motion JPEG, or with `codec=auto` whatever it is."""
    location = _location(uri.partition(":")[0].lower(), place, uri)
    fix = "check address, user and password; a stream that is not motion JPEG needs ?codec=auto"
    plan = StreamPlan(uri, stall_s=options.stall, fix=fix)
    way = OpenCvWay(lambda: _open_ffmpeg(location, options.stall), ("codec",))
    return Target(plan, captures.http(location, options), way)


LIVE_TARGETS = {
    "csi": csi_target,
    "v4l2": v4l2_target,
    "rtsp": rtsp_target,
    "http": http_target,
    "https": http_target,
}


def file_target(uri: str, place: str, options: StreamOptions) -> Target:
    """`file:///path/clip.mp4`, decoded by GStreamer."""
    path = Path(unquote(place)).expanduser()
    if not path.is_file():
        raise SourceError("a source does not exist", got=str(path), expected="a video file")
    codec, count = _header(path)
    plan = StreamPlan(uri, live=False, count=count, fix="try ?backend=opencv")
    return Target(plan, captures.video_file(path.resolve(), codec, options), None)


def _header(path: Path) -> Tuple[str, Optional[int]]:
    """(codec as `captures.video_file` names it, number of frames if the file tells it)."""
    with quiet_opencv():
        capture = cv2.VideoCapture(str(path))
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).lower()
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    codec = {b"h264": "h264", b"avc1": "h264", b"hevc": "h265", b"hvc1": "h265", b"hev1": "h265"}.get(
        fourcc, ""
    )
    return codec, count if count > 0 else None


def _scaled(options: StreamOptions, size: Optional[Size], uri: str) -> StreamOptions:
    if not options.scale:
        return options
    if size is None:
        raise UsageError("'scale=network' needs a network", got=uri, fix="give the size: ?out=640x360")
    assert options.width is not None
    assert options.height is not None
    hw = (options.height, options.width)
    height, width = Fit(hw[::-1] if FLIPS[options.flip] in _TURNED else hw, size).inner_hw
    return replace(options, out=Size(width // 2 * 2, height // 2 * 2))


def _location(scheme: str, place: str, uri: str) -> str:
    host = place.partition("/")[0].rpartition("@")[2]
    if not host or re.search(r"[\s\x00-\x1f]", place):
        raise UsageError(
            "cannot read the address of a stream",
            got=redacted(uri),
            expected=f"{scheme}://host/path without spaces",
        )
    return f"{scheme}://{place}"


def _open_v4l2(device: str, pixels: str, options: StreamOptions) -> Any:
    with quiet_opencv():
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    fourcc = int.from_bytes(CAMERA_FORMATS[pixels].fourcc.encode(), "little")
    capture.set(cv2.CAP_PROP_FOURCC, fourcc)
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width or 0)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height or 0)
    if options.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, float(options.fps))
    return capture


def _open_ffmpeg(location: str, stall_s: float) -> Any:
    with quiet_opencv():
        if not hasattr(cv2, "CAP_PROP_READ_TIMEOUT_MSEC"):  # before OpenCV 4.5.2
            return cv2.VideoCapture(location, cv2.CAP_FFMPEG)
        limit_ms = round(1e3 * stall_s)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        return cv2.VideoCapture(location, cv2.CAP_FFMPEG, limits)
