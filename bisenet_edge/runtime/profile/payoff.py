"""INT8 must pay: is it faster here than the fastest floating point that this machine has?"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Dict, Mapping, Sequence, Tuple

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.latency import LatencySummary
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends import choose_backend, native_float16, open_session
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.profile.profiler import Clock, ProfileOptions, Sampler, take_turns
from bisenet_edge.runtime.profile.result import ratio_of_medians
from bisenet_edge.runtime.selftest import read_golden

OPTIONS = ProfileOptions(samples=100, burst=5)
"""Short bursts: the interval is made of whole rounds, and twenty say more of its width than ten."""
ENGINES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}


@dataclass(frozen=True)
class Payoff:
    """Which flavour should run by default on this machine, and why.

    Attributes:
        chosen: "int8", or the floating-point flavour that is faster.
        reason: one sentence with the figures.
        backend: name of the engine that ran them.
        machine: `describe_machine`.
        cases: (flavour, its times of `Session.infer`), in the order they took turns.
        against: the floating-point flavour with the lowest median.
        ratio: median time of INT8 over that of `against` (0.5: twice as fast).
        low, high: 95 % bootstrap interval of `ratio`.
    """

    chosen: str
    reason: str
    backend: str
    machine: Dict[str, Any]
    cases: Tuple[Tuple[str, LatencySummary], ...]
    against: str
    ratio: float
    low: float
    high: float

    @property
    def conclusive(self) -> bool:
        """Whether one of the two is faster beyond the noise of the measurement."""
        return self.high < 1 or self.low > 1

    def to_json(self) -> Dict[str, Any]:
        return {
            "chosen": self.chosen,
            "reason": self.reason,
            "backend": self.backend,
            "machine": self.machine,
            "cases": [
                {"precision": name, "p50_ms": round(times.p50_ms, 4), "p90_ms": round(times.p90_ms, 4)}
                for name, times in self.cases
            ],
            "int8_over_float": round(self.ratio, 4),
            "ci95": [round(self.low, 4), round(self.high, 4)],
            "float": self.against,
            "conclusive": self.conclusive,
        }


def int8_pays(
    artifact: Artifact,
    *,
    backend: str = "auto",
    threads: int = 0,
    progress: Progress = quiet,
    clock_ns: Clock = time.perf_counter_ns,
) -> Payoff:
    """Time INT8, the half-precision float that the machine computes natively and FP32, interleaved.

    On TensorRT without FP32: building its engine takes minutes, and FP16 is faster.

    A sample is one `Session.infer` of a golden frame: what surrounds the network costs the same in every
    precision. Nothing is said of accuracy: whether a flavour passes its gate is the caller's to ask.

    Args:
        artifact: with INT8 and golden frames.
        backend: engine, one of `backends.BACKENDS`.
        threads: CPU threads; 0 = as many as the process may use.
        progress: told "warming up" and "profiling".
        clock_ns: a monotonic clock in nanoseconds.

    Raises:
        ArtifactError: no INT8 model or no golden frames.
        UsageError: unknown backend.
        BackendError: an engine is not installed, refuses a model or fails.
    """
    engine = choose_backend(backend)
    frames = [frame for frame, _ in read_golden(artifact, "int8")]
    fp32 = "" if engine == "tensorrt" else "fp32"
    flavours = [flavour for flavour in ("int8", native_float16(engine), fp32) if flavour]
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(open_session(artifact, flavour, backend=engine, threads=threads))
            for flavour in flavours
        ]
        samplers = [_sampler(session, frames, clock_ns) for session in sessions]
        taken = take_turns(samplers, OPTIONS, progress, clock_ns=clock_ns)
    times_ms = {flavour: np.diff(stamps)[:, 0] / 1e6 for flavour, stamps in zip(flavours, taken)}
    return decide(times_ms, OPTIONS.burst, engine, describe_machine())


def decide(times_ms: Mapping[str, np.ndarray], burst: int, backend: str, machine: Dict[str, Any]) -> Payoff:
    """Choose a flavour: INT8, unless a floating-point one is faster beyond the noise.

    Args:
        times_ms: flavour -> float64 [S], as `take_turns` took them: "int8" and at least one other.
        burst: samples taken of one flavour before the next one's turn; S is a multiple of it.
        backend: name of the engine.
        machine: `describe_machine`.
    """
    floats = [flavour for flavour in times_ms if flavour != "int8"]
    fastest = min(floats, key=lambda flavour: float(np.median(times_ms[flavour])))
    ratio, low, high = ratio_of_medians(times_ms["int8"], times_ms[fastest], burst)
    name = fastest.upper()
    figures = f"INT8 takes {ratio:.2f} of {name}'s time (95 % interval {low:.2f} to {high:.2f})"
    figures += f" on {_where(backend, machine)}"
    chosen = "int8"
    if low > 1:
        chosen, figures = fastest, f"{figures}: {name} is faster here"
    elif high >= 1:
        figures += ": not clearly faster here, kept for its size and the target's sake"
    cases = tuple((flavour, LatencySummary.of(times.tolist())) for flavour, times in times_ms.items())
    return Payoff(chosen, figures, backend, machine, cases, fastest, ratio, low, high)


def _where(backend: str, machine: Mapping[str, Any]) -> str:
    version = machine["packages"].get(backend, "")
    engine = f"{ENGINES.get(backend, backend)} {version}".rstrip()
    return f"{engine}, {machine['board'] or machine['cpu']}"


def _sampler(session: Session, frames: Sequence[np.ndarray], clock_ns: Clock) -> Sampler:
    following = cycle(frames)

    def sample() -> Tuple[int, ...]:
        frame = next(following)
        begun_ns = clock_ns()
        session.infer(frame)
        return begun_ns, clock_ns()

    return sample
