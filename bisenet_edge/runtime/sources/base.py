"""What every source is."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Optional, Tuple, Type

import numpy as np

from bisenet_edge.frame import Frame
from bisenet_edge.runtime.uris import redacted


class Source(ABC):
    """Frames in order. Open with `open_source`, close when done. One thread reads, any may interrupt.

    Attributes:
        uri: how the user named it, without the password.
        live: frames come at their own pace, whether read or not; a late reader wants the newest.
        clock: what `Frame.captured_ns` is: "camera", when the picture was taken by the camera's or
            driver's own account; "arrival", when it reached this program or, from a network, this machine.
        fps: nominal frames per second; nan if unknown.
        size_hw: (height, width) of the first frame, (0, 0) until it has been seen; pictures of a folder
            and frames of a camera that was reopened may differ.
        count: number of frames, None if unknown. A video's header may be off by a few.
        corrupt: damaged frames of a camera or stream that were thrown away, as far as that can be known.
        reopened: how many times a live source was lost and opened again.
        attempts: how many times that was tried.
    """

    live = False
    clock = "arrival"
    corrupt = 0
    reopened = 0
    attempts = 0

    def __init__(self, uri: str, *, fps: float, size_hw: Tuple[int, int], count: Optional[int]) -> None:
        self.uri = redacted(uri)
        self.fps = fps
        self.size_hw = size_hw
        self.count = count
        self._next_index = 0
        self._newest_ns = 0
        self._interrupted = threading.Event()

    def read(self, out: Optional[np.ndarray] = None) -> Optional[Frame]:
        """Read the next frame; None at the end, or once `interrupt` was called.

        Args:
            out: an image that the caller is done with, uint8 [H, W, 3]. The source may write the new
                frame into it; it never writes into any other image that it has handed out.

        Raises:
            SourceError: the frame cannot be read, or frames are missing.
            SourceLostError: a live source has stalled or ended.
        """
        if self._interrupted.is_set():
            return None
        image = self._read(self._next_index, out)
        if image is None:
            return None
        # Never backwards: two cameras' clocks follow each other when a source is reopened.
        self._newest_ns = max(self._newest_ns, self._captured_ns())
        frame = Frame(image, self._next_index, self._newest_ns)
        self._next_index += 1
        return frame

    @abstractmethod
    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        """The picture after `index` others, uint8 [H, W, 3], BGR; None at the end."""

    def _captured_ns(self) -> int:
        """`time.monotonic_ns()` of the capture of what `_read` gave last."""
        return time.monotonic_ns()

    def interrupt(self) -> None:
        """Make a read that waits, and every later one, return None soon. Any thread may call it."""
        self._interrupted.set()

    def close(self) -> None:
        """Free the file or camera. May be called twice."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
