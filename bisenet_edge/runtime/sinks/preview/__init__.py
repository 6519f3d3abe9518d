"""The live preview: a page, a stream of pictures, a status."""

from __future__ import annotations

from bisenet_edge.runtime.sinks.preview.sink import HttpSink

__all__ = ["HttpSink"]
