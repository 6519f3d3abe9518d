"""How to get pictures out of each kind of source with GStreamer, as data.

Each function gives the variants in order of preference: the first whose elements this machine has is
taken. Every pipeline ends with BGRx pictures in ordinary memory. A Jetson's nvvidconv cannot make BGR; in
software BGRx costs the same, because the picture is copied into the caller's buffer anyway.

Sources of the element names and caps: NVIDIA's Accelerated GStreamer guide and jetson-utils. The Jetson
texts are run against stand-ins for NVIDIA's elements; they have not been run on a Jetson.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Tuple
from urllib.parse import unquote

from bisenet_edge.runtime.gstreamer import Caps, Element, Part, Pipeline, caps, element
from bisenet_edge.runtime.sources.appsink import JPEG_DECODER
from bisenet_edge.runtime.sources.options import StreamOptions
from bisenet_edge.runtime.sources.v4l2 import CAMERA_FORMATS

JETSON, SOFTWARE = "jetson", "software"
NVMM = "NVMM"
# nvvidconv's flip-method 0 to 7 in videoflip's words. (Its older "method" is ignored in a pipeline's text
# by 1.22.)
FLIPS = ("identity", "90l", "180", "90r", "horiz", "ur-ll", "vert", "ul-lr")
_SOFTWARE_DECODERS = {"h264": "avdec_h264", "h265": "avdec_h265"}


@dataclass(frozen=True)
class Capture:
    """One variant: the pipeline without its sink, and whether its times are those of the capture."""

    variant: str
    pipeline: Pipeline
    dated: bool = False


def csi(sensor: int, options: StreamOptions) -> List[Capture]:
    """A camera on the CSI connector: only a Jetson's Argus reads it, and its own memory carries it."""
    mode = _mode("video/x-raw", NVMM, options, "NV12")
    parts = (element("nvarguscamerasrc", sensor_id=sensor), mode, *_jetson_end(options))
    return [Capture(JETSON, Pipeline.of(*parts), dated=True)]


def v4l2(device: str, pixels: str, options: StreamOptions) -> List[Capture]:
    """A USB or other V4L2 camera; `pixels` is one of `CAMERA_FORMATS`."""
    camera = element("v4l2src", device=device)
    if pixels == "mjpeg":
        mode = _mode("image/jpeg", "", options)
        jetson: Tuple[Part, ...] = (*_jetson_jpeg(), *_jetson_end(options))
        software: Tuple[Part, ...] = (*_software_jpeg(), *_software_end(options))
    else:
        mode = _mode("video/x-raw", "", options, CAMERA_FORMATS[pixels].gst)
        # nvvidconv needs a Jetson's own memory on one side: one copies in, the next converts and scales.
        to_nvmm = (element("nvvidconv"), caps("video/x-raw", NVMM, format="NV12"))
        jetson = (*to_nvmm, *_jetson_end(options))
        software = _software_end(options)
    return [
        Capture(JETSON, Pipeline.of(camera, mode, *jetson), dated=True),
        Capture(SOFTWARE, Pipeline.of(camera, mode, *software), dated=True),
    ]


def rtsp(location: str, options: StreamOptions) -> List[Capture]:
    """A network camera."""
    location, user, password = split_login(location)
    camera = element(
        "rtspsrc",
        location=location,
        user_id=user or None,
        user_pw=password or None,
        latency=options.latency,
        drop_on_latency=True,
        protocols=options.transport,
    )
    codec = options.codec or "h264"
    # The jitter buffer dates a frame by the arrival of its packets: before decoding.
    return [
        Capture(JETSON, Pipeline.of(camera, *_jetson_packets(codec), *_jetson_end(options)), dated=True),
        Capture(
            SOFTWARE, Pipeline.of(camera, *_software_packets(codec), *_software_end(options)), dated=True
        ),
    ]


