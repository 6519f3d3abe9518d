"""Medians, their spread, and ratios within one run. Letters: R rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bisenet_edge.runtime.profile.result import ratio_of_medians


@dataclass(frozen=True)
class Summary:
    """Times of one entry.

    Attributes:
        p50_ms: median of all samples.
        iqr_ms: between the quartiles of all samples.
        samples, rounds: how many.
        medians_ms: float64 [R], median of each round.
    """

    p50_ms: float
    iqr_ms: float
    samples: int
    rounds: int
    medians_ms: np.ndarray

    @classmethod
    def of(cls, times_ms: list[list[float]]) -> Summary:
        """Summarise at least one round.

        Raises:
            ValueError: no samples.
        """
        if not times_ms or not all(times_ms):
            raise ValueError("no times to summarise")
        samples = np.concatenate([np.asarray(some, np.float64) for some in times_ms])
        low, middle, high = (float(v) for v in np.percentile(samples, (25, 50, 75)))
        medians = np.array([np.median(some) for some in times_ms])
        return cls(middle, high - low, len(samples), len(times_ms), medians)

    def to_json(self) -> dict[str, Any]:
        return {
            "p50_ms": round(self.p50_ms, 4),
            "iqr_ms": round(self.iqr_ms, 4),
            "samples": self.samples,
            "rounds": self.rounds,
            "round_medians_ms": np.round(self.medians_ms, 4).tolist(),
        }


@dataclass(frozen=True)
class Ratio:
    """How many times as fast, with a 95 % interval from resampled rounds (both sides of a round together)."""

    value: float
    low: float
    high: float

    @classmethod
    def speedup(cls, baseline: Summary, ours: Summary) -> Ratio:
        """Median time of `baseline` over that of `ours`; both of the same rounds."""
        return cls(*ratio_of_medians(baseline.medians_ms, ours.medians_ms, burst=1))

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def to_json(self) -> list[float]:
        return [round(self.value, 4), round(self.low, 4), round(self.high, 4)]


@dataclass(frozen=True)
class Line:
    """time = fixed + slope x pixels, by least squares on relative errors.

    Attributes:
        fixed_ms: at no pixels.
        ms_per_megapixel: slope.
        worst: largest deviation of a point, as a share of its time.
    """

    fixed_ms: float
    ms_per_megapixel: float
    worst: float

    @classmethod
    def fit(cls, pixels: np.ndarray, times_ms: np.ndarray) -> Line:
        """Fit at least two points. Weighted by 1/time: a small picture counts as much as a large one."""
        slope, fixed = np.polyfit(pixels / 1e6, times_ms, 1, w=1 / times_ms)
        fitted = fixed + slope * pixels / 1e6
        return cls(float(fixed), float(slope), float(np.max(np.abs(fitted / times_ms - 1))))

    def to_json(self) -> dict[str, float]:
        return {key: round(value, 5) for key, value in vars(self).items()}
