"""Video files written frame by frame: by GStreamer in a process of its own, or by OpenCV."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import subprocess
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, List

import cv2
import numpy as np

from bisenet_edge.errors import SinkError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.sinks import h264
from bisenet_edge.runtime.sinks.disk import disk_full
from bisenet_edge.runtime.sources import open_capture, quiet_opencv

log = logging.getLogger(__name__)

# H.264 plays in browsers, but the OpenCV of PyPI cannot write it; the one of Ubuntu and JetPack can.
VIDEO_CODECS = {".mp4": ("avc1", "mp4v"), ".mkv": ("avc1", "mp4v"), ".avi": ("XVID", "MJPG")}
H264_SUFFIXES = (".mp4", ".mkv")
STALL_S = 20.0
FINISH_LIVE_S = 3.0
"""How long an encoder of a live source may take to complete its file. It plays without that, too, and a
service that is told to stop has `RunOptions.drain_s` and this before it is killed."""


@dataclass(frozen=True)
class Video:
    """A video to be written.

    Attributes:
        path: the file to write; its suffix names the container, unless `suffix` does.
        suffix: ".mp4", ".mkv" or ".avi".
        name: how to call it in errors.
        size: of the pictures, both sides even.
        fps: frames per second.
        survives: it must play wherever it is cut off.
    """

    path: Path
    suffix: str
    name: Path
    size: Size
    fps: float
    survives: bool


class Encoder(ABC):
    """Writes one video. Ends with `abandon`, after `close` where the file is wanted."""

    @abstractmethod
    def write(self, picture: np.ndarray) -> None:
        """Add a picture: uint8 [h, w, 3], BGR, contiguous, of the video's size.

        Raises:
            SinkError: it cannot be written.
        """

    @abstractmethod
    def close(self, written: int) -> None:
        """Complete the file.

        Args:
            written: how many pictures it must hold.

        Raises:
            SinkError: it does not.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Stop, and free what is left. The file stays as it is."""


def open_encoder(video: Video) -> Encoder:
    """The best encoder there is: H.264 by GStreamer, H.264 by OpenCV, then what OpenCV has.

    Raises:
        SinkError: none can write this video.
    """
    found = h264.find_encoder(video.size) if video.suffix in H264_SUFFIXES else None
    return GstEncoder(video, found) if found else OpenCvEncoder(video)


class GstEncoder(Encoder):
    """`gst-launch-1.0` fed with raw pictures through a pipe.

    If this process dies, the pipe closes, and the encoder still completes the file.
    """

    def __init__(self, video: Video, encoder: str) -> None:
        self._video = video
        self._told: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # gst-launch would take spaces and "!" in a file name for syntax, so it is given a descriptor.
        with video.path.open("wb") as file:
            self._process = subprocess.Popen(
                self._command(encoder, f"/proc/self/fd/{file.fileno()}"),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._told,
                env={**os.environ, "LC_ALL": "C"},  # what it tells is read again
                pass_fds=[file.fileno()],
                start_new_session=True,  # Ctrl-C ends us, and we end it
            )
        self._padded = np.empty((*video.size.hw, 4), np.uint8)
        assert self._process.stdin is not None
        self._pipe = self._process.stdin.fileno()
        os.set_blocking(self._pipe, False)
        self._poll = select.poll()  # not select(), which knows no descriptor above 1023
        self._poll.register(self._pipe, select.POLLOUT)

    def _command(self, encoder: str, location: str) -> List[str]:
        video = self._video
        width, height = video.size.width, video.size.height
        parse = ("rawvideoparse", "format=bgrx", f"width={width}", f"height={height}")
        stages = (
            ("fdsrc", "fd=0", f"blocksize={width * height * 4}"),
            (*parse, f"framerate={h264.rate(video.fps)}"),
            tuple(h264.encode(encoder, video.size, video.fps, low_latency=video.survives).split()),
            ("h264parse",),
            h264.container(video.suffix, fragmented=video.survives),
            ("filesink", f"location={location}", "buffer-mode=unbuffered"),
        )
        words = [word for stage in stages for word in ("!", *stage)]
        return [h264.LAUNCH, "-q", *words[1:]]

    def write(self, picture: np.ndarray) -> None:
        cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA, dst=self._padded)
        data = memoryview(self._padded.data).cast("B")
        while data:
            try:
                data = data[os.write(self._pipe, data) :]
            except BlockingIOError:
                if not self._poll.poll(STALL_S * 1000):
                    raise self._error(f"the encoder has taken nothing for {STALL_S:.0f} s") from None
            except BrokenPipeError:
                raise self._error("the encoder has ended") from None

    def close(self, written: int) -> None:
        code = self._end()
        if code != 0:
            raise self._error(f"the encoder ended with code {code}")

    def abandon(self) -> None:
        self._end()
        self._told.close()

    def _end(self) -> int:
        """Close the pipe, which makes the encoder complete its file, and wait for it."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            return self._process.wait(FINISH_LIVE_S if self._video.survives else STALL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _error(self, what: str) -> SinkError:
        self._end()
        self._told.seek(0)
        told = self._told.read().decode("utf-8", "replace")
        if "No space left" in told:
            return disk_full(self._video.name, os.strerror(errno.ENOSPC))
        lines = [line for line in told.splitlines() if "ERROR" in line]
        return SinkError(
            "a video cannot be written",
            got=f"{self._video.name}: {what}" + (f" ({lines[0]})" if lines else ""),
            fix="write PNG masks instead: give a folder, for example masks/",
        )


class OpenCvEncoder(Encoder):
    """`cv2.VideoWriter`. It tells nobody when a frame is lost, so the file is read again at the end."""

    def __init__(self, video: Video) -> None:
        self._video = video
        self._writer, codec = self._open()
        if video.suffix in H264_SUFFIXES:
            self._tell(codec)

    def _open(self) -> Any:
        video = self._video
        codecs = VIDEO_CODECS[video.suffix]
        for codec in codecs:
            fourcc = int.from_bytes(codec.encode(), "little")
            with quiet_opencv():
                writer = cv2.VideoWriter(
                    str(video.path), fourcc, video.fps, (video.size.width, video.size.height)
                )
            if writer.isOpened():
                return writer, codec
        raise SinkError(
            "OpenCV cannot write this video",
            got=f"{video.name}, {video.size}",
            expected=f"a codec of: {', '.join(codecs)}",
            fix="write PNG masks instead: give a folder, for example masks/",
        )

    def _tell(self, codec: str) -> None:
        lacks = [] if codec == "avc1" else ["does not play in browsers (it is MPEG-4 Part 2, not H.264)"]
        if self._video.survives and self._video.suffix == ".mp4":
            lacks.append("will not play if this process is killed")
        if lacks:
            log.warning("%s %s; with %s it would", self._video.name, " and ".join(lacks), h264.INSTALL)

    def write(self, picture: np.ndarray) -> None:
        self._writer.write(picture)

    def close(self, written: int) -> None:
        self._writer.release()
        capture = open_capture(self._video.path)
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if found < written - 1:  # MKV stores no number: it is computed and may be off by one
            raise SinkError(
                "a video was not written whole",
                got=f"{self._video.name}: {found} of {written} frames",
                expected="space left on the disk",
                fix=f"df -h {self._video.name.parent}",
            )

    def abandon(self) -> None:
        self._writer.release()
