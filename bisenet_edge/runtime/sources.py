"""Where frames come from: a video file, a folder of pictures, one picture, or a synthetic street.

A source is strict: a file that is missing, cannot be decoded or ends before its time is an error that
names it, never a silently shorter run.
"""

from __future__ import annotations

import os
import shlex
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Iterator, Optional, Sequence, Tuple, Type

import cv2
import numpy as np

from bisenet_edge.errors import SourceError, UsageError, unknown_name
from bisenet_edge.frame import Frame, Size
from bisenet_edge.runtime.datasets import IMAGE_SUFFIXES, parse_int, parse_options
from bisenet_edge.runtime.uris import not_yet, split_scheme

SCHEMES = ("synthetic",)
PLANNED_SCHEMES = ("csi", "v4l2", "rtsp", "http", "https")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
SYNTHETIC_DEFAULTS = {"seed": "0", "size": "640x360", "fps": "30", "seconds": "10"}
EXPECTED = "a video file, a picture, a folder of pictures or synthetic://"


class Source(ABC):
    """Frames in order. Open with `open_source`, close when done. One thread reads.

    Attributes:
        uri: how the user named it.
        live: frames come at their own pace, whether read or not; a late reader wants the newest.
        fps: nominal frames per second; nan if unknown.
        size_hw: (height, width) of the first frame; pictures of a folder may differ.
        count: number of frames, None if unknown. A video's header may be off by a few.
    """

    live = False

    def __init__(self, uri: str, *, fps: float, size_hw: Tuple[int, int], count: Optional[int]) -> None:
        self.uri = uri
        self.fps = fps
        self.size_hw = size_hw
        self.count = count
        self._next_index = 0

    def read(self, out: Optional[np.ndarray] = None) -> Optional[Frame]:
        """Read the next frame; None at the end.

        Args:
            out: an image that the caller is done with, uint8 [H, W, 3]. The source may write the new
                frame into it; it never writes into any other image that it has handed out.

        Raises:
            SourceError: the frame cannot be read, or frames are missing.
        """
        image = self._read(self._next_index, out)
        if image is None:
            return None
        frame = Frame(image, self._next_index, time.monotonic_ns())
        self._next_index += 1
        return frame

    @abstractmethod
    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        """The picture after `index` others, uint8 [H, W, 3], BGR; None at the end."""

    def close(self) -> None:
        """Free the file. May be called twice."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


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


class SyntheticSource(Source):
    """A drive through a procedural street; the same frames for the same options."""

    def __init__(self, uri: str, query: str) -> None:
        from bisenet_edge.runtime.streets import Scene

        options = parse_options(query.lstrip("/").lstrip("?"), SYNTHETIC_DEFAULTS, uri)
        size = Size.parse(options["size"])
        fps = _parse_positive(options["fps"], "fps", uri)
        count = max(1, round(fps * _parse_positive(options["seconds"], "seconds", uri)))
        self._scene = Scene(parse_int(options["seed"], "seed", uri), size)
        super().__init__(uri, fps=fps, size_hw=size.hw, count=count)

    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        if self.count is not None and index >= self.count:
            return None
        image: np.ndarray = self._scene.render(index / self.fps)[0]
        return image


def open_source(uri: str) -> Source:
    """Open a source of frames.

    Args:
        uri: a video file, a picture, a folder of pictures, or
            `synthetic://[?seed=0&size=640x360&fps=30&seconds=10]`.

    Raises:
        UsageError: an unknown scheme, option or file type, or a camera (not in this version yet).
        SourceError: missing, unreadable, empty, or not what its name says.
    """
    scheme, rest = split_scheme(uri, (*SCHEMES, *PLANNED_SCHEMES))
    if scheme == "synthetic":
        return SyntheticSource(uri, rest)
    if scheme in PLANNED_SCHEMES:
        raise not_yet(uri, scheme, EXPECTED)
    if scheme:
        raise unknown_name("source scheme", scheme, (*SCHEMES, *PLANNED_SCHEMES))
    path = Path(rest).expanduser()
    try:
        return _open_path(uri, path)
    except OSError as error:
        raise SourceError("a source cannot be read", got=f"{path}: {error.strerror}") from error


def _open_path(uri: str, path: Path) -> Source:
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
    # OpenCV 4 fills the missing part of a JPEG with grey and says nothing (OpenCV 5 refuses). A whole one
    # has its end marker after its last scan; inside a scan neither marker can occur.
    whole = path.suffix.lower() not in (".jpg", ".jpeg") or data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data and whole else None
    if image is None:
        raise SourceError(
            "a picture cannot be decoded",
            got=f"{path}, {len(data)} bytes",
            expected="a complete JPEG, PNG or BMP file",
            fix="copy it again or take it out of the folder",
        )
    return np.asarray(image)


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


def _pictures_in(folder: Path) -> Sequence[Path]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise SourceError(
            "a folder has no pictures", got=str(folder), expected="files named " + ", ".join(IMAGE_SUFFIXES)
        )
    return paths


def _parse_positive(text: str, name: str, uri: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1e6:
        raise UsageError(f"cannot read '{name}' in '{uri}'", got=repr(text), expected="a number above 0")
    return value
