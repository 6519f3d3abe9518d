"""Where frames come from: cameras, network streams, video files, pictures, a synthetic street.

opening      open_source: a URI becomes a source
options      what may stand behind the `?` of a URI
base         Source, what all of them are
captures     the GStreamer pipeline of each kind of camera, for a Jetson and in software, as data
stream       a camera or stream read by one of three backends:
appsink        GStreamer in this process
pipe           gst-launch-1.0 over a pipe
opencv         OpenCV with V4L2 or FFmpeg
reopening    opens a live source again when it is lost
files        video files and pictures
synthetic    a drive through a procedural street
"""

from bisenet_edge.runtime.sources.base import Source
from bisenet_edge.runtime.sources.files import PictureSource, VideoSource, ends_early, read_picture
from bisenet_edge.runtime.sources.opencv import open_capture, quiet_opencv
from bisenet_edge.runtime.sources.opening import open_source
from bisenet_edge.runtime.sources.synthetic import SyntheticSource

__all__ = [
    "PictureSource",
    "Source",
    "SyntheticSource",
    "VideoSource",
    "ends_early",
    "open_capture",
    "open_source",
    "quiet_opencv",
    "read_picture",
]
