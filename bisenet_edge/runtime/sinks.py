"""Where masks go: an overlay video, a folder of PNG masks, or nowhere.

Files are written under a temporary name and renamed when the sink is closed: what has its final name
is whole. An aborted sink leaves nothing behind, and what stood there before stays.
"""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Type

import cv2
import numpy as np

from bisenet_edge.errors import SinkError, unknown_name
from bisenet_edge.frame import Frame, Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.resources import replace_when_written
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.runtime.overlay import Overlay
from bisenet_edge.runtime.sources import open_capture, quiet_opencv
from bisenet_edge.runtime.uris import not_yet, split_scheme

SCHEMES = ("null",)
PLANNED_SCHEMES = ("http", "shm", "jsonl")
# H.264 plays in browsers, but the OpenCV of PyPI cannot write it; the one of Ubuntu and JetPack can.
VIDEO_CODECS = {".mp4": ("avc1", "mp4v"), ".mkv": ("avc1", "mp4v"), ".avi": ("XVID", "MJPG")}
DEFAULT_FPS = 30.0
EXPECTED = "overlay.mp4, a folder for PNG masks (with a slash at its end), or null://"


class Sink(ABC):
    """Takes frames and their masks in order. Ends with `close` or `abort`; the later of them does nothing.

    As a context manager it closes, or aborts when the block raises.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._open = True

    @abstractmethod
    def write(self, frame: Frame, mask: np.ndarray) -> None:
        """Take one frame. Keeps neither array: both are reused afterwards.

        Args:
            frame: image uint8 [h, w, 3].
            mask: uint8 [h, w], train ids, of the image's own size.

        Raises:
            SinkError: it cannot be written.
        """

    def close(self) -> None:
        """Complete the output; nothing appears if no frame was written.

        Raises:
            SinkError: it cannot be completed; nothing is left behind.
        """
        if self._open:
            self._open = False
            self._complete()

    def abort(self) -> None:
        """Give up and leave nothing half-written."""
        if self._open:
            self._open = False
            self._discard()

    def _complete(self) -> None:
        """Make the output whole."""

    def _discard(self) -> None:
        """Remove what was written."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


class NullSink(Sink):
    """Throws everything away: for measuring, and for runs whose report is all that is wanted."""

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        """Do nothing."""


class _AbortedError(Exception):
    """Ends a `replace_when_written` block without renaming."""


class FileSink(Sink):
    """A file or folder at `path`, first written to `self._temporary`.

    Raises:
        SinkError: the folder cannot be written; found when it is opened, before any frame.
    """

    def __init__(self, uri: str, path: Path) -> None:
        super().__init__(uri)
        self.path = path
        self._written = 0
        self._replacement = contextlib.ExitStack()
        self._temporary = self._replacement.enter_context(replace_when_written(path))

    def _complete(self) -> None:
        if not self._written:
            self._discard()
            return
        try:
            with self._replacement:
                self._release()
        except OSError as error:
            raise SinkError("an output cannot be completed", got=f"{self.path}: {error.strerror}") from error

    def _discard(self) -> None:
        with contextlib.suppress(_AbortedError), self._replacement:
            raise _AbortedError

    def _release(self) -> None:
        """Bring everything that was written to `self._temporary`."""


class MaskFolderSink(FileSink):
    """One 8-bit PNG of class ids per frame, at the picture's size, named by frame index: `000042.png`."""

    NAME = "{:06d}.png"

    def __init__(self, uri: str, path: Path) -> None:
        _refuse_foreign_files(path)
        super().__init__(uri, path)

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        if not self._written:
            self._temporary.mkdir()
        path = self._temporary / self.NAME.format(frame.index)
        # Masks are flat: level 1 is three times as fast as the default and hardly larger.
        if not cv2.imwrite(str(path), mask, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise SinkError(
                "a mask cannot be written",
                got=str(self.path),
                expected="space left on the disk",
                fix=f"df -h {self.path.parent}",
            )
        self._written += 1


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


def open_sink(uri: str, labels: LabelSet, fps: float) -> Sink:
    """Open an output.

    Args:
        uri: a video (.mp4, .avi, .mkv), a folder (slash at its end, or no suffix), or `null://`.
        labels: classes and colours.
        fps: nominal frames per second of the source; a video takes 30 where it is nan.

    Raises:
        UsageError: an unknown scheme or file type, or one that is not in this version yet.
        SinkError: it cannot be written there.
    """
    scheme, rest = split_scheme(uri, (*SCHEMES, *PLANNED_SCHEMES))
    if scheme == "null":
        return NullSink(uri)
    if scheme in PLANNED_SCHEMES:
        raise not_yet(uri, scheme, EXPECTED)
    if scheme:
        raise unknown_name("sink scheme", scheme, (*SCHEMES, *PLANNED_SCHEMES))
    path = Path(rest).expanduser()
    try:
        path = path.resolve()
        if rest.endswith("/") or path.is_dir() or not path.suffix:
            return MaskFolderSink(uri, path)
        if path.suffix.lower() in VIDEO_CODECS:
            return VideoSink(uri, path, labels, fps)
    except OSError as error:
        raise SinkError("cannot write here", got=f"{path}: {error.strerror}") from error
    raise unknown_name("file type of a sink", path.suffix, VIDEO_CODECS)


def _refuse_foreign_files(folder: Path) -> None:
    """A folder of masks is replaced as a whole, so it may hold nothing but masks of an earlier run."""
    if folder.exists() and not folder.is_dir():
        raise SinkError("a file stands where the folder of masks should be", got=str(folder))
    if folder == Path.cwd():
        raise SinkError("the current folder cannot be replaced", got=str(folder), fix="for example masks/")
    for entry in folder.iterdir() if folder.is_dir() else ():
        if not re.fullmatch(r"\d{6,}\.png", entry.name):
            raise SinkError(
                "a folder for masks holds something else, and would be replaced",
                got=str(entry),
                expected="a new or empty folder, or one of masks from an earlier run",
                fix=f"for example {folder / 'masks'}/",
            )
