"""Why a profile cannot be trusted: drift, too few samples, clocks, heat, throttling. Each with a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Sequence, Tuple

import numpy as np

from bisenet_edge.runtime.power.trace import PowerTrace
from bisenet_edge.runtime.profile.bootstrap import resampled_medians

if TYPE_CHECKING:
    from bisenet_edge.runtime.profile.result import CaseResult

MIN_LOOKS = 9  # a third of them must be more than two
GPU_ENGINES = ("tensorrt",)
"""Backends that compute on the GPU; its clock decides there, the CPU's elsewhere."""
JETSON_CLOCKS = "sudo jetson_clocks"
"""Pins them in whatever power mode is set. Which number is the fastest mode differs from board to board."""
CPU_CLOCKS = "sudo cpupower frequency-set -g performance"


@dataclass(frozen=True)
class Limits:
    """What a profile may show and still be trusted.

    Attributes:
        max_drift: change of a case's median frame -> mask time between the first and last third of its
            samples (0.15 = 15 %).
        max_uncertainty: half the width of that median's 95 % interval, as a share of the median.
        max_clock_drift: change of the clock of what computes.
        max_temperature_rise_k: from the first to the last third of the run.
    """

    max_drift: float = 0.15
    max_uncertainty: float = 0.10
    max_clock_drift: float = 0.05
    max_temperature_rise_k: float = 10.0


def drift_reasons(cases: Sequence[CaseResult], max_drift: float) -> Tuple[str, ...]:
    """One sentence for each case whose frame -> mask time drifted by more than `max_drift` (0.15 = 15 %)."""
    return tuple(
        f"{case.name}: frame to mask changed by {case.drift:+.1%} between the first and the last third of "
        f"the samples, more than {max_drift:.0%}: close other programs and profile again"
        for case in cases
        if abs(case.drift) > max_drift
    )


def spread_reasons(cases: Sequence[CaseResult], burst: int, max_uncertainty: float) -> Tuple[str, ...]:
    """One sentence for each case whose median is known too poorly: its samples are too few.

    Args:
        cases: of one run.
        burst: samples of one case before the next one's turn.
        max_uncertainty: half the width of the median's 95 % interval, as a share of the median.
    """
    reasons = []
    for case in cases:
        times_ms = case.frame_to_mask_ms
        medians_ms = resampled_medians(times_ms, burst)
        low_ms, high_ms = np.percentile(medians_ms, (2.5, 97.5))
        share = float((high_ms - low_ms) / 2 / np.median(times_ms))
        if share > max_uncertainty:
            # The interval narrows with the root of the number.
            wanted = int(np.ceil(len(times_ms) * (share / max_uncertainty) ** 2 / 100)) * 100
            reasons.append(
                f"{case.name}: too few samples: the median frame to mask is known to +-{share:.0%} only, "
                f"more than {max_uncertainty:.0%}: profile again with --samples {wanted}"
            )
    return tuple(reasons)


def machine_reasons(trace: Optional[PowerTrace], on_gpu: bool, limits: Limits) -> Tuple[str, ...]:
    """What the sensors say against a run.

    A GPU's clock may not change at all while it is measured (5th to 95th percentile of the looks): unless it
    is locked, a Jetson lowers it between two frames. A CPU's clock differs from look to look on every PC, so
    the medians of the run's thirds are compared, as for latency.

    Args:
        trace: None or empty says nothing.
        on_gpu: the GPU computes.
        limits: how much is tolerated.
    """
    if trace is None or len(trace.at_s) < MIN_LOOKS:
        return ()
    reasons = []
    clocks_mhz = trace.gpu_mhz if on_gpu else trace.cpu_mhz
    low_mhz, high_mhz = _percentiles(clocks_mhz) if on_gpu else _thirds(clocks_mhz)
    if abs(high_mhz / low_mhz - 1) > limits.max_clock_drift:
        of, how = (
            ("GPU", "from {:.0f} to {:.0f} MHz") if on_gpu else ("CPU", "over the run, {:.0f} to {:.0f} MHz")
        )
        jetson = on_gpu or bool(trace.mode)
        reasons.append(
            f"the {of} clock changed {how.format(low_mhz, high_mhz)}, by more than "
            f"{limits.max_clock_drift:.0%}: {JETSON_CLOCKS if jetson else CPU_CLOCKS}"
        )
    cold_c, hot_c = _thirds(trace.temperature_c)
    if hot_c - cold_c > limits.max_temperature_rise_k:
        reasons.append(
            f"the chip warmed up from {cold_c:.0f} to {hot_c:.0f} degrees Celsius, by more than "
            f"{limits.max_temperature_rise_k:g} K: profile again now that it is warm, or check its fan"
        )
    if trace.throttled:
        reasons.append(
            f"the machine was throttled ({', '.join(trace.throttled)}): let it cool down, check its fan "
            "and its power supply, and profile again"
        )
    return tuple(reasons)


def _percentiles(values: np.ndarray) -> Tuple[float, float]:
    """5th and 95th percentile; nan when nothing is known."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.percentile(known, (5, 95))
    return float(low), float(high)


def _thirds(values: np.ndarray) -> Tuple[float, float]:
    """Medians of the first and the last third of what is known; nan when that is too little."""
    known = values[~np.isnan(values)]
    third = len(known) // 3
    if not third:
        return np.nan, np.nan
    return float(np.median(known[:third])), float(np.median(known[-third:]))
