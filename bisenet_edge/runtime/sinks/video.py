"""A video of the pictures with their masks over them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Optional

import numpy as np

from bisenet_edge.errors import SinkError
from bisenet_edge.frame import Frame
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.overlay import Overlay
from bisenet_edge.runtime.sinks.encoders import Encoder, Video, open_encoder
from bisenet_edge.runtime.sinks.files import FileSink
from bisenet_edge.runtime.sinks.steady import at_video_size, video_size

DEFAULT_FPS = 30.0
# A source that stands still longer is not filled with copies of its last picture.
LONGEST_PAUSE_S = 2.0


class VideoSink(FileSink):
    """A video of the pictures with their masks blended over them and a legend.

    It has the size of the first frame; a frame of another size is scaled to fit and padded. A recording of
    a live source (`keep_partial`) keeps time: a picture is repeated where frames were dropped, and left out
    where they come faster than `fps`.
    """

    def __init__(
        self, uri: str, path: Path, labels: LabelSet, fps: float, *, keep_partial: bool = False
    ) -> None:
        super().__init__(uri, path, keep_partial=keep_partial)
        # OpenCV chooses the container by suffix, and the temporary name ends in another one.
        self._part = path if keep_partial else self._temporary.with_name(self._temporary.name + path.suffix)
        self._fps = fps if 1 <= fps <= 240 else DEFAULT_FPS  # False for nan
        self._overlay = Overlay(labels)
        self._canvas = np.empty((0, 0, 3), np.uint8)
        self._encoder: Optional[Encoder] = None
        self._encoded = 0
        self._start_ns = 0

    def _add(self, frame: Frame, mask: np.ndarray) -> None:
        if self._encoder is None:
            self._size = video_size(frame.image)
            self._start_ns = frame.captured_ns
            self._encoder = open_encoder(
                Video(
                    self._part, self.path.suffix.lower(), self.path, self._size, self._fps, self.keep_partial
                )
            )
        times = self._times(frame)
        if not times:
            return
        if self._canvas.shape != frame.image.shape:
            self._canvas = np.empty_like(frame.image)
        drawn = self._overlay.draw(frame.image, mask, self._canvas, f"frame {frame.index}")
        picture = at_video_size(drawn, self._size)
        for _ in range(times):
            self._encoder.write(picture)
        self._encoded += times

    def _times(self, frame: Frame) -> int:
        """How often a frame is written."""
        if not self.keep_partial:
            return 1
        due = 1 + round((frame.captured_ns - self._start_ns) * 1e-9 * self._fps)
        missing = max(0, due - self._encoded)
        most = max(1, round(LONGEST_PAUSE_S * self._fps))
        if missing > most:
            self._start_ns += round((missing - most) / self._fps * 1e9)
        return min(missing, most)

    def _release(self) -> None:
        assert self._encoder is not None
        try:
            self._encoder.close(self._encoded)
            if self._part != self._temporary:
                self._part.replace(self._temporary)
        finally:
            self._encoder.abandon()
            if not self.keep_partial:
                self._remove_part()

    def _discard(self) -> None:
        if self.keep_partial and self._encoded:
            with contextlib.suppress(SinkError):  # the run has another error to tell
                self._release()
            return
        if self._encoder is not None:
            self._encoder.abandon()
        super()._discard()
        self._remove_part()

    def _remove_part(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._part.unlink()
