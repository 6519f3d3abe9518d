"""Frames from `gst-launch-1.0` over a pipe: for a Python without PyGObject."""

from __future__ import annotations

import os
import select
import time
from typing import Optional, Tuple

import numpy as np

from bisenet_edge.runtime.gstreamer import Pipeline, element
from bisenet_edge.runtime.gstreamer.binding import PipelineError
from bisenet_edge.runtime.gstreamer.launch import LaunchedPipeline
from bisenet_edge.runtime.sources.pixels import bgr_from_bgrx
from bisenet_edge.runtime.sources.reader import FrameReader


def tail(fd: int, *, live: bool) -> Pipeline:
    """How frames leave the pipeline: the newest one waits where the reader is slow, or all do."""
    queue = element("queue", leaky="downstream", max_size_buffers=1) if live else None
    return Pipeline.of(queue, element("fdsink", fd=fd, sync=False))


class PipeReader(FrameReader):
    """Runs a pipeline that ends with BGRx pictures in a process of its own.

    The size is read from what gst-launch prints; frames follow each other without headers. Times are
    those of arrival, and damage that only GStreamer's flags tell is not seen.

    Args:
        pipeline: without its sink.
        live: only the newest frame is kept; else every frame.

    Raises:
        MissingDependencyError: gst-launch-1.0 is not installed.
    """

    def __init__(self, pipeline: Pipeline, *, live: bool) -> None:
        self._fd, write_fd = os.pipe()
        os.set_blocking(self._fd, False)
        try:
            self._launched = LaunchedPipeline(pipeline + tail(write_fd, live=live), pass_fds=[write_fd])
        except BaseException:
            os.close(self._fd)
            os.close(write_fd)
            raise
        self._poll = select.poll()
        for fd in (self._fd, self._launched.messages_fd):
            self._poll.register(fd, select.POLLIN)
        self._bytes = bytearray()
        self._filled = 0
        self._printing = self._open = True

    def poll(self, out: Optional[np.ndarray], timeout_s: float) -> Optional[np.ndarray]:
        deadline = time.monotonic() + timeout_s
        while True:
            left_ms = max(0.0, deadline - time.monotonic()) * 1e3
            ready = dict(self._poll.poll(left_ms))
            if not ready:
                return None
            if self._launched.messages_fd in ready:
                self._read_messages()
            if self._fd in ready and self._take(ready[self._fd]):
                # The size is printed before the first picture that has it is sent.
                self._read_messages()
                self._filled = 0
                self.captured_ns = time.monotonic_ns()
                return bgr_from_bgrx(self._bytes, self.size_hw, out)
            if self.ended:
                return None
            if time.monotonic() >= deadline:
                return None

    def close(self) -> None:
        if self._open:
            self._open = False
            self._launched.stop()
            os.close(self._fd)

    def _read_messages(self) -> None:
        if self._printing and not self._launched.read_messages():
            self._printing = False
            self._poll.unregister(self._launched.messages_fd)
        new = self._launched.new_size_hw
        if new is not None:
            raise PipelineError(f"frames changed from {_wh(self._launched.size_hw or (0, 0))} to {_wh(new)}")

    def _take(self, event: int) -> bool:
        """Read what the pipe holds; True when a frame is whole."""
        size_hw = self._launched.size_hw
        if size_hw is None:
            if not event & select.POLLIN:  # closed before any picture
                self._end()
            return False
        if not self._bytes:
            self.size_hw, self.fps = size_hw, self._launched.fps
            self._bytes = bytearray(size_hw[0] * size_hw[1] * 4)
        return self._read_frame()

    def _read_frame(self) -> bool:
        with memoryview(self._bytes) as view:
            try:
                count = os.readv(self._fd, [view[self._filled :]])
            except BlockingIOError:
                return False
        if count == 0:
            self._end()
            return False
        self._filled += count
        return self._filled == len(self._bytes)

    def _end(self) -> None:
        """The pipe is closed: the stream ended, or gst-launch failed and says why."""
        process = self._launched.process
        process.wait()
        while self._launched.read_messages():
            pass
        if process.returncode != 0 or self._filled:
            raise self._launched.error()
        self.ended = True


def _wh(size_hw: Tuple[int, int]) -> str:
    return f"{size_hw[1]}x{size_hw[0]}"
