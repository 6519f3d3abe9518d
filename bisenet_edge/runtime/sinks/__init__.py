"""Where masks go: files, a page, a stream, shared memory, a log.

opening      open_sink: a URI becomes a sink
base         Sink, what all of them are
files        outputs on disk, and what becomes of one that ends early; PNG masks
video        an overlay video, written by `encoders`; `h264` is the encoders of GStreamer as data
preview      a live page for browsers: `preview.HttpSink`, imported when one is opened
rtsp         the overlay as a stream for players
shm          masks for other processes, without a copy; `shm_layout` is its bytes
jsonl        a line per frame: areas of the classes, times (`records`)
mqtt         the same to a broker
newest       how a frame gets to a thread that may be slower
"""

from bisenet_edge.runtime.sinks.base import NullSink, Sink
from bisenet_edge.runtime.sinks.files import FileSink, MaskFolderSink
from bisenet_edge.runtime.sinks.jsonl import JsonlSink
from bisenet_edge.runtime.sinks.mqtt import MqttSink
from bisenet_edge.runtime.sinks.opening import open_sink
from bisenet_edge.runtime.sinks.rtsp import RtspSink
from bisenet_edge.runtime.sinks.shm import ShmSink
from bisenet_edge.runtime.sinks.video import VideoSink

__all__ = [
    "FileSink",
    "JsonlSink",
    "MaskFolderSink",
    "MqttSink",
    "NullSink",
    "RtspSink",
    "ShmSink",
    "Sink",
    "VideoSink",
    "open_sink",
]
