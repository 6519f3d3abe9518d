"""GStreamer: pipelines as data, and two ways to run them.

description   Element, Caps, Pipeline: what a pipeline is, and its exact text
binding       GStreamer inside this process, through PyGObject
launch        `gst-launch-1.0` as a process of its own, frames over a pipe: where PyGObject is missing
registry      which elements this machine has (a Jetson's own ones, or the software ones)
"""

from bisenet_edge.runtime.gstreamer.description import Caps, Element, Part, Pipeline, caps, element

__all__ = ["Caps", "Element", "Part", "Pipeline", "caps", "element"]
