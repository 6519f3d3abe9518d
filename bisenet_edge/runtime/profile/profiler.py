"""Measure what a frame costs, stage by stage, in every precision and size at once.

The cases take turns in short bursts: on a machine that slows down, warms up or has other work, all of
them are slowed alike, so that ratios hold where milliseconds do not.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

import cv2
import numpy as np

from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.latency import MIN_SAMPLES_FOR_P99
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.overlay import Overlay
from bisenet_edge.runtime.power.reader import PowerReader
from bisenet_edge.runtime.power.trace import PowerSampler, PowerTrace, case_energy
from bisenet_edge.runtime.profile.result import CaseResult, ProfileResult, precision_ratios
from bisenet_edge.runtime.profile.stability import GPU_ENGINES, Limits, machine_reasons

CAMERA_SIZE = Size(1280, 720)
"""Size of the frames that a profile should be given: what USB and CSI cameras deliver by default."""
WARMUP_RUNS = 10
WARMUP_S = 0.5
JPEG_QUALITY = 90

Clock = Callable[[], int]
Sampler = Callable[[], Tuple[int, ...]]
"""Does the work once and tells the readings of a clock in nanoseconds: at the start, after each stage."""


@dataclass(frozen=True)
class Case:
    """A loaded network to be timed under a name; the caller opens and closes the session."""

    name: str
    session: Session


@dataclass(frozen=True)
class ProfileOptions:
    """How a profile is taken.

    Attributes:
        samples: of each case, at least 100; rounded up to whole bursts.
        burst: samples of one case before the next one's turn.
        limits: beyond them the profile is inconclusive.
    """

    samples: int = 200
    burst: int = 10
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.samples < MIN_SAMPLES_FOR_P99:
            raise UsageError(
                "too few samples to profile",
                got=self.samples,
                expected=f"at least {MIN_SAMPLES_FOR_P99}, or p99 is only the slowest frame",
                fix="bisenet-edge profile --samples 200",
            )
        if not 1 <= self.burst <= self.samples // 3:
            raise UsageError(
                "burst out of range",
                got=self.burst,
                expected=f"1 to {self.samples // 3}, so that the cases take turns",
            )


def profile(
    cases: Sequence[Case],
    frames: Sequence[np.ndarray],
    options: ProfileOptions,
    progress: Progress = quiet,
    *,
    clock_ns: Clock = time.perf_counter_ns,
    power: Optional[PowerReader] = None,
) -> ProfileResult:
    """Time every case, interleaved in one run.

    A sample is: decode a JPEG from memory (what a file or an MJPEG camera costs), resize it to the
    network, infer, bring the mask to the frame's size and draw it over the frame: what `run` does with an
    overlay, but for the video encoder.

    Args:
        cases: at least one, names distinct.
        frames: camera frames, uint8 [h, w, 3] BGR, all of one size (1280x720 unless there is a reason).
        options: number of samples, burst, drift that is tolerated.
        progress: told "warming up" and "profiling".
        clock_ns: a monotonic clock in nanoseconds.
        power: sensors to look at meanwhile, ten times a second; the caller closes it. None = none.

    Raises:
        UsageError: no cases, two of one name, no frames, or frames of several sizes or not BGR images.
        BackendError: an engine fails.
    """
    source = _check(cases, frames)
    jpegs = [_encode(frame) for frame in frames]
    lanes = [_Lane(case, jpegs, source, clock_ns) for case in cases]
    samplers = [lane.sample for lane in lanes]
    trace = None
    if power is None:
        taken = take_turns(samplers, options, progress, clock_ns=clock_ns)
    else:
        with PowerSampler(power, clock_ns) as looks:
            taken = take_turns(samplers, options, progress, clock_ns=clock_ns)
        trace = looks.trace(int(taken[0][0, 0]), int(taken[-1][-1, -1]))
    start_ns = int(taken[0][0, 0])
    results = tuple(lane.result(stamps_ns, start_ns) for lane, stamps_ns in zip(lanes, taken))
    if trace is not None:
        results = tuple(_with_energy(case, trace, options.burst) for case in results)
    return ProfileResult(
        cases=results,
        ratios=precision_ratios(results, options.burst),
        machine_reasons=machine_reasons(trace, _on_gpu(results), options.limits),
        source=source,
        burst=options.burst,
        peak_rss_mb=peak_rss_mb(),
        machine=describe_machine(),
        limits=options.limits,
        power=trace,
    )


def _on_gpu(cases: Sequence[CaseResult]) -> bool:
    return any(case.backend in GPU_ENGINES for case in cases)


def _with_energy(case: CaseResult, trace: PowerTrace, burst: int) -> CaseResult:
    return replace(case, energy=case_energy(trace, case.start_s, case.total_ms, burst))


def take_turns(
    samplers: Sequence[Sampler],
    options: ProfileOptions,
    progress: Progress = quiet,
    *,
    clock_ns: Clock = time.perf_counter_ns,
) -> List[np.ndarray]:
    """Warm every sampler up, then sample them in turns, a burst of each in every round.

    Each burst begins with one sample that is not recorded. That one refills the caches that the others
    have emptied: a network running alone would not pay for it.

    Args:
        samplers: at least one.
        options: number of samples and burst.
        progress: told "warming up" and "profiling".
        clock_ns: the clock that the samplers read.

    Returns:
        per sampler what it told, int64 [S, stages + 1], in the order it was taken; S is a multiple of the
        burst.
    """
    for done, sampler in enumerate(samplers):
        progress("warming up", done, len(samplers))
        _warm_up(sampler, clock_ns)
    progress("warming up", len(samplers), len(samplers))

    rounds = -(-options.samples // options.burst)
    taken: List[List[Tuple[int, ...]]] = [[] for _ in samplers]
    for turn in range(rounds):
        progress("profiling", turn, rounds)
        for sampler, stamps_ns in zip(samplers, taken):
            sampler()
            stamps_ns.extend(sampler() for _ in range(options.burst))
    progress("profiling", rounds, rounds)
    return [np.asarray(stamps_ns, np.int64) for stamps_ns in taken]


def _warm_up(sampler: Sampler, clock_ns: Clock) -> None:
    """Run at least 10 times and 0.5 s: first calls allocate, and a CPU needs time to clock up."""
    start_ns, runs = clock_ns(), 0
    while runs < WARMUP_RUNS or clock_ns() - start_ns < WARMUP_S * 1e9:
        sampler()
        runs += 1


def peak_rss_mb() -> float:
    """Largest resident memory that this process has had, in units of 2^20 bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not `ru_maxrss`: on Linux that starts with the memory of the process that started this one.
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


