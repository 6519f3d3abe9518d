"""What a search for a network within a gate tried, and what it took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bisenet_edge.runtime.accuracy import Gate
from bisenet_edge.toolchain.quant.ptq import Quantized
from bisenet_edge.toolchain.trial import Score


@dataclass(frozen=True)
class Step:
    """One network that was tried.

    Attributes:
        name: what it is, for people.
        stage: "ptq", "correction", "fallback" or "qat".
        passed: whether it is within the gate.
        note: why it was not taken although it passed, or what limits it; "" mostly.
    """

    name: str
    stage: str
    quantized: Quantized
    score: Score
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class BlockSensitivity:
    """What INT8 costs in one block, in points of mIoU.

    Attributes:
        only: drop with this block in INT8 and all else in floating point.
        without: drop with all but this block in INT8.
    """

    block: str
    convolutions: tuple[str, ...]
    only: float
    without: float


@dataclass
class Found:
    """What a search tried and what it took.

    Attributes:
        chosen: the step that keeps the promise; None when none does.
        reason: the verdict in one sentence.
    """

    gate: Gate
    about: dict[str, Any]
    steps: list[Step] = field(default_factory=list)
    sensitivity: list[BlockSensitivity] = field(default_factory=list)
    chosen: Step | None = None
    reason: str = ""

    @property
    def best(self) -> Step:
        """The step that comes nearest to the gate."""
        return min(self.steps, key=lambda step: step.score.excess_points(self.gate))

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """The report's section "search"."""
        first = self.steps[0].score
        return {
            **self.about,
            "max_drop": self.gate.max_drop,
            "max_class_drop": self.gate.max_class_drop,
            "passed": self.chosen is not None,
            "chosen": self.chosen.name if self.chosen else None,
            "reason": self.reason,
            "fp32": {"miou": first.fp32.miou(), "infer_ms": first.fp32_ms},
            "steps": [_step_json(step, class_names) for step in self.steps],
            "sensitivity": [
                {
                    "block": b.block,
                    "convolutions": len(b.convolutions),
                    "only_drop_points": b.only,
                    "without_drop_points": b.without,
                }
                for b in self.sensitivity
            ],
        }


def _step_json(step: Step, class_names: Sequence[str]) -> dict[str, Any]:
    drops = step.score.class_drop_points
    worst = int(np.nanargmax(drops))
    return {
        "name": step.name,
        "stage": step.stage,
        "miou": step.score.int8.miou(),
        "drop_points": step.score.drop_points,
        "worst_class": class_names[worst],
        "worst_class_drop_points": float(drops[worst]),
        # The machine's speed changes from step to step; the ratio within one step does not.
        "infer_ms": step.score.int8_ms,
        "speedup": step.score.speedup,
        "passed": step.passed,
        "note": step.note,
    }


def verdict(step: Step) -> str:
    """What the network that was taken costs and gains, in one sentence."""
    score = step.score
    return (
        f"{step.name}: mIoU changes by {-score.drop_points:+.2f} points, the worst class by "
        f"{-float(np.nanmax(score.class_drop_points)):+.2f}, {score.speedup:.2f} times as fast as FP32"
    )


def failure(found: Found, trained: bool) -> str:
    """Why none was taken, in one sentence; `trained` tells whether fine-tuning was among what was tried."""
    best = found.best
    excess = best.score.excess_points(found.gate)
    nearest = f"{excess:.2f} points beyond the gate" if math.isfinite(excess) else "not a number"
    hint = "" if trained else "; quantization-aware training was not tried"
    if len(found.steps) == 1:
        return f"{best.name} does not keep the promise: it is {nearest}{hint}"
    return (
        f"none of {len(found.steps)} networks keeps the promise; the nearest, {best.name}, is {nearest}{hint}"
    )
