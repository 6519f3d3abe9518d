"""What a V4L2 camera offers, asked of its driver: neither GStreamer nor OpenCV tells it in advance.

Structures and request numbers: Linux, include/uapi/linux/videodev2.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import List

from bisenet_edge.errors import SourceError

_FMTDESC = struct.Struct("=III32s4sI3I")  # index, type, flags, description, fourcc, mbus code, reserved
_VIDIOC_ENUM_FMT = 0xC0405602  # _IOWR('V', 2, struct v4l2_fmtdesc), 64 bytes
_VIDEO_CAPTURE = 1


@dataclass(frozen=True)
class CameraFormat:
    """One way for a camera to send its pixels: the driver's name, and GStreamer's ("" = compressed)."""

    fourcc: str
    gst: str


# Best first: MJPEG fits through USB at full rate, the others cost bandwidth in this order.
CAMERA_FORMATS = {
    "mjpeg": CameraFormat("MJPG", ""),
    "nv12": CameraFormat("NV12", "NV12"),
    "i420": CameraFormat("YU12", "I420"),
    "yuyv": CameraFormat("YUYV", "YUY2"),
    "uyvy": CameraFormat("UYVY", "UYVY"),
    "yvyu": CameraFormat("YVYU", "YVYU"),
    "bgr": CameraFormat("BGR3", "BGR"),
    "rgb": CameraFormat("RGB3", "RGB"),
    "gray": CameraFormat("GREY", "GRAY8"),
}


def stable_device(device: str, links: Path = Path("/dev/v4l")) -> str:
    """Udev's link to a camera by the port that it hangs on, else by its name; the device itself without udev.

    A camera that was unplugged may come back as another /dev/videoN: always when GStreamer had it open,
    whose v4l2src keeps a descriptor for good (seen in 1.22), but its port stays.
    """
    for kind in ("by-path", "by-id"):
        for link in sorted((links / kind).glob("*")):
            if link.resolve() == Path(device).resolve():
                return str(link)
    return device


def offered_fourccs(device: str) -> List[str]:
    """The pixel formats of a camera, as its driver lists them: ["MJPG", "YUYV"].

    Raises:
        SourceError: no such device, no permission, or no camera.
    """
    found: List[str] = []
    try:
        fd = os.open(device, os.O_RDWR | os.O_NONBLOCK)
        try:
            while True:
                request = _FMTDESC.pack(len(found), _VIDEO_CAPTURE, 0, b"", b"", 0, 0, 0, 0)
                answer = _FMTDESC.unpack(fcntl.ioctl(fd, _VIDIOC_ENUM_FMT, request))
                found.append(answer[4].decode("latin-1"))
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno == errno.EINVAL and found:  # how the list ends
            return found
        raise _cannot_open(device, error) from error


def choose_format(device: str, wanted: str = "") -> str:
    """A key of `CAMERA_FORMATS`: the one that is wanted, or the best that the camera has.

    Raises:
        SourceError: the camera cannot be asked, or has none that can be read.
    """
    offered = offered_fourccs(device)
    for name, camera_format in CAMERA_FORMATS.items():
        if camera_format.fourcc in offered and wanted in ("", name):
            return name
    raise SourceError(
        "a camera does not send the format that is wanted" if wanted else "no format of a camera can be read",
        got=f"{device} offers {', '.join(offered)}",
        expected=CAMERA_FORMATS[wanted].fourcc
        if wanted
        else ", ".join(f.fourcc for f in CAMERA_FORMATS.values()),
        fix=f"v4l2-ctl -d {device} --list-formats-ext",
    )


def _cannot_open(device: str, error: OSError) -> SourceError:
    cameras = sorted(str(path) for path in Path("/dev").glob("video*"))
    fix = (
        f"see which cameras there are: ls {' '.join(cameras)}"
        if cameras
        else "plug a camera in, then: ls /dev/video*"
    )
    if error.errno in (errno.EACCES, errno.EPERM):
        fix = "sudo usermod -aG video $USER, then log in again"
    if error.errno in (errno.EINVAL, errno.ENOTTY):
        return SourceError("a device is not a camera", got=device, fix=fix)
    return SourceError("a camera cannot be opened", got=f"{device}: {error.strerror}", fix=fix)
