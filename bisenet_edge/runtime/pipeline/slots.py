"""The buffers that travel through a run, and how they pass from one thread to the next."""

from __future__ import annotations

import threading
from collections import deque
from typing import Callable, Iterable, Optional, Tuple

import numpy as np

from bisenet_edge.frame import Frame
from bisenet_edge.runtime.pipeline.clock import FrameClock

ToSource = Callable[[np.ndarray, Tuple[int, int], Optional[np.ndarray]], np.ndarray]
"""`Segmenter.to_source`."""


class Slot:
    """One frame on its way round, and the buffers that it needs.

    Attributes:
        frame: None until it was first used; later the last frame, whose image is written over.
        buffer: uint8 [H, W] of the network's size.
        mask: the part of `buffer` that shows the picture.
        clock: told how long each stage took.
        users: sinks that are not done with it.
    """

    def __init__(self, buffer: np.ndarray, clock: FrameClock) -> None:
        self.frame: Optional[Frame] = None
        self.buffer = buffer
        self.mask = buffer
        self.clock = clock
        self.users = 0
        self._full = np.empty((0, 0), np.uint8)
        self._shown: Optional[np.ndarray] = None
        self._lock = threading.Lock()

    def filled(self, mask: np.ndarray) -> None:
        """Take the mask of the frame, uint8 [inner h, inner w]."""
        self.mask = mask
        self._shown = None

    def shown_mask(self, to_source: ToSource) -> np.ndarray:
        """The mask at the picture's size, uint8 [h, w]; made by the first sink that asks, shared by all."""
        assert self.frame is not None
        with self._lock:
            if self._shown is None:
                source_hw = self.frame.image.shape[:2]
                if self._full.shape != source_hw:
                    self._full = np.empty(source_hw, np.uint8)
                self._shown = to_source(self.mask, source_hw, self._full)
            return self._shown


class SlotPool:
    """Slots that are free, taken in turn: all are in use after the first frames, and memory grows no more."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._free = deque(slots)
        self._changed = threading.Condition()
        self._closed = False

    def take(self) -> Optional[Slot]:
        """A free slot, waiting for one; None once the pool is closed."""
        with self._changed:
            while not self._free and not self._closed:
                self._changed.wait()
            return None if self._closed else self._free.popleft()

    def give_back(self, slot: Slot) -> None:
        """Take back a slot that nobody uses."""
        with self._changed:
            self._free.append(slot)
            self._changed.notify()

    def release(self, slot: Slot) -> None:
        """Note that one of `slot.users` is done with it; the last one gives it back."""
        with self._changed:
            slot.users -= 1
            if not slot.users:
                self._free.append(slot)
                self._changed.notify()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Handover:
    """Room for one slot between two threads; `queue.Queue` can neither be closed nor replace its item."""

    def __init__(self) -> None:
        self._slot: Optional[Slot] = None
        self._changed = threading.Condition()
        self._closed = False
        self._woken = False

    def put(self, slot: Slot, *, newest_wins: bool = False) -> Optional[Slot]:
        """Hand a slot over. Where one waits already: wait too, or with `newest_wins` take its place.

        Returns:
            the slot that found no room: the one replaced, or `slot` itself if this was closed.
        """
        with self._changed:
            while self._slot is not None and not newest_wins and not self._closed:
                self._changed.wait()
            if self._closed:
                return slot
            replaced, self._slot = self._slot, slot
            self._changed.notify_all()
            return replaced

    def get(self, *, wait: bool = True) -> Optional[Slot]:
        """Take the slot, waiting for it.

        Returns:
            None where none came: closed, woken, or not to `wait`.
        """
        with self._changed:
            while wait and self._slot is None and not self._closed and not self._woken:
                self._changed.wait()
            self._woken = False
            slot, self._slot = self._slot, None
            self._changed.notify_all()
            return slot

    def wake(self) -> None:
        """Let who waits in `get` return."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Closed, and what was inside is taken."""
        with self._changed:
            return self._closed and self._slot is None

    def close(self, *, discard: bool = False) -> Optional[Slot]:
        """Let nothing more in; `discard` takes out, and gives back, what is inside."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if not discard:
                return None
            slot, self._slot = self._slot, None
            return slot
