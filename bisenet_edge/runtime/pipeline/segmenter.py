"""One picture of any size in, its mask out."""

from __future__ import annotations

import time
from collections import deque
from typing import Deque, Optional, Tuple

import numpy as np

from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.runtime.pipeline.clock import STAGES, Timer

__all__ = ["STAGES", "Segmenter"]


class Segmenter:
    """Makes masks of pictures with a session. Reuses its buffers; one thread calls all but `to_source`.

    Attributes:
        hangs: a thread is left behind in a call of the session, which must not be touched any more.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.hangs = False
        self.size = session.artifact.manifest.size
        self._in_flight: Deque[Tuple[Fit, int]] = deque()
        self._use(Fit(self.size.hw, self.size))

    def segment(
        self, image: np.ndarray, out: Optional[np.ndarray] = None, clock: Optional[Timer] = None
    ) -> np.ndarray:
        """Segment one picture: `submit` and `finish` at once.

        Raises:
            BackendError: the engine fails.
        """
        self.submit(image, out, clock)
        return self.finish(clock)

    def submit(
        self, image: np.ndarray, out: Optional[np.ndarray] = None, clock: Optional[Timer] = None
    ) -> None:
        """Begin one picture; at most `session.in_flight` may be begun and not finished.

        Args:
            image: uint8 [h, w, 3], BGR, any size; may be changed as soon as this returns.
            out: uint8 [H, W] of the network's size (`new_mask`) to write into; without it a buffer of the
                session is used, valid until `session.in_flight` more pictures were submitted.
            clock: where to add the time of "resize".

        Raises:
            BackendError: the engine fails, or too many are in flight.
        """
        start_ns = time.perf_counter_ns()
        if image.shape[:2] != self._fit.source_hw:
            self._use(Fit((image.shape[0], image.shape[1]), self.size))
        frame = self._fit.apply(image, self._input)
        resized_ns = time.perf_counter_ns()
        self.session.submit(frame, out)
        self._in_flight.append((self._fit, resized_ns))
        if clock is not None:
            clock.add("resize", start_ns, resized_ns)

    def finish(self, clock: Optional[Timer] = None) -> np.ndarray:
        """Wait for the oldest picture that was submitted.

        Args:
            clock: where to add the time of "infer".

        Returns:
            the mask of the picture at the network's resolution, without padding: uint8
            [inner h, inner w], train ids; a view. `to_source` brings it to the picture's own size.

        Raises:
            BackendError: the engine fails, or nothing is in flight.
        """
        mask = self.session.finish()
        fit, begun_ns = self._in_flight.popleft()
        if clock is not None:
            clock.add("infer", begun_ns, time.perf_counter_ns())
        return fit.crop(mask)

    def to_source(
        self, mask: np.ndarray, source_hw: Tuple[int, int], out: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """Bring a mask from `finish` to the size of its picture, nearest neighbour.

        Keeps no state: any thread may call it while another one segments.

        Args:
            mask: uint8 [inner h, inner w].
            source_hw: (height, width) of the picture.
            out: uint8 [h, w] that may be written into.

        Returns:
            uint8 [h, w]: `out`, or `mask` itself where the sizes are equal.
        """
        return Fit(source_hw, self.size).undo(mask, out)

    def close_session(self) -> None:
        """Close the session; one that hangs is left alone, for closing it could hang, too."""
        if not self.hangs:
            self.session.close()

    def new_mask(self) -> np.ndarray:
        """A buffer for `submit`: uint8 [H, W]."""
        return np.zeros(self.size.hw, np.uint8)

    def _use(self, fit: Fit) -> None:
        self._fit = fit
        self._input = fit.new_input()
