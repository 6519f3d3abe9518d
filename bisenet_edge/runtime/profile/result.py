"""What a profile says: latency per stage, FPS, INT8 over floating point, and whether it can be trusted.

Letters: S samples of one case, in the order they were taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from bisenet_edge.frame import Size
from bisenet_edge.latency import LatencySummary
from bisenet_edge.runtime.pipeline.segmenter import STAGES
from bisenet_edge.runtime.power.trace import CaseEnergy, PowerTrace
from bisenet_edge.runtime.profile.bootstrap import resampled_medians
from bisenet_edge.runtime.profile.paper import paper_speed
from bisenet_edge.runtime.profile.stability import Limits, drift_reasons, spread_reasons


@dataclass(frozen=True)
class CaseResult:
    """The samples of one case.

    Attributes:
        name: as the caller named it ("640x360 int8").
        model: name of the network.
        size: of the network's input.
        backend: name of the engine.
        precision: flavour that ran ("int8", "bf16", "fp32").
        engine: what the engine says of itself (`Session.describe`).
        stage_ms: float64 [S, 4], in the order of `STAGES`.
        start_s: float64 [S], when each sample began, from the first sample of the run.
        energy: power while it ran; None = nobody looked.
        layers: what each layer costs (`Session.time_layers`); empty = nobody asked.
    """

    name: str
    model: str
    size: Size
    backend: str
    precision: str
    engine: Dict[str, Any]
    stage_ms: np.ndarray
    start_s: np.ndarray
    energy: Optional[CaseEnergy] = None
    layers: Tuple[Dict[str, Any], ...] = ()

    @property
    def total_ms(self) -> np.ndarray:
        """All stages one after the other, float64 [S]."""
        return np.asarray(self.stage_ms.sum(axis=1))

    @property
    def frame_to_mask_ms(self) -> np.ndarray:
        """Resize and infer, float64 [S]: from a decoded frame to its mask."""
        return np.asarray(self.stage_ms[:, 1] + self.stage_ms[:, 2])

    @property
    def drift(self) -> float:
        """Median frame -> mask of the last third of the samples over that of the first third, less 1."""
        times_ms, third = self.frame_to_mask_ms, len(self.stage_ms) // 3
        return float(np.median(times_ms[-third:]) / np.median(times_ms[:third]) - 1)

    @property
    def fps_p50(self) -> float:
        """Frames per second of the median frame, all stages."""
        return float(1000 / np.median(self.total_ms))

    @property
    def fps_throughput(self) -> float:
        """Frames per second over all samples, all stages: slow frames count with their full weight."""
        return float(1000 / self.total_ms.mean())

    def to_json(self) -> Dict[str, Any]:
        printed = paper_speed(self.model, self.size)
        return {
            "name": self.name,
            "model": self.model,
            "size": str(self.size),
            "backend": self.backend,
            "precision": self.precision,
            "stages": {
                s: LatencySummary.of(self.stage_ms[:, i].tolist()).to_json() for i, s in enumerate(STAGES)
            },
            "frame_to_mask": LatencySummary.of(self.frame_to_mask_ms.tolist()).to_json(),
            "total": LatencySummary.of(self.total_ms.tolist()).to_json(),
            "fps_p50": round(self.fps_p50, 2),
            "fps_throughput": round(self.fps_throughput, 2),
            "drift": round(self.drift, 4),
            "paper": printed.to_json() if printed else None,
            "energy": self.energy.to_json() if self.energy else None,
            "engine": self.engine,
            "layers": list(self.layers),
            "samples": {
                "start_s": np.round(self.start_s, 4).tolist(),
                **{f"{s}_ms": np.round(self.stage_ms[:, i], 4).tolist() for i, s in enumerate(STAGES)},
            },
        }


@dataclass(frozen=True)
class PrecisionRatio:
    """Median frame -> mask time of INT8 over that of a floating-point precision, 95 % interval.

    0.25 means four times as fast. `against` is that precision: "fp32", or the half-precision float that
    the machine computes natively ("bf16").
    """

    model: str
    size: Size
    backend: str
    against: str
    ratio: float
    low: float
    high: float

    def to_json(self) -> Dict[str, Any]:
        """As JSON; the key "int8_over_fp32" holds the ratio to `against`, whichever that is."""
        return {
            "model": self.model,
            "size": str(self.size),
            "backend": self.backend,
            "against": self.against,
            "int8_over_fp32": round(self.ratio, 4),
            "ci95": [round(self.low, 4), round(self.high, 4)],
            "speedup": round(1 / self.ratio, 2),
        }


@dataclass(frozen=True)
class ProfileResult:
    """Everything that one profile measured.

    Attributes:
        cases: in the order they were given.
        ratios: INT8 over each floating-point precision, for each network, size and engine that ran in
            both; over FP32 first.
        machine_reasons: what the machine did meanwhile that makes all figures doubtful (clocks, heat).
        source: size of the camera frames.
        burst: samples taken of one case before the next one's turn.
        peak_rss_mb: largest resident memory of the process so far, with all cases loaded (2^20 bytes).
        machine: `describe_machine`.
        limits: what is tolerated.
        power: what the sensors said meanwhile; None = nobody looked.
    """

    cases: Tuple[CaseResult, ...]
    ratios: Tuple[PrecisionRatio, ...]
    machine_reasons: Tuple[str, ...]
    source: Size
    burst: int
    peak_rss_mb: float
    machine: Dict[str, Any]
    limits: Limits = field(default_factory=Limits)
    power: Optional[PowerTrace] = None

    @property
    def reasons(self) -> Tuple[str, ...]:
        """Why the figures cannot be trusted, with what to do; empty = conclusive."""
        drifted = drift_reasons(self.cases, self.limits.max_drift)
        # A case that drifts is uncertain for that reason; more samples would not help it.
        steady = [case for case in self.cases if abs(case.drift) <= self.limits.max_drift]
        spread = spread_reasons(steady, self.burst, self.limits.max_uncertainty)
        return (*drifted, *spread, *self.machine_reasons)

    @property
    def conclusive(self) -> bool:
        return not self.reasons

    def part(self, cases: Sequence[CaseResult]) -> ProfileResult:
        """What the same run says of some of its cases alone."""
        return replace(self, cases=tuple(cases), ratios=precision_ratios(cases, self.burst))

    def to_json(self) -> Dict[str, Any]:
        """The "profile" section of a report; `runtime.report.sections` describes it."""
        reasons = list(self.reasons)
        return {
            "cases": [case.to_json() for case in self.cases],
            "ratios": [ratio.to_json() for ratio in self.ratios],
            "conclusive": not reasons,
            "reasons": reasons,
            "source": str(self.source),
            "burst": self.burst,
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "machine": self.machine,
            "power": self.power.to_json() if self.power else None,
        }


def precision_ratios(cases: Sequence[CaseResult], burst: int) -> Tuple[PrecisionRatio, ...]:
    """INT8 over each floating-point precision of the same network, size and engine; over FP32 first."""
    found: List[PrecisionRatio] = []
    for int8 in (case for case in cases if case.precision == "int8"):
        like = (int8.model, int8.size, int8.backend)
        alike = [case for case in cases if (case.model, case.size, case.backend) == like]
        floats = [case for case in alike if not case.precision.startswith("int8")]
        for other in sorted(floats, key=lambda case: case.precision != "fp32"):
            interval = ratio_of_medians(int8.frame_to_mask_ms, other.frame_to_mask_ms, burst)
            found.append(PrecisionRatio(*like, other.precision, *interval))
    return tuple(found)


def ratio_of_medians(int8_ms: np.ndarray, float_ms: np.ndarray, burst: int) -> Tuple[float, float, float]:
    """Median of `int8_ms` over that of `float_ms`, and its 95 % bootstrap interval (`resampled_medians`).

    Args:
        int8_ms: float64 [S], as `take_turns` took them; S is a multiple of `burst`.
        float_ms: likewise, of the same run: the same rounds are drawn of both.
        burst: samples taken of one before the other's turn.

    Returns:
        (ratio, low, high).
    """
    ratios = resampled_medians(int8_ms, burst) / resampled_medians(float_ms, burst)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(np.median(int8_ms) / np.median(float_ms)), float(low), float(high)
