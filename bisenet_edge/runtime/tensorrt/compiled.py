"""What became of an artifact's engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from bisenet_edge.runtime.tensorrt.store import Stored


@dataclass(frozen=True)
class EngineReport:
    """What became of one engine.

    Attributes:
        precision: "int8", "fp16" or "fp32".
        stored: the active engine; None when its self-test failed.
        reasons: why it was built; empty when the one in the cache serves.
        facts: its record: build time, notes, self-test, layers.
    """

    precision: str
    stored: Optional[Stored]
    reasons: Tuple[str, ...]
    facts: Dict[str, Any]

    def to_json(self) -> Dict[str, Any]:
        return {
            "precision": self.precision,
            "active": self.stored is not None,
            "plan": str(self.stored.plan) if self.stored else None,
            "built_because": list(self.reasons),
            **self.facts,
        }


@dataclass(frozen=True)
class Compiled:
    """What `compile_artifact` did.

    Attributes:
        device: name and compute capability of the GPU, versions of TensorRT and CUDA.
        engines: one report per precision.
        chosen: precision that runs by default; "" when no engine passed its self-test.
        reason: why, in one sentence.
        folder: where the engines are.
        payoff: `Payoff.to_json()` when two were timed.
    """

    device: Dict[str, Any]
    engines: Tuple[EngineReport, ...]
    chosen: str
    reason: str
    folder: str
    payoff: Optional[Dict[str, Any]] = None

    @property
    def passed(self) -> bool:
        """Whether every engine that was asked for passed its self-test."""
        return all(engine.stored for engine in self.engines)

    def to_json(self) -> Dict[str, Any]:
        return {
            "device": self.device,
            "engines": [engine.to_json() for engine in self.engines],
            "chosen": self.chosen,
            "reason": self.reason,
            "folder": self.folder,
            "payoff": self.payoff,
            "passed": self.passed,
        }
