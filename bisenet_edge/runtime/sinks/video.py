"""A video of the pictures with their masks over them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bisenet_edge.errors import SinkError
from bisenet_edge.frame import Frame, Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.runtime.overlay import Overlay
from bisenet_edge.runtime.sinks.files import FileSink
from bisenet_edge.runtime.sources import open_capture, quiet_opencv

# H.264 plays in browsers, but the OpenCV of PyPI cannot write it; the one of Ubuntu and JetPack can.
VIDEO_CODECS = {".mp4": ("avc1", "mp4v"), ".mkv": ("avc1", "mp4v"), ".avi": ("XVID", "MJPG")}
DEFAULT_FPS = 30.0


class VideoSink(FileSink):
    """A video of the pictures with their masks blended over them and a legend.

    It has the size of the first frame; a frame of another size is scaled to fit and padded.
    """

    def __init__(self, uri: str, path: Path, labels: LabelSet, fps: float) -> None:
        super().__init__(uri, path)
        # OpenCV chooses the container by suffix, and the temporary name ends in another one.
        self._part = self._temporary.with_name(self._temporary.name + path.suffix)
        self._fps = fps if 1 <= fps <= 240 else DEFAULT_FPS  # False for nan
        self._overlay = Overlay(labels)
        self._canvas = np.empty((0, 0, 3), np.uint8)
        self._writer: Any = None

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        height, width = frame.image.shape[:2]
        if self._writer is None:
            self._video_size = Size(width, height)
            self._writer = self._open_writer()
        if self._canvas.shape != frame.image.shape:
            self._canvas = np.empty_like(frame.image)
        drawn = self._overlay.draw(frame.image, mask, self._canvas, f"frame {frame.index}")
        if (height, width) != self._video_size.hw:
            fit = Fit((height, width), self._video_size)
            drawn = fit.apply(drawn, fit.new_input())
        self._writer.write(drawn)
        self._written += 1

    def _open_writer(self) -> Any:
        codecs = VIDEO_CODECS[self.path.suffix.lower()]
        size = (self._video_size.width, self._video_size.height)
        for codec in codecs:
            fourcc = int.from_bytes(codec.encode(), "little")
            with quiet_opencv():
                writer = cv2.VideoWriter(str(self._part), fourcc, self._fps, size)
            if writer.isOpened():
                return writer
        raise SinkError(
            "OpenCV cannot write this video",
            got=f"{self.path}, {self._video_size}",
            expected=f"a codec of: {', '.join(codecs)}",
            fix="write PNG masks instead: give a folder, for example masks/",
        )

    def _release(self) -> None:
        try:
            self._writer.release()
            # VideoWriter tells nobody that the disk is full, so ask the file itself.
            capture = open_capture(self._part)
            found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
            capture.release()
            if found < self._written - 1:  # MKV stores no number: it is computed and may be off by one
                raise SinkError(
                    "a video was not written whole",
                    got=f"{self.path}: {found} of {self._written} frames",
                    expected="space left on the disk",
                    fix=f"df -h {self.path.parent}",
                )
            self._part.replace(self._temporary)
        finally:
            self._remove_part()

    def _discard(self) -> None:
        if self._writer is not None:
            self._writer.release()
        super()._discard()
        self._remove_part()

    def _remove_part(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._part.unlink()