def http(location: str, options: StreamOptions) -> List[Capture]:
    """A stream over HTTP: motion JPEG as cameras send it, or anything that can be told from its bytes."""
    location, user, password = split_login(location)
    camera = element(
        "souphttpsrc",
        location=location,
        user_id=user or None,
        user_pw=password or None,
        is_live=True,
        do_timestamp=True,
        timeout=max(1, round(options.stall)),
        retries=0,
    )
    if options.codec and options.codec != "mjpeg":
        jetson, software = [element("decodebin")], [element("decodebin")]
    else:
        jetson = [element("multipartdemux"), *_jetson_jpeg()]
        software = [element("multipartdemux"), *_software_jpeg()]
    return [
        Capture(JETSON, Pipeline.of(camera, *jetson, *_jetson_end(options))),
        Capture(SOFTWARE, Pipeline.of(camera, *software, *_software_end(options))),
    ]


def video_file(path: Path, codec: str, options: StreamOptions) -> List[Capture]:
    """A video file. The Jetson variant takes `codec` "h264" or "h265" in MP4, MOV or MKV."""
    source = element("filesrc", location=str(path))
    software = Capture(SOFTWARE, Pipeline.of(source, element("decodebin"), *_software_end(options)))
    if codec not in _SOFTWARE_DECODERS or path.suffix.lower() not in (".mp4", ".mov", ".mkv"):
        return [software]
    demux = element("matroskademux" if path.suffix.lower() == ".mkv" else "qtdemux")
    decode = (element(f"{codec}parse"), element("nvv4l2decoder", enable_max_performance=True))
    return [Capture(JETSON, Pipeline.of(source, demux, *decode, *_jetson_end(options))), software]


def split_login(location: str) -> Tuple[str, str, str]:
    """(address without the login, user, password): so that no message of GStreamer's shows the password."""
    scheme, _, rest = location.partition("://")
    place, slash, path = rest.partition("/")
    login, _, host = place.rpartition("@")
    user, _, password = login.partition(":")
    return f"{scheme}://{host}{slash}{path}", unquote(user), unquote(password)


def _mode(media: str, memory: str, options: StreamOptions, pixels: str = "") -> Caps:
    return caps(
        media,
        memory,
        width=options.width,
        height=options.height,
        framerate=options.fps,
        format=pixels or None,
    )


def _jetson_end(options: StreamOptions) -> Tuple[Part, ...]:
    """From a Jetson's memory into ours; flipping and scaling cost the CPU nothing."""
    size = options.out
    return (
        # Its default takes the nearest pixel, which costs accuracy; 1 is bilinear.
        element("nvvidconv", flip_method=options.flip, interpolation_method=1 if size else None),
        _delivered(options),
    )


def _software_end(options: StreamOptions) -> Tuple[Part, ...]:
    flip = [element("videoflip", video_direction=FLIPS[options.flip])] if options.flip else []
    # Borders would be black and told to nobody: like nvvidconv, fill the size that was asked for.
    scale = [element("videoscale", add_borders=False)] if options.out else []
    return (*flip, *scale, element("videoconvert"), _delivered(options))


def _delivered(options: StreamOptions) -> Caps:
    size = options.out
    return caps(
        "video/x-raw",
        width=size.width if size else None,
        height=size.height if size else None,
        format="BGRx",
    )


def _jetson_jpeg() -> Tuple[Element, ...]:
    return element("jpegparse", name=JPEG_DECODER), element("nvv4l2decoder", mjpeg=True)


def _software_jpeg() -> Tuple[Element, ...]:
    # No jpegparse: it ends the stream at the first damaged frame (seen in 1.22).
    return (element("jpegdec", name=JPEG_DECODER),)


def _jetson_packets(codec: str) -> Tuple[Element, ...]:
    if codec == "auto":
        return (element("decodebin"),)
    if codec == "mjpeg":
        return element("rtpjpegdepay"), *_jetson_jpeg()
    decoder = element("nvv4l2decoder", enable_max_performance=True)
    return element(f"rtp{codec}depay"), element(f"{codec}parse"), decoder


def _software_packets(codec: str) -> Tuple[Element, ...]:
    if codec == "auto":
        return (element("decodebin"),)
    if codec == "mjpeg":
        return element("rtpjpegdepay"), *_software_jpeg()
    return element(f"rtp{codec}depay"), element(f"{codec}parse"), element(_SOFTWARE_DECODERS[codec])
