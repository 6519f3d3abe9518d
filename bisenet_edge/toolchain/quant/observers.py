"""From what a tensor's values look like to the range that INT8 represents: four observers.

All work on a histogram of magnitudes, so one pass over the calibration images serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bisenet_edge.errors import CalibrationError, unknown_name

OBSERVERS = ("max", "percentile", "entropy", "mse")
BINS = 4096
PERCENTILE = 99.99
LEVELS = 128
# More values than this per image and tensor say nothing new about a distribution and cost time.
MAX_VALUES = 200_000


@dataclass
class Histogram:
    """Magnitudes of one tensor over the calibration images.

    Attributes:
        counts: int64 [BINS], of magnitudes in equal bins over 0..limit.
        limit: right edge of the last bin; doubled (and bins merged in pairs) when a value exceeds it.
        largest: largest magnitude seen, exactly, over all values.
    """

    counts: np.ndarray
    limit: float = 0.0
    largest: float = 0.0

    @classmethod
    def empty(cls) -> Histogram:
        return cls(np.zeros(BINS, np.int64))

    def add(self, x: Tensor) -> None:
        """Count a tensor's values: its maximum over all, its distribution over at most 200,000 of them.

        Raises:
            CalibrationError: nan or infinite values.
        """
        magnitudes = x.detach().abs().flatten()
        largest = float(magnitudes.max())
        if not np.isfinite(largest):
            raise CalibrationError(
                "a tensor has values that are not finite", got=largest, fix="check the checkpoint's training"
            )
        self.largest = max(self.largest, largest)
        if largest == 0.0:
            return
        if self.limit == 0.0:
            self.limit = largest
        while self.limit < largest:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.limit *= 2
        step = max(1, len(magnitudes) // MAX_VALUES)
        counts = torch.histc(magnitudes[::step].float(), BINS, 0.0, self.limit)
        self.counts += counts.cpu().numpy().astype(np.int64)

    def centres(self) -> np.ndarray:
        """Magnitude in the middle of each bin, float64 [BINS]."""
        return (np.arange(BINS) + 0.5) * (self.limit / BINS)


def amax_of(histogram: Histogram, observer: str) -> float:
    """The magnitude that INT8's 127 shall stand for.

    Args:
        histogram: of a tensor.
        observer: "max": the largest seen. "percentile": 99.99 % of values lie below. "entropy": least
            Kullback-Leibler divergence between the distributions before and after (as TensorRT's
            calibrator did). "mse": least mean squared error.

    Raises:
        UsageError: unknown observer.
    """
    if observer not in OBSERVERS:
        raise unknown_name("observer", observer, OBSERVERS)
    if histogram.largest == 0.0 or observer == "max":
        return histogram.largest
    if observer == "percentile":
        share = np.cumsum(histogram.counts) / histogram.counts.sum()
        edge = (int(np.searchsorted(share, PERCENTILE / 100)) + 1) * histogram.limit / BINS
        return min(edge, histogram.largest)
    candidates = np.arange(LEVELS, BINS + 1, 16)
    cost = _divergence if observer == "entropy" else _squared_error
    costs = [cost(histogram, int(bins)) for bins in candidates]
    best = candidates[int(np.argmin(costs))] * histogram.limit / BINS
    return min(float(best), histogram.largest)


def _squared_error(histogram: Histogram, bins: int) -> float:
    centres = histogram.centres()
    scale = bins * histogram.limit / BINS / 127
    rounded = np.minimum(np.round(centres / scale), 127) * scale
    return float((histogram.counts * (centres - rounded) ** 2).sum())


def _divergence(histogram: Histogram, bins: int) -> float:
    """KL divergence of a distribution clipped to `bins` bins from the same in 128 levels."""
    kept = histogram.counts[:bins].astype(np.float64)
    # Most values after a ReLU are zeros, which every range represents exactly: left in, they would
    # drown the rest and pull the range towards 0.
    kept[0] = kept[1]
    reference = kept.copy()
    reference[-1] += histogram.counts[bins:].sum()
    level = np.arange(bins) * LEVELS // bins
    occupied = kept > 0
    mass = np.bincount(level, kept, LEVELS)
    width = np.bincount(level, occupied, LEVELS)
    spread = np.divide(mass, width, out=np.zeros(LEVELS), where=width > 0)[level] * occupied
    total = spread.sum()
    if total == 0:
        return float("inf")
    p, q = reference / reference.sum(), spread / total
    used = (p > 0) & (q > 0)
    # Mass that clipping moved into a bin that was empty has no counterpart in q: count it in full.
    lost = p[(p > 0) & (q == 0)].sum()
    return float((p[used] * np.log(p[used] / q[used])).sum() + lost * np.log(1e6))
