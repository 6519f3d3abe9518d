"""What may stand behind the `?` of a source's URI.

    width, height, fps   the camera's mode (csi, v4l2)
    format               the camera's pixels: mjpeg, yuyv, uyvy, nv12, ... (v4l2; default: mjpeg if it has it)
    out                  WxH that is delivered; default: the camera's own size
    scale                "network": deliver what fits into the network's input (csi, v4l2)
    flip                 0 to 7, as nvvidconv's flip-method: 0 none, 1 left, 2 upside down, 3 right, ...
    latency              milliseconds that a network stream may be held back to even it out (rtsp)
    transport            tcp or udp (rtsp)
    codec                h264, h265, mjpeg or auto (rtsp, http)
    stall                seconds without a frame after which a live source is lost
    wait                 "forever": a camera that is not there yet is waited for
    backend              auto, gi, gst-launch or opencv

A network camera has options of its own in the same place. Those that are not ours go to the camera;
one that is nearly ours is refused, because it is a slip of the pen.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Callable, Dict, List, Optional, Tuple
from urllib.parse import unquote_plus

from bisenet_edge.errors import UsageError, unknown_name
from bisenet_edge.frame import Size
from bisenet_edge.runtime.uris import redacted

BACKENDS = ("auto", "gi", "gst-launch", "opencv")
CODECS = ("h264", "h265", "mjpeg", "auto")
FORMATS = ("mjpeg", "yuyv", "uyvy", "yvyu", "nv12", "i420", "bgr", "rgb", "gray")
_COMMON = ("out", "flip", "backend")
_LIVE = (*_COMMON, "stall", "wait")
_CAMERA = (*_LIVE, "width", "height", "fps", "scale")
OPTIONS_OF = {
    "csi": _CAMERA,
    "v4l2": (*_CAMERA, "format"),
    "rtsp": (*_LIVE, "latency", "transport", "codec"),
    "http": (*_LIVE, "codec"),
    "https": (*_LIVE, "codec"),
    "file": _COMMON,
}
NETWORK_SCHEMES = ("rtsp", "http", "https")


@dataclass(frozen=True)
class StreamOptions:
    """The options of one source; None or empty = not given. Units as in the module's text."""

    backend: str = "auto"
    width: Optional[int] = None
    height: Optional[int] = None
    fps: Optional[Fraction] = None
    out: Optional[Size] = None
    scale: str = ""
    flip: int = 0
    format: str = ""
    latency: int = 100
    transport: str = "tcp"
    codec: str = ""
    stall: float = 5.0
    wait: str = ""
    given: Tuple[str, ...] = field(default=(), compare=False)

    def with_defaults(self, width: int, height: int, fps: Optional[Fraction] = None) -> StreamOptions:
        """The same with a camera mode where none was given."""
        return replace(self, width=self.width or width, height=self.height or height, fps=self.fps or fps)


def split_options(uri: str, scheme: str, rest: str) -> Tuple[str, StreamOptions]:
    """Take our options out of what follows `scheme://`.

    Returns:
        (rest without our options, options).

    Raises:
        UsageError: an unknown option, or a value that cannot be read.
    """
    place, _, query = rest.partition("?")
    known = OPTIONS_OF[scheme]
    values: Dict[str, object] = {}
    others: List[str] = []
    for pair in query.split("&") if query else []:
        name, _, text = pair.partition("=")
        if name in known:
            values[name] = _READERS[name](unquote_plus(text), name, uri)
        elif scheme in NETWORK_SCHEMES and not difflib.get_close_matches(name, known, cutoff=0.8):
            others.append(pair)
        else:
            raise unknown_name(f"option in '{redacted(uri)}'", name, known)
    options = StreamOptions(**values, given=tuple(values))  # type: ignore[arg-type]
    if options.out is not None and options.scale:
        raise UsageError("both 'out' and 'scale' are given", got=redacted(uri), fix="keep one of them")
    if (options.width is None) != (options.height is None):
        raise UsageError("a camera mode needs both 'width' and 'height'", got=redacted(uri))
    return place + ("?" + "&".join(others) if others else ""), options


def _whole(low: int, high: int) -> Callable[[str, str, str], int]:
    def read(text: str, name: str, uri: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 8 and low <= int(text) <= high):
            raise _unreadable(text, name, uri, f"a whole number from {low} to {high}")
        return int(text)

    return read


def _number(low: float, high: float) -> Callable[[str, str, str], float]:
    def read(text: str, name: str, uri: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise _unreadable(text, name, uri, f"a number from {low:g} to {high:g}")
        return value

    return read


def _rate(text: str, name: str, uri: str) -> Fraction:
    try:
        value = Fraction(text).limit_denominator(1001)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 1000:
        raise _unreadable(text, name, uri, "frames per second, for example 30 or 30000/1001")
    return value


def _size(text: str, name: str, uri: str) -> Size:
    size = Size.parse(text)
    if size.width % 2 or size.height % 2:
        raise _unreadable(text, name, uri, "even numbers: converters work on pairs of pixels")
    return size


def _one_of(*choices: str) -> Callable[[str, str, str], str]:
    def read(text: str, name: str, uri: str) -> str:
        if text not in choices:
            raise unknown_name(f"'{name}' in '{redacted(uri)}'", text, choices)
        return text

    return read


def _unreadable(text: str, name: str, uri: str, expected: str) -> UsageError:
    return UsageError(f"cannot read '{name}' in '{redacted(uri)}'", got=repr(text), expected=expected)


_READERS: Dict[str, Callable[[str, str, str], object]] = {
    "backend": _one_of(*BACKENDS),
    "width": _whole(32, 8192),
    "height": _whole(32, 8192),
    "fps": _rate,
    "out": _size,
    "scale": _one_of("network"),
    "flip": _whole(0, 7),
    "format": _one_of(*FORMATS),
    "latency": _whole(0, 60_000),
    "transport": _one_of("tcp", "udp"),
    "codec": _one_of(*CODECS),
    "stall": _number(0.5, 3600),
    "wait": _one_of("forever"),
}
