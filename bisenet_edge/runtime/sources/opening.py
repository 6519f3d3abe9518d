"""A URI becomes a source."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from bisenet_edge.errors import MissingDependencyError, SourceError, UsageError, unknown_name
from bisenet_edge.frame import Size
from bisenet_edge.runtime.gstreamer.binding import APT_LINE, find_gst, load_gst
from bisenet_edge.runtime.gstreamer.registry import has_launch, missing_elements
from bisenet_edge.runtime.sources.appsink import AppsinkReader
from bisenet_edge.runtime.sources.base import Source
from bisenet_edge.runtime.sources.captures import JETSON, Capture
from bisenet_edge.runtime.sources.files import VIDEO_SUFFIXES, open_path
from bisenet_edge.runtime.sources.opencv import OpenCvReader
from bisenet_edge.runtime.sources.options import StreamOptions, split_options
from bisenet_edge.runtime.sources.pipe import PipeReader
from bisenet_edge.runtime.sources.reader import FrameReader
from bisenet_edge.runtime.sources.reopening import OnEvent, ReopeningSource, log_event
from bisenet_edge.runtime.sources.stream import StreamSource
from bisenet_edge.runtime.sources.synthetic import SyntheticSource
from bisenet_edge.runtime.sources.targets import LIVE_TARGETS, Target, file_target, v4l2_device
from bisenet_edge.runtime.sources.v4l2 import stable_device
from bisenet_edge.runtime.uris import has_secret, local_path, redacted, split_scheme

SCHEMES = ("synthetic", "file", *LIVE_TARGETS)
EXPECTED = (
    "csi://0, v4l2:///dev/video0, rtsp://..., http://..., a video file, a picture, a folder of pictures "
    "or synthetic://"
)


def open_source(uri: str, size: Optional[Size] = None, *, on_event: OnEvent = log_event) -> Source:
    """Open a source of frames.

    Args:
        uri: one of
            `csi://0` a camera on a Jetson's CSI connector (1280x720 at 30 unless told otherwise);
            `v4l2:///dev/video0` a USB camera (640x480 unless told otherwise);
            `rtsp://user:password@host/path`, `http://host/path` a network camera;
            a video file, a picture, a folder of pictures, or `file:///path?options`;
            `synthetic://[?seed=0&size=640x360&fps=30&seconds=10]`.
            Options follow a `?` (see `options`): width, height and fps choose the mode of a camera; out is
            the size that is delivered, by default the camera's own, on a Jetson too, because an overlay
            wants the whole picture. A plain path has no options: a `?` is part of its name.
        size: the network's, for `?scale=network`.
        on_event: told in one line when a live source is lost and when it is back.

    Raises:
        UsageError: an unknown scheme, option, value or file type.
        SourceError: missing, unreadable, empty, silent, or not what its name says.
        MissingDependencyError: what the chosen backend needs is not installed.
    """
    scheme, rest = split_scheme(uri, SCHEMES)
    if scheme == "synthetic":
        return SyntheticSource(uri, rest)
    if scheme in LIVE_TARGETS:
        return _open_live(uri, scheme, rest, size, on_event)
    if scheme not in ("", "file"):
        raise unknown_name("source scheme", scheme, SCHEMES)
    try:
        return _open_file(uri, rest, is_uri=scheme == "file")
    except OSError as error:
        raise SourceError("a source cannot be read", got=f"{local_path(uri)}: {error.strerror}") from error


def _open_live(uri: str, scheme: str, rest: str, size: Optional[Size], on_event: OnEvent) -> Source:
    place, options = split_options(uri, scheme, rest.lstrip("/") if scheme == "csi" else rest)
    if scheme == "v4l2":
        place = stable_device(v4l2_device(uri, place))

    def open_once(interrupted: threading.Event) -> Source:
        # All of it again: a camera that was unplugged may come back with other formats.
        target = LIVE_TARGETS[scheme](uri, place, options, size)
        return _open_stream(target, options, interrupted)

    return ReopeningSource(uri, open_once, on_event=on_event, wait_forever=options.wait == "forever")


def _open_file(uri: str, rest: str, *, is_uri: bool) -> Source:
    if not is_uri:
        return _open_video_or_pictures(uri, Path(rest).expanduser(), StreamOptions())
    place, options = split_options(uri, "file", rest)
    path = local_path(f"file://{place}")
    assert path is not None
    return _open_video_or_pictures(uri, path, options)


def _open_video_or_pictures(uri: str, path: Path, options: StreamOptions) -> Source:
    """OpenCV, unless options ask for more than it can do, or a Jetson's decoder takes the file."""
    is_video = path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
    needs_gstreamer = any(name != "backend" for name in options.given) or options.backend in (
        "gi",
        "gst-launch",
    )
    if needs_gstreamer and not is_video and path.exists():
        raise UsageError("only a video file has these options", got=redacted(uri), fix=f"give {path} alone")
    if needs_gstreamer and options.backend == "opencv":
        raise UsageError("OpenCV reads a file as it is", got=redacted(uri), fix="leave out 'backend'")
    if is_video and options.backend != "opencv" and (find_gst() is not None or needs_gstreamer):
        target = file_target(uri, str(path).replace("%", "%25"), options)
        jetson = [
            c for c in target.captures if c.variant == JETSON and not missing_elements(c.pipeline.factories)
        ]
        if needs_gstreamer or jetson:
            return _open_stream(target, options, None)
    return open_path(uri, path)