class _Lane:
    """One case and its buffers, made once."""

    def __init__(self, case: Case, jpegs: List[np.ndarray], source: Size, clock_ns: Clock) -> None:
        self._case = case
        self._jpegs = jpegs
        self._clock_ns = clock_ns
        self._manifest = case.session.artifact.manifest
        self._fit = Fit(source.hw, self._manifest.size)
        self._fitted = self._fit.new_input()
        self._overlay = Overlay(self._manifest.labels)
        self._mask = np.empty(source.hw, np.uint8)
        self._canvas = np.empty((*source.hw, 3), np.uint8)
        self._runs = 0

    def sample(self) -> Tuple[int, ...]:
        clock_ns = self._clock_ns
        jpeg = self._jpegs[self._runs % len(self._jpegs)]
        self._runs += 1
        begun = clock_ns()
        image = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
        decoded = clock_ns()
        fitted = self._fit.apply(image, self._fitted)
        resized = clock_ns()
        mask = self._case.session.infer(fitted)
        inferred = clock_ns()
        self._overlay.draw(image, self._fit.undo(mask, self._mask), self._canvas)
        return begun, decoded, resized, inferred, clock_ns()

    def result(self, stamps_ns: np.ndarray, start_ns: int) -> CaseResult:
        session = self._case.session
        return CaseResult(
            name=self._case.name,
            model=self._manifest.model,
            size=self._manifest.size,
            backend=session.backend,
            precision=session.precision,
            engine=session.describe(),
            stage_ms=np.diff(stamps_ns, axis=1) / 1e6,
            start_s=(stamps_ns[:, 0] - start_ns) / 1e9,
        )


def _check(cases: Sequence[Case], frames: Sequence[np.ndarray]) -> Size:
    """The size of the frames, when cases and frames are usable."""
    names = [case.name for case in cases]
    if not names or len(set(names)) != len(names):
        raise UsageError("cannot profile these cases", got=names, expected="at least one, names distinct")
    shapes = {frame.shape for frame in frames}
    kinds = {str(frame.dtype) for frame in frames}
    shape = next(iter(shapes), ())
    if len(shapes) != 1 or kinds != {"uint8"} or len(shape) != 3 or shape[2] != 3:
        raise UsageError(
            "cannot profile with these frames",
            got=f"{len(frames)} frames, {sorted(kinds)}, shapes {sorted(shapes)}",
            expected="at least one BGR image, uint8 [h, w, 3], all of one size",
        )
    return Size(shape[1], shape[0])


def _encode(frame: np.ndarray) -> np.ndarray:
    _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(jpeg)
