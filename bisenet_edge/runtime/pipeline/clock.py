"""Times of the stages of a run, in memory that is taken once: a service must not grow by what it measures."""

from __future__ import annotations

from typing import Dict, Optional, Union

import numpy as np

from bisenet_edge.latency import LatencySummary

STAGES = ("decode", "resize", "infer", "sink")
"""decode: reading a frame (from a live source, waiting for it too); resize: picture to network size;
infer: network input to mask, with the wait for frames that are in flight before it; sink: mask to picture
size, and output."""

NEWEST_SAMPLES = 50_000
"""Half an hour at 30 frames per second; older times are forgotten."""


class SampleRing:
    """The newest times in milliseconds, float32. One thread adds; another may read meanwhile.

    Attributes:
        total: how many were ever added.
    """

    def __init__(self, capacity: int = NEWEST_SAMPLES) -> None:
        # Filled, not empty: its pages are touched now and not one by one over the first half hour.
        self._values_ms = np.full(capacity, np.nan, np.float32)
        self.total = 0

    def add(self, value_ms: float) -> None:
        """Add one, in place of the oldest where the ring is full."""
        self._values_ms[self.total % len(self._values_ms)] = value_ms
        self.total += 1

    def newest(self, count: Optional[int] = None) -> np.ndarray:
        """A copy of the newest `count` (default: all that are kept): float32 [n], in any order."""
        kept = min(self.total, len(self._values_ms))
        count = kept if count is None else min(count, kept)
        end = self.total % len(self._values_ms)
        return np.take(self._values_ms, range(end - count, end), mode="wrap")

    def summary(self, count: Optional[int] = None) -> Optional[LatencySummary]:
        """Percentiles of the newest `count`; None where there are none."""
        times_ms = self.newest(count)
        return LatencySummary.of(times_ms) if len(times_ms) else None


class StageClock:
    """Times of each stage. Different threads may add to different stages."""

    def __init__(self) -> None:
        self._rings = {stage: SampleRing() for stage in STAGES}

    def add(self, stage: str, start_ns: int, end_ns: int) -> None:
        """Add one time between two readings of `time.perf_counter_ns()`; `stage` is one of `STAGES`."""
        self._rings[stage].add((end_ns - start_ns) / 1e6)

    def summaries(self) -> Dict[str, LatencySummary]:
        """Percentiles by stage, in the order of `STAGES`; a stage that never ran is absent."""
        found = {stage: ring.summary() for stage, ring in self._rings.items()}
        return {stage: summary for stage, summary in found.items() if summary is not None}


class FrameClock:
    """Times of one frame on its way, each added to a `StageClock` too.

    Attributes:
        stages_ms: milliseconds by stage; overwritten by the next frame that takes this clock.
    """

    def __init__(self, clock: StageClock) -> None:
        self.stages_ms: Dict[str, float] = {}
        self._clock = clock

    def add(self, stage: str, start_ns: int, end_ns: int) -> None:
        """As `StageClock.add`."""
        self.stages_ms[stage] = (end_ns - start_ns) / 1e6
        self._clock.add(stage, start_ns, end_ns)


Timer = Union[StageClock, FrameClock]
