"""Latency summaries: percentiles of measured times, refused when there are too few samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Sequence, Union

import numpy as np

MIN_SAMPLES_FOR_P99 = 100


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles of a stage's times, in milliseconds.

    `p99_ms` is nan below 100 samples: the largest of a few numbers is not a percentile.
    """

    samples: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    max_ms: float

    @classmethod
    def of(cls, times_ms: Union[Sequence[float], np.ndarray]) -> LatencySummary:
        """Summarise at least one time.

        Raises:
            ValueError: no times.
        """
        if not len(times_ms):
            raise ValueError("no times to summarise")
        times = np.asarray(times_ms, np.float64)
        p50, p90, p99 = (float(v) for v in np.percentile(times, (50, 90, 99)))
        enough = len(times) >= MIN_SAMPLES_FOR_P99
        return cls(
            samples=len(times),
            mean_ms=float(times.mean()),
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99 if enough else float("nan"),
            min_ms=float(times.min()),
            max_ms=float(times.max()),
        )

    def to_json(self) -> Dict[str, Any]:
        """As JSON; a percentile that was refused is null."""
        value: Dict[str, Any] = {k: round(float(v), 4) for k, v in vars(self).items()}
        value["samples"] = self.samples
        if np.isnan(self.p99_ms):
            value["p99_ms"] = None
        return value
