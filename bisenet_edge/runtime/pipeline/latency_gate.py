"""Whether a device keeps a latency budget: the check of an installation, before anything is switched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Tuple

from bisenet_edge.latency import LatencySummary
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.power.reader import PowerReader
from bisenet_edge.runtime.profile.artifacts import camera_frames
from bisenet_edge.runtime.profile.profiler import Case, ProfileOptions, profile

SAMPLES = 100
"""The fewest of which a 99th percentile can be told."""


@dataclass(frozen=True)
class LatencyGate:
    """A session against a budget.

    Attributes:
        backend, precision: what ran.
        budget_ms: what is allowed.
        frame_to_mask: resize and inference, without capture and sinks; its p99 is what counts.
        doubts: why the figures cannot be trusted (heat, clocks), with what to do.
    """

    backend: str
    precision: str
    budget_ms: float
    frame_to_mask: LatencySummary
    doubts: Tuple[str, ...]

    @property
    def passed(self) -> bool:
        """A budget that is kept in doubtful circumstances is kept."""
        return self.frame_to_mask.p99_ms <= self.budget_ms

    def to_json(self) -> Dict[str, Any]:
        return {
            **vars(self),
            "frame_to_mask": self.frame_to_mask.to_json(),
            "doubts": list(self.doubts),
            "passed": self.passed,
        }

    def __str__(self) -> str:
        times, verdict = self.frame_to_mask, "within" if self.passed else "ABOVE"
        line = (
            f"frame to mask, {self.backend} {self.precision}: p50 {times.p50_ms:.1f} ms, "
            f"p99 {times.p99_ms:.1f} ms, {verdict} the budget of {self.budget_ms:g} ms"
        )
        return "\n".join([line, *(f"  in doubt: {reason}" for reason in self.doubts)])


def check_latency(session: Session, budget_ms: float, progress: Progress = quiet) -> LatencyGate:
    """Time a session on 100 camera frames, with a look at the heat and the clocks meanwhile.

    Raises:
        BackendError: the engine fails.
    """
    with PowerReader.open() as power:
        result = profile(
            [Case("default", session)], camera_frames(), ProfileOptions(SAMPLES), progress, power=power
        )
    (case,) = result.cases
    return LatencyGate(
        backend=session.backend,
        precision=session.precision,
        budget_ms=budget_ms,
        frame_to_mask=LatencySummary.of(case.frame_to_mask_ms.tolist()),
        doubts=result.reasons,
    )
