"""Keeping the promise of `--max-drop`: try what is cheap first, measure every step, say what was tried.

1. Post-training quantization with each observer.
2. Equalization and bias correction on the best of them, alone and together.
3. Sensitivity of each block: the drop with only that block in INT8, and with all but it.
4. The fewest blocks back to floating point that pass, by mIoU and by measured latency: a lone float block
   costs two reformats, so the block that gives most accuracy per millisecond goes first.
5. Quantization-aware training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.accuracy import Gate
from bisenet_edge.toolchain.quant.observers import OBSERVERS
from bisenet_edge.toolchain.quant.placement import quant_convs
from bisenet_edge.toolchain.quant.ptq import (
    BIAS_CORRECTION,
    EQUALIZATION,
    PostTraining,
    Quantized,
    Scheme,
)
from bisenet_edge.toolchain.search_result import BlockSensitivity, Found, Step, failure, verdict
from bisenet_edge.toolchain.trial import Trial

# With float blocks that make it slower than this many times FP32, INT8 is not worth its name.
LEAST_SPEEDUP = 1.1
# Latencies within this share of each other are taken as equal: below it, medians of a run jitter.
SAME_LATENCY = 0.02


FineTune = Callable[[Quantized], Quantized]


def search(
    post: PostTraining,
    trial: Trial,
    gate: Gate,
    observer: str,
    *,
    fine_tune: FineTune | None = None,
    progress: Progress = quiet,
) -> Found:
    """Find a network within a gate; stops at the first stage that has one.

    Args:
        post: quantizes.
        trial: measures, on pictures that calibration never saw.
        gate: at least one limit.
        observer: taken when it passes, whatever the others give.
        fine_tune: quantization-aware training of a post-training start; None = not tried.
        progress: told after each part of each step.
    """
    assert gate.max_drop is not None or gate.max_class_drop is not None
    hunt = _Hunt(post, trial, Found(gate, trial.describe()), progress)
    stages: list[Callable[[], Step | None]] = [
        lambda: hunt.observers(observer),
        hunt.corrections,
        hunt.fallback,
    ]
    if fine_tune is not None:
        tune = fine_tune
        stages.append(lambda: hunt.training(tune))
    for stage in stages:
        chosen = stage()
        if chosen is not None:
            hunt.found.chosen = chosen
            hunt.found.reason = verdict(chosen)
            return hunt.found
    hunt.found.reason = failure(hunt.found, fine_tune is not None)
    return hunt.found


def check_one(quantized: Quantized, name: str, trial: Trial, gate: Gate, progress: Progress = quiet) -> Found:
    """Measure one finished network against a gate, without a search: one that was trained, for example."""
    hunt = _Hunt(None, trial, Found(gate, trial.describe()), progress)
    step = hunt.measure(name, quantized.method, quantized)
    hunt.found.chosen = step if step.passed else None
    hunt.found.reason = verdict(step) if step.passed else failure(hunt.found, quantized.method == "qat")
    return hunt.found


def blocks(convolutions: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Convolutions by block: "spatial", "backbone.stage16", "arm32", ..., in the order of the graph."""
    grouped: dict[str, tuple[str, ...]] = {}
    for name in convolutions:
        parts = name.split(".")
        block = ".".join(parts[:2]) if parts[0] == "backbone" else parts[0]
        grouped[block] = (*grouped.get(block, ()), name)
    return grouped


@dataclass
class _Hunt:
    post: PostTraining | None
    trial: Trial
    found: Found
    progress: Progress

    def measure(self, name: str, stage: str, quantized: Quantized) -> Step:
        score = self.trial.measure(quantized.network, self.progress, f"measuring {name}")
        step = Step(name, stage, quantized, score, score.passes(self.found.gate))
        self.found.steps.append(step)
        return step

    def quantize(self, scheme: Scheme) -> Quantized:
        assert self.post is not None
        return self.post.quantize(scheme)

    def observers(self, wanted: str) -> Step | None:
        order = [wanted, *[name for name in OBSERVERS if name != wanted]]
        steps = [self.measure(f"PTQ {name}", "ptq", self.quantize(Scheme(name))) for name in order]
        if steps[0].passed:
            return steps[0]
        return self._least_excess([step for step in steps if step.passed])

    def corrections(self) -> Step | None:
        scheme = self.found.best.quantized.scheme
        steps = []
        for corrections in ((EQUALIZATION,), (BIAS_CORRECTION,), (EQUALIZATION, BIAS_CORRECTION)):
            name = f"PTQ {scheme.observer} + {' + '.join(corrections)}"
            corrected = self.quantize(replace(scheme, corrections=corrections))
            steps.append(self.measure(name, "correction", corrected))
        return self._least_excess([step for step in steps if step.passed])

    def fallback(self) -> Step | None:
        base = self.found.best
        grouped = blocks(list(quant_convs(base.quantized.network)))
        singles = {block: self._sensitivity(base, block, grouped) for block in grouped}
        passing = [step for step in singles.values() if step.passed and self._pays(step)]
        if passing:
            return self._fastest(passing)
        order = sorted(grouped, key=lambda block: self._gain(base, singles[block]), reverse=True)
        for count in range(2, len(order)):
            kept = [name for block in order[:count] for name in grouped[block]]
            step = self._in_float(base, order[:count], kept)
            if not self._pays(step):
                return None
            if step.passed:
                return step
        return None

    def training(self, fine_tune: FineTune) -> Step | None:
        starts = [s for s in self.found.steps if not s.quantized.scheme.keep_float]
        start = min(starts, key=lambda step: step.score.excess_points(self.found.gate))
        step = self.measure(f"QAT from {start.name}", "qat", fine_tune(start.quantized))
        return step if step.passed else None

    def _sensitivity(self, base: Step, block: str, grouped: dict[str, tuple[str, ...]]) -> Step:
        others = [name for other, names in grouped.items() if other != block for name in names]
        only = self.quantize(replace(base.quantized.scheme, keep_float=frozenset(others)))
        score = self.trial.measure(only.network, self.progress, f"measuring only {block} in INT8")
        without = self._in_float(base, [block], grouped[block])
        self.found.sensitivity.append(
            BlockSensitivity(block, grouped[block], score.drop_points, without.score.drop_points)
        )
        return without

    def _in_float(self, base: Step, names: Sequence[str], convolutions: Sequence[str]) -> Step:
        scheme = replace(base.quantized.scheme, keep_float=frozenset(convolutions))
        step = self.measure(f"{base.name}, {', '.join(names)} in float", "fallback", self.quantize(scheme))
        if step.passed and not self._pays(step):
            note = f"passes, but is only {step.score.speedup:.2f} times as fast as FP32"
            step = replace(step, note=note)
            self.found.steps[-1] = step
        return step

    def _gain(self, base: Step, step: Step) -> float:
        """Points of accuracy won back per share of latency lost."""
        gate = self.found.gate
        won = base.score.excess_points(gate) - step.score.excess_points(gate)
        lost = base.score.speedup / step.score.speedup - 1
        return won / max(lost, SAME_LATENCY)

    @staticmethod
    def _pays(step: Step) -> bool:
        return step.score.speedup >= LEAST_SPEEDUP

    def _least_excess(self, steps: Sequence[Step]) -> Step | None:
        return min(steps, key=lambda step: step.score.excess_points(self.found.gate), default=None)

    def _fastest(self, steps: Sequence[Step]) -> Step:
        best = max(step.score.speedup for step in steps)
        near = [step for step in steps if step.score.speedup >= best * (1 - SAME_LATENCY)]
        chosen = self._least_excess(near)
        assert chosen is not None
        return chosen