def _open_stream(
    target: Target, options: StreamOptions, interrupted: Optional[threading.Event]
) -> StreamSource:
    reader, dated = _choose_reader(target, options)
    plan = target.plan if dated else replace(target.plan, clock="arrival")
    return StreamSource(plan, reader, interrupted)


def _choose_reader(target: Target, options: StreamOptions) -> Tuple[Callable[[], FrameReader], bool]:
    """The best backend that is installed, or the one asked for; and whether it knows times of capture.

    Raises:
        MissingDependencyError: none is installed that can do it, or do it without showing the login of the
            source to other users of this machine.
        UsageError: OpenCV would have to ignore an option.
    """
    live = target.plan.live
    backend = options.backend
    if backend == "gi":
        load_gst()
    if backend in ("auto", "gi") and find_gst() is not None:
        capture = _usable(target.captures)
        if capture is not None:
            dated = capture.dated
            return lambda: AppsinkReader(capture.pipeline, live=live, dated=dated), dated
    elif backend in ("auto", "gst-launch") and has_launch():
        capture = _usable(target.captures)
        if capture is not None:
            if live and has_secret(target.plan.uri):
                raise _would_be_shown(target)
            return lambda: PipeReader(capture.pipeline, live=live), False
    way = target.opencv if backend in ("auto", "opencv") else None
    if way is None:
        raise _missing(target)
    ignored = [name for name in options.given if name not in (*way.honours, "backend", "stall", "wait")]
    if ignored:
        raise UsageError(
            f"OpenCV cannot follow '{ignored[0]}'",
            got=redacted(target.plan.uri),
            expected="GStreamer for this option",
            fix=APT_LINE,
        )
    return lambda: OpenCvReader(way.open_capture, driver_clock=way.driver_clock), way.driver_clock


def _usable(captures: List[Capture]) -> Optional[Capture]:
    return next((c for c in captures if not missing_elements(c.pipeline.factories)), None)


def _would_be_shown(target: Target) -> MissingDependencyError:
    # No SourceError: with ?wait=forever that would be tried again for ever.
    return MissingDependencyError(
        "the login of this source would be shown to every user of this machine",
        got=f"{redacted(target.plan.uri)} by gst-launch-1.0, whose arguments anybody may list",
        expected="GStreamer inside this process (PyGObject), or OpenCV: ?backend=opencv",
        fix=APT_LINE,
    )


def _missing(target: Target) -> MissingDependencyError:
    wanted = missing_elements(target.captures[-1].pipeline.factories)
    if "nvarguscamerasrc" in wanted:
        return MissingDependencyError(
            "a CSI camera can be read on a Jetson only",
            got=f"GStreamer has no {' and no '.join(wanted)} here",
            expected="the elements that come with JetPack; elsewhere a USB camera, v4l2:///dev/video0",
            fix="on a Jetson: sudo apt-get install -y nvidia-l4t-gstreamer gstreamer1.0-tools python3-gi",
        )
    return MissingDependencyError(
        "GStreamer lacks what this source needs",
        got=f"{redacted(target.plan.uri)}: no {', '.join(wanted) or 'gst-launch-1.0'}",
        fix=APT_LINE,
    )
