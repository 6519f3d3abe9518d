"""Profile artifacts: open them in an engine, in every flavour, and time them on camera frames of streets."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import UsageError
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends import choose_backend, native_float16
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.power.reader import PowerReader
from bisenet_edge.runtime.profile.profiler import CAMERA_SIZE, Case, ProfileOptions, profile
from bisenet_edge.runtime.profile.result import ProfileResult
from bisenet_edge.runtime.selftest import read_golden
from bisenet_edge.runtime.streets import Scene

SCENE_SEED = 7
SCENE_FRAMES = 20

OpenSession = Callable[[Artifact, str], Session]
"""Loads one flavour of an artifact into an engine."""


def flavours(asked: Sequence[str], backend: str) -> Tuple[str, ...]:
    """What to time: what was asked for, each once, else INT8 and all floating point worth comparing.

    On TensorRT without FP32: building its engine takes minutes, and FP16 is faster.

    Raises:
        UsageError: unknown backend, or the one that computes nothing.
        BackendError: the engine is not installed.
    """
    if backend == "null":
        raise UsageError("the null engine computes no masks, so there is nothing to measure", got=backend)
    if asked:
        return tuple(dict.fromkeys(asked))
    engine = choose_backend(backend)
    half = native_float16(engine)
    fp32 = "" if engine == "tensorrt" else "fp32"
    return tuple(flavour for flavour in ("int8", half, fp32) if flavour)


def camera_frames() -> List[np.ndarray]:
    """The frames that profiles are taken with: uint8 [720, 1280, 3], BGR, the same every time."""
    scene = Scene(SCENE_SEED, CAMERA_SIZE)
    return [scene.render(second)[0] for second in range(SCENE_FRAMES)]


def profile_artifacts(
    artifacts: Sequence[Artifact],
    precisions: Sequence[str],
    open_session: OpenSession,
    options: ProfileOptions,
    progress: Progress = quiet,
    *,
    layers: bool = False,
) -> ProfileResult:
    """Time every artifact in every flavour, interleaved, with an eye on the sensors of this machine.

    Args:
        artifacts: at least one, of different names or sizes.
        precisions: flavours, at least one.
        open_session: loads one flavour of one of them.
        options: samples, burst and limits.
        progress: told "warming up" and "profiling".
        layers: time the layers too (TensorRT).

    Returns:
        cases in the order artifact by artifact, flavour by flavour.

    Raises:
        ArtifactError: an artifact has no such flavour.
        BackendError: an engine refuses a model or fails.
    """
    frames = camera_frames()
    with ExitStack() as stack:
        cases = [
            Case(
                f"{artifact.manifest.model} {artifact.manifest.size} {precision}",
                stack.enter_context(open_session(artifact, precision)),
            )
            for artifact in artifacts
            for precision in precisions
        ]
        power = stack.enter_context(PowerReader.open())
        # First: an engine that does not time layers says so before minutes of work.
        timed = [_layers(case.session) if layers else () for case in cases]
        result = profile(cases, frames, options, progress, power=power)
    return replace(result, cases=tuple(replace(c, layers=t) for c, t in zip(result.cases, timed)))


def _layers(session: Session) -> Tuple[Dict[str, Any], ...]:
    golden = [frame for frame, _ in read_golden(session.artifact, "fp32")]
    return tuple(session.time_layers(golden))
