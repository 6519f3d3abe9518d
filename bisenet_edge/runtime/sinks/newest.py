"""The newest frame, handed from the pipeline to a thread that may be slower."""

from __future__ import annotations

import threading
from typing import Optional, Tuple

import numpy as np

from bisenet_edge.frame import Frame


class NewestFrame:
    """Room for one frame and its mask. One thread puts, one takes; what was not taken in time is lost.

    Both are copied into buffers that are used again, so that `put` takes one copy and never waits longer.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._incoming: Optional[Tuple[Frame, np.ndarray]] = None
        self._outgoing: Optional[Tuple[Frame, np.ndarray]] = None
        self._fresh = self._closed = False

    def put(self, frame: Frame, mask: np.ndarray) -> None:
        """Copy a frame (image uint8 [h, w, 3]) and its mask (uint8 [h, w])."""
        with self._changed:
            room = self._incoming
            if room is None or room[1].shape != mask.shape:
                room = Frame(np.empty_like(frame.image), 0, 0), np.empty_like(mask)
            np.copyto(room[0].image, frame.image)
            np.copyto(room[1], mask)
            room[0].index, room[0].captured_ns = frame.index, frame.captured_ns
            self._incoming, self._fresh = room, True
            self._changed.notify()

    def take(self) -> Optional[Tuple[Frame, np.ndarray]]:
        """Wait for the newest frame; None when it is closed. What it gave before is used again."""
        with self._changed:
            self._changed.wait_for(lambda: self._fresh or self._closed)
            if self._closed:
                return None
            self._incoming, self._outgoing = self._outgoing, self._incoming
            self._fresh = False
            return self._outgoing

    def close(self) -> None:
        """Let the taker go."""
        with self._changed:
            self._closed = True
            self._changed.notify()
