"""A camera, a network stream or a hardware-decoded file: one source over any of the readers."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np

from bisenet_edge.errors import SourceError, SourceLostError
from bisenet_edge.runtime.gstreamer.binding import PipelineError
from bisenet_edge.runtime.sources.base import Source
from bisenet_edge.runtime.sources.files import ends_early
from bisenet_edge.runtime.sources.reader import FrameReader
from bisenet_edge.runtime.uris import redacted_text

POLL_S = 0.1
OPEN_S = 10.0
"""The first frame may take longer than `stall_s`: a camera warms up, a stream waits for a key frame."""


@dataclass(frozen=True)
class StreamPlan:
    """What a stream is, and what to say of it when it fails.

    Attributes:
        uri: as the user gave it.
        live: see Source.
        clock: see Source.
        stall_s: a live source without a frame for so long is lost.
        fix: the next step when it cannot be opened.
        count: frames that a file's header promises; None = unknown.
    """

    uri: str
    live: bool = True
    clock: str = "arrival"
    stall_s: float = 5.0
    fix: str = ""
    count: Optional[int] = None


class StreamSource(Source):
    """Waits for the first frame when it is made, so that a wrong address fails at once.

    Args:
        plan: what it is.
        open_reader: starts the camera.
        interrupted: shared with whoever wraps this source; opening is given up when it is set.

    Raises:
        SourceError: it does not start, ends or stays silent before its first frame.
    """

    def __init__(
        self,
        plan: StreamPlan,
        open_reader: Callable[[], FrameReader],
        interrupted: Optional[threading.Event] = None,
    ) -> None:
        self.live = plan.live
        self.clock = plan.clock
        self._plan = plan
        super().__init__(plan.uri, fps=float("nan"), size_hw=(0, 0), count=plan.count)
        if interrupted is not None:
            self._interrupted = interrupted
        try:
            self._reader = open_reader()
        except PipelineError as error:
            raise self._cannot_open(", ".join(filter(None, [str(error), error.detail]))) from error
        try:
            self._first: Optional[np.ndarray] = self._wait(None, max(OPEN_S, plan.stall_s))
        except SourceLostError as error:
            self.close()
            detail = error.got[len(self.uri) :].lstrip(": ")
            raise self._cannot_open(", ".join(filter(None, [error.what, detail]))) from error
        if self._first is None and not self._interrupted.is_set():
            self.close()
            raise self._cannot_open("it ended before its first frame")
        self.size_hw = self._reader.size_hw
        self.fps = self._reader.fps

    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        image = self._wait(out, self._plan.stall_s if self.live else float("inf"))
        if image is None and self.live and not self._interrupted.is_set():
            raise SourceLostError("a live source has ended", got=self.uri)
        if image is None and ends_early(index, index / self.fps, self.count, self.fps):
            raise SourceError(
                f"a video ends early: frame {index} of {self.count}",
                got=self.uri,
                expected="as many frames as its header promises",
                fix="copy it again",
            )
        return image

    def _captured_ns(self) -> int:
        return self._reader.captured_ns

    def _wait(self, out: Optional[np.ndarray], limit_s: float) -> Optional[np.ndarray]:
        """The next frame; None at the end or when interrupted."""
        start_s = time.monotonic()
        while not self._interrupted.is_set() and not self._reader.ended:
            try:
                image = self._reader.poll(out, POLL_S)
            except PipelineError as error:
                detail = redacted_text(error.detail, self._plan.uri)
                what = redacted_text(str(error), self._plan.uri)
                raise SourceLostError(what, got=f"{self.uri}: {detail}" if detail else self.uri) from error
            self.corrupt = self._reader.corrupt
            if image is not None:
                return image
            if time.monotonic() - start_s > limit_s:
                damaged = f", {self.corrupt} damaged ones thrown away" if self.corrupt else ""
                raise SourceLostError(f"no frame for {limit_s:g} s{damaged}", got=self.uri)
        return None

    def _cannot_open(self, why: str) -> SourceError:
        told = redacted_text(" ".join(why.split()), self._plan.uri)
        return SourceError("a source cannot be opened", got=f"{self.uri}: {told}", fix=self._plan.fix)

    def close(self) -> None:
        self._reader.close()
