"""Frames from GStreamer in this process."""

from __future__ import annotations

import time
from typing import Any, Optional

import numpy as np

from bisenet_edge.runtime.gstreamer import Pipeline, element
from bisenet_edge.runtime.gstreamer.binding import PipelineError, RunningPipeline
from bisenet_edge.runtime.sources.clocks import CaptureClock
from bisenet_edge.runtime.sources.jpeg import is_whole_frame
from bisenet_edge.runtime.sources.pixels import bgr_from_bgrx
from bisenet_edge.runtime.sources.reader import FrameReader

JPEG_DECODER = "jpegs"
"""Name of the element that takes JPEGs, in every pipeline that has one."""
LIVE_TAIL = Pipeline.of(
    element("appsink", name="frames", drop=True, max_buffers=1, sync=False, emit_signals=False)
)
FILE_TAIL = Pipeline.of(
    element("appsink", name="frames", drop=False, max_buffers=4, sync=False, emit_signals=False)
)


class AppsinkReader(FrameReader):
    """Runs a pipeline that ends with BGRx pictures.

    Args:
        pipeline: without its sink.
        live: only the newest frame is kept; else every frame.
        dated: the frames' times are those of the capture on the pipeline's clock.

    Raises:
        PipelineError: it cannot be built or started.
    """

    def __init__(self, pipeline: Pipeline, *, live: bool, dated: bool) -> None:
        self._running = RunningPipeline(pipeline + (LIVE_TAIL if live else FILE_TAIL))
        self._gst = self._running.gst
        self._sink = self._running.element("frames")
        self._caps: Any = None
        self._damaged = 0
        decoder = self._running.element(JPEG_DECODER)
        if decoder is not None:
            decoder.get_static_pad("sink").add_probe(self._gst.PadProbeType.BUFFER, self._check_jpeg)
        try:
            self._running.start()
        except PipelineError:
            self._running.stop()
            raise
        clock = self._running.gst_pipeline.get_clock() if dated else None
        self._clock = CaptureClock(clock.get_time if clock is not None else time.monotonic_ns)
        self._dated = clock is not None

    def poll(self, out: Optional[np.ndarray], timeout_s: float) -> Optional[np.ndarray]:
        sample = self._sink.try_pull_sample(int(timeout_s * self._gst.SECOND))
        at_end = self._running.check()
        self.corrupt = self._damaged + self._running.dropped_by_decoders
        if sample is None:
            self.ended = at_end or self._sink.get_property("eos")
            return None
        buffer = sample.get_buffer()
        if buffer.has_flags(self._gst.BufferFlags.CORRUPTED):
            self._damaged += 1
            return None
        self._take_caps(sample.get_caps())
        self.captured_ns = self._clock.to_monotonic(self._date(sample, buffer))
        good, mapped = buffer.map(self._gst.MapFlags.READ)
        if not good:
            raise PipelineError("a frame cannot be mapped into memory")
        try:
            # GStreamer's own Python overrides (python3-gst-1.0) give a view; without them this is a copy.
            return bgr_from_bgrx(mapped.data, self.size_hw, out)
        finally:
            buffer.unmap(mapped)

    def close(self) -> None:
        self._running.stop()

    def _take_caps(self, caps: Any) -> None:
        if self._caps is not None and caps.is_equal(self._caps):
            return
        self._caps = caps
        fields = caps.get_structure(0)
        self.size_hw = fields.get_int("height")[1], fields.get_int("width")[1]
        known, rate, per = fields.get_fraction("framerate")
        self.fps = rate / per if known and rate and per else float("nan")

    def _date(self, sample: Any, buffer: Any) -> Optional[int]:
        """When the frame was captured, on the pipeline's clock."""
        none = self._gst.CLOCK_TIME_NONE
        if not self._dated or buffer.pts == none:
            return None
        running_ns = sample.get_segment().to_running_time(self._gst.Format.TIME, buffer.pts)
        return None if running_ns == none else self._running.gst_pipeline.get_base_time() + running_ns

    def _check_jpeg(self, pad: Any, info: Any) -> Any:
        """Throw away a JPEG that is not whole, before a decoder fills it with grey. On GStreamer's thread."""
        buffer = info.get_buffer()
        good, mapped = buffer.map(self._gst.MapFlags.READ)
        if not good:
            return self._gst.PadProbeReturn.OK
        whole = is_whole_frame(bytes(mapped.data))
        buffer.unmap(mapped)
        if whole:
            return self._gst.PadProbeReturn.OK
        self._damaged += 1
        return self._gst.PadProbeReturn.DROP
