"""From a URI to a sink."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict

from bisenet_edge.errors import SinkError, unknown_name
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.sinks.base import NullSink, Sink
from bisenet_edge.runtime.sinks.encoders import VIDEO_CODECS
from bisenet_edge.runtime.sinks.files import MaskFolderSink
from bisenet_edge.runtime.sinks.jsonl import JsonlSink
from bisenet_edge.runtime.sinks.mqtt import MqttSink
from bisenet_edge.runtime.sinks.rtsp import RtspSink
from bisenet_edge.runtime.sinks.shm import ShmSink
from bisenet_edge.runtime.sinks.video import VideoSink
from bisenet_edge.runtime.uris import split_scheme


def _http(uri: str, rest: str, labels: LabelSet, fps: float) -> Sink:
    # Its server needs asyncio, a fifth of what all imports of a run cost: only who asks for it waits for it.
    from bisenet_edge.runtime.sinks.preview import HttpSink

    return HttpSink(uri, rest, labels)


# Called with the URI, what follows `://`, the classes and the nominal frames per second.
_BY_SCHEME: Dict[str, Callable[[str, str, LabelSet, float], Sink]] = {
    "http": _http,
    "jsonl": lambda uri, rest, labels, fps: JsonlSink(uri, rest, labels),
    "mqtt": lambda uri, rest, labels, fps: MqttSink(uri, rest, labels),
    "null": lambda uri, rest, labels, fps: NullSink(uri),
    "rtsp": RtspSink,
    "shm": lambda uri, rest, labels, fps: ShmSink(uri, rest, labels),
}


def open_sink(uri: str, labels: LabelSet, fps: float, *, live: bool = False) -> Sink:
    """Open an output.

    Args:
        uri: a video (.mp4, .avi, .mkv), a folder (slash at its end, or no suffix), `http://:8080` (live
            preview), `rtsp://:8554/live`, `shm://NAME`, `jsonl://FILE`,
            `mqtt://BROKER/TOPIC` or `null://`; see the sinks for their options.
        labels: classes and colours.
        fps: nominal frames per second of the source; a video takes 30 where it is nan.
        live: the source is a camera, not a file that is converted. An output on disk that ends early
            stays; see `files`.

    Raises:
        UsageError: an unknown scheme, option or file type.
        SinkError: it cannot be written there.
        MissingDependencyError: the sink needs a package that is not installed.
    """
    scheme, rest = split_scheme(uri, _BY_SCHEME)
    if scheme in _BY_SCHEME:
        return _BY_SCHEME[scheme](uri, rest, labels, fps)
    if scheme:
        raise unknown_name("sink scheme", scheme, _BY_SCHEME)
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
