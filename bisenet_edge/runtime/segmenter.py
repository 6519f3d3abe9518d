"""One picture of any size in, its mask out; and the clock that times the stages on the way."""

from __future__ import annotations

import time
from collections import deque
from typing import Deque, Dict, Optional, Tuple

import numpy as np

from bisenet_edge.latency import LatencySummary
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.fit import Fit

STAGES = ("decode", "resize", "infer", "sink")
"""decode: reading a frame (from a live source, waiting for it too); resize: picture to network size;
infer: network input to mask; sink: mask to picture size, and all outputs."""

NEWEST_SAMPLES = 100_000


class StageClock:
    """Times of each stage in milliseconds, of the newest 100,000 frames: a service must not grow by them.

    Different threads may add to different stages.
    """

    def __init__(self) -> None:
        self._times_ms: Dict[str, Deque[float]] = {stage: deque(maxlen=NEWEST_SAMPLES) for stage in STAGES}

    def add(self, stage: str, start_ns: int, end_ns: int) -> None:
        """Add one time between two readings of `time.perf_counter_ns()`; `stage` is one of `STAGES`."""
        self._times_ms[stage].append((end_ns - start_ns) / 1e6)

    def summaries(self) -> Dict[str, LatencySummary]:
        """Percentiles by stage, in the order of `STAGES`; a stage that never ran is absent."""
        return {stage: LatencySummary.of(times) for stage, times in self._times_ms.items() if times}


class Segmenter:
    """Makes masks of pictures with a session. Reuses its buffers; one thread calls `segment`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.size = session.artifact.manifest.size
        self._use(Fit(self.size.hw, self.size))

    def segment(
        self, image: np.ndarray, out: Optional[np.ndarray] = None, clock: Optional[StageClock] = None
    ) -> np.ndarray:
        """Segment one picture.

        Args:
            image: uint8 [h, w, 3], BGR, any size.
            out: uint8 [H, W] of the network's size (`new_mask`) to write into; without it a buffer of the
                session is used, valid until the next call.
            clock: where to add the times of "resize" and "infer".

        Returns:
            the mask of the picture at the network's resolution, without padding: uint8
            [inner h, inner w], train ids; a view. `to_source` brings it to the picture's own size.

        Raises:
            BackendError: the engine fails.
        """
        start_ns = time.perf_counter_ns()
        if image.shape[:2] != self._fit.source_hw:
            self._use(Fit((image.shape[0], image.shape[1]), self.size))
        frame = self._fit.apply(image, self._input)
        resized_ns = time.perf_counter_ns()
        mask = self._fit.crop(self.session.infer(frame, out))
        if clock is not None:
            clock.add("resize", start_ns, resized_ns)
            clock.add("infer", resized_ns, time.perf_counter_ns())
        return mask

    def to_source(
        self, mask: np.ndarray, source_hw: Tuple[int, int], out: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """Bring a mask from `segment` to the size of its picture, nearest neighbour.

        Keeps no state: any thread may call it while another one segments.

        Args:
            mask: uint8 [inner h, inner w].
            source_hw: (height, width) of the picture.
            out: uint8 [h, w] that may be written into.

        Returns:
            uint8 [h, w]: `out`, or `mask` itself where the sizes are equal.
        """
        return Fit(source_hw, self.size).undo(mask, out)

    def new_mask(self) -> np.ndarray:
        """A buffer for `segment`: uint8 [H, W]."""
        return np.zeros(self.size.hw, np.uint8)

    def _use(self, fit: Fit) -> None:
        self._fit = fit
        self._input = fit.new_input()
