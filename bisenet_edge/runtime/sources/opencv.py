"""OpenCV as a way to read: video files, and cameras and streams where GStreamer is missing.

The OpenCV of PyPI has FFmpeg and V4L2 and no GStreamer; JetPack's own has GStreamer, too.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import cv2
import numpy as np

from bisenet_edge.runtime.gstreamer.binding import PipelineError
from bisenet_edge.runtime.sources.clocks import CaptureClock
from bisenet_edge.runtime.sources.reader import FrameReader


def open_capture(path: Path) -> Any:
    """`cv2.VideoCapture` of a file; ask its `isOpened`."""
    with quiet_opencv():
        return cv2.VideoCapture(str(path))


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from writing to the terminal: what fails is told by our own error, once.

    The level belongs to the process: use it where no other thread does the same.
    """
    # FFmpeg's level is read when the first video is opened and holds for the process.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    log = getattr(cv2.utils, "logging", None)  # absent before OpenCV 4.5.5
    if log is None:
        yield
        return
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)


class OpenCvReader(FrameReader):
    """A camera or stream through `cv2.VideoCapture`, whose `read` can neither be interrupted nor timed.

    So a thread of its own reads, always the newest frame; three buffers go round between it, this
    object and the caller. A thread that hangs in a driver is left behind, and frees the camera when it
    comes back.

    Args:
        open_capture: called on that thread; the capture that it gives is released there.
        driver_clock: the capture's position is the driver's `CLOCK_MONOTONIC` (V4L2).
    """

    def __init__(self, open_capture: Callable[[], Any], *, driver_clock: bool = False) -> None:
        self._open_capture = open_capture
        self._driver_clock = driver_clock
        self._changed = threading.Condition()
        self._image: Optional[np.ndarray] = None
        self._image_ns = 0
        self._spare: Optional[np.ndarray] = None
        self._error: Optional[PipelineError] = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="opencv-capture", daemon=True)
        self._thread.start()

    def poll(self, out: Optional[np.ndarray], timeout_s: float) -> Optional[np.ndarray]:
        with self._changed:
            self._changed.wait_for(lambda: self._image is not None or self._error is not None, timeout_s)
            if self._image is None:
                if self._error is not None:
                    raise self._error
                return None
            # `out` is given away once, for the picture that goes out: the same one is offered until then.
            image, self._image, self._spare = self._image, None, out
            self.captured_ns = self._image_ns
            self.size_hw = image.shape[0], image.shape[1]
            return image

    def close(self) -> None:
        with self._changed:
            self._closing = True
        self._thread.join(1.0)

    def _work(self) -> None:
        # `cv2.VideoCapture.read` swallows C++ exceptions by default; what it raises otherwise is a bug.
        capture = self._open_capture()
        try:
            if not capture.isOpened():
                self._fail("OpenCV cannot open it")
                return
            self.fps = float(capture.get(cv2.CAP_PROP_FPS)) or float("nan")
            clock = CaptureClock(time.monotonic_ns)
            spare: Optional[np.ndarray] = None
            while not self._closing:
                if not capture.grab():
                    self._fail("OpenCV gets no more frames")
                    return
                # The driver's time is CLOCK_MONOTONIC in milliseconds; 0 before the first frame.
                position_ms = float(capture.get(cv2.CAP_PROP_POS_MSEC)) if self._driver_clock else 0.0
                stamp_ns = clock.to_monotonic(int(position_ms * 1e6) if position_ms > 0 else None)
                good, image = capture.retrieve(spare)
                if not good:
                    self.corrupt += 1
                    continue
                spare = self._hand_over(np.asarray(image), stamp_ns)
        finally:
            capture.release()

    def _hand_over(self, image: np.ndarray, stamp_ns: int) -> Optional[np.ndarray]:
        """Show a picture to `poll`; the buffer to decode the next one into."""
        with self._changed:
            unread, self._image, self._image_ns = self._image, image, stamp_ns
            self._changed.notify_all()
            if unread is not None:
                return unread
            spare, self._spare = self._spare, None
            return spare

    def _fail(self, what: str) -> None:
        with self._changed:
            self._error = PipelineError(what)
            self._changed.notify_all()
