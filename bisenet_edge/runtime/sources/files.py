"""Video files and pictures.

Strict: a file that is missing, cannot be decoded or ends before its time is an error that names it,
never a silently shorter run.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Optional, Sequence

import cv2
import numpy as np

from bisenet_edge.errors import SourceError, unknown_name
from bisenet_edge.runtime.datasets import IMAGE_SUFFIXES
from bisenet_edge.runtime.sources.base import Source
from bisenet_edge.runtime.sources.jpeg import has_its_end
from bisenet_edge.runtime.sources.opencv import open_capture

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
EXPECTED = "a video file, a picture or a folder of pictures"


class VideoSource(Source):
    """A video file, read whole and in order."""

    def __init__(self, uri: str, path: Path) -> None:
        self._path = path
        self._capture = open_capture(path)
        if not self._capture.isOpened():
            raise SourceError(
                "a video cannot be opened",
                got=f"{path}, {path.stat().st_size} bytes",
                expected="a complete MP4, AVI, MKV, MOV or WebM file; a cut MP4 has lost its index",
                fix="copy or record it again",
            )
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        # A file without an index gives a count of 0, or a huge negative one.
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self._last_s = 0.0
        super().__init__(
            uri,
            fps=fps if fps > 0 else float("nan"),
            size_hw=(height, width),
            count=count if count > 0 else None,
        )

    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        good, image = self._capture.read(out) if out is not None else self._capture.read()
        if good:
            self._last_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
            return np.asarray(image)
        if index == 0 or ends_early(index, self._last_s, self.count, self.fps):
            raise SourceError(
                f"a video ends early: frame {index} of {self.count or 'an unknown number'}",
                got=str(self._path),
                expected="as many frames as its header promises",
                fix=f"copy it again, or keep what is left: ffmpeg -i {shlex.quote(str(self._path))} left.mp4",
            )
        return None

    def close(self) -> None:
        self._capture.release()


def ends_early(decoded: int, last_s: float, count: Optional[int], fps: float) -> bool:
    """Whether a video stopped before its header says.

    MP4, MOV and AVI store the number of frames; for MKV and WebM OpenCV computes duration x fps, which is
    wrong when the frame rate varies. So both must fall short: the number of frames and the time of the
    last one (`last_s`). Two frames or 1 % may be missing: encoders lose as many at the ends of good files.
    """
    if count is None:
        return False
    tolerance = max(2, count // 100)
    return decoded < count - tolerance and last_s * fps < count - 1 - tolerance


class PictureSource(Source):
    """Picture files in order of their names."""

    def __init__(self, uri: str, paths: Sequence[Path]) -> None:
        self._paths = paths
        first = read_picture(paths[0])
        super().__init__(uri, fps=float("nan"), size_hw=first.shape[:2], count=len(paths))

    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        return read_picture(self._paths[index]) if index < len(self._paths) else None


def open_path(uri: str, path: Path) -> Source:
    if path.is_dir():
        return PictureSource(uri, _pictures_in(path))
    if not path.is_file():
        what = "a source is neither a file nor a folder" if path.exists() else "a source does not exist"
        raise SourceError(what, got=str(path), expected=EXPECTED)
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return VideoSource(uri, path)
    if suffix in IMAGE_SUFFIXES:
        return PictureSource(uri, [path])
    raise unknown_name("file type of a source", suffix or path.name, (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))


def read_picture(path: Path) -> np.ndarray:
    """Decode a picture file: uint8 [H, W, 3], BGR.

    Raises:
        SourceError: it cannot be read or decoded, or is a JPEG that is cut short.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError("a picture cannot be read", got=f"{path}: {error.strerror}") from error
    # OpenCV 4 fills the missing part of a JPEG with grey and says nothing (OpenCV 5 refuses).
    whole = path.suffix.lower() not in (".jpg", ".jpeg") or has_its_end(data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data and whole else None
    if image is None:
        raise SourceError(
            "a picture cannot be decoded",
            got=f"{path}, {len(data)} bytes",
            expected="a complete JPEG, PNG or BMP file",
            fix="copy it again or take it out of the folder",
        )
    return np.asarray(image)


def _pictures_in(folder: Path) -> Sequence[Path]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise SourceError(
            "a folder has no pictures", got=str(folder), expected="files named " + ", ".join(IMAGE_SUFFIXES)
        )
    return paths
