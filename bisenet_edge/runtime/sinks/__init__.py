"""Where masks go: an overlay video, a folder of PNG masks, or nowhere.

Outputs on disk are whole or not there, except recordings of a live source, which stay: see `files`.
"""

from __future__ import annotations

from pathlib import Path

from bisenet_edge.errors import SinkError, unknown_name
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.sinks.base import NullSink, Sink
from bisenet_edge.runtime.sinks.encoders import VIDEO_CODECS
from bisenet_edge.runtime.sinks.files import FileSink, MaskFolderSink
from bisenet_edge.runtime.sinks.jsonl import JsonlSink
from bisenet_edge.runtime.sinks.preview import HttpSink
from bisenet_edge.runtime.sinks.shm import ShmSink
from bisenet_edge.runtime.sinks.video import VideoSink
from bisenet_edge.runtime.uris import split_scheme

__all__ = [
    "FileSink",
    "HttpSink",
    "JsonlSink",
    "MaskFolderSink",
    "NullSink",
    "ShmSink",
    "Sink",
    "VideoSink",
    "open_sink",
]

SCHEMES = ("null", "http", "jsonl", "shm")


def open_sink(uri: str, labels: LabelSet, fps: float, *, live: bool = False) -> Sink:
    """Open an output.

    Args:
        uri: a video (.mp4, .avi, .mkv), a folder (slash at its end, or no suffix), or `null://`.
        labels: classes and colours.
        fps: nominal frames per second of the source; a video takes 30 where it is nan.
        live: the source is a camera, not a file that is converted. An output that ends early stays;
            see `files`.

    Raises:
        UsageError: an unknown scheme or file type, or one that is not in this version yet.
        SinkError: it cannot be written there.
    """
    scheme, rest = split_scheme(uri, SCHEMES)
    if scheme == "null":
        return NullSink(uri)
    if scheme == "jsonl":
        return JsonlSink(uri, rest, labels)
    if scheme == "shm":
        return ShmSink(uri, rest, labels)
    if scheme == "http":
        return HttpSink(uri, rest, labels)
    if scheme:
        raise unknown_name("sink scheme", scheme, SCHEMES)
    path = Path(rest).expanduser()
    try:
        path = path.resolve()
        if rest.endswith("/") or path.is_dir() or not path.suffix:
            return MaskFolderSink(uri, path, keep_partial=live)
        if path.suffix.lower() in VIDEO_CODECS:
            return VideoSink(uri, path, labels, fps, keep_partial=live)
    except OSError as error:
        raise SinkError("cannot write here", got=f"{path}: {error.strerror}") from error
    raise unknown_name("file type of a sink", path.suffix, VIDEO_CODECS)
