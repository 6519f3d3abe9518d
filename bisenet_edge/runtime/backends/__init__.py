"""Inference engines by name. An engine's package is imported when the engine is opened, not before."""

from __future__ import annotations

import importlib
import importlib.util
import logging

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import BackendError, unknown_name
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime import jetson
from bisenet_edge.runtime.backends.base import BF16, FP16, Session, masks_alone

log = logging.getLogger(__name__)

BACKENDS = ("auto", "tensorrt", "cpu", "openvino", "onnxruntime", "reference", "null")
PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime"}
"""Engine of a CPU -> package, the first choice first. "reference" is ONNX Runtime too, and never chosen for
speed."""


def choose_backend(name: str = "auto") -> str:
    """Turn "auto" into TensorRT where there is an NVIDIA GPU with it, else into what "cpu" means.

    "cpu" is the first engine that is installed: OpenVINO, else ONNX Runtime. On a Jetson "auto" never
    becomes a CPU engine: a robot that is ten times slower than it should be must say so.

    Raises:
        UsageError: no engine of this name.
        BackendError: none is installed, or not the one asked for, or a Jetson's TensorRT cannot be used.
    """
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    if name in ("null", "tensorrt"):
        return name
    if name == "auto" and _has_tensorrt():
        return "tensorrt"
    wanted = PACKAGES if name in ("auto", "cpu") else {name: PACKAGES.get(name, "onnxruntime")}
    for candidate, package in wanted.items():
        if importlib.util.find_spec(package) is not None:
            return candidate
    raise BackendError(
        "no inference engine is installed",
        got=f"none of: {', '.join(wanted)}",
        expected="one CPU engine",
        fix=f"pip install {next(iter(wanted.values()))}",
    )


def _has_tensorrt() -> bool:
    """Whether TensorRT and a GPU are there.

    Raises:
        BackendError: this is a Jetson, and they are not.
    """
    from bisenet_edge.runtime.cuda import CudaRuntime

    installed, gpu = importlib.util.find_spec("tensorrt") is not None, ""
    problem = "" if installed else "TensorRT is not installed for this Python"
    try:
        with CudaRuntime.open() as cuda:
            gpu = cuda.device.name
    except BackendError as error:
        problem = problem or f"{error.what} ({error.got})"
    if installed and gpu:
        return True
    if jetson.detect():
        raise BackendError(
            "this is a Jetson, but its GPU cannot be used",
            got=problem,
            expected="JetPack's TensorRT and CUDA, in the system's Python",
            fix="see what is missing: bisenet-edge doctor   (or on the CPU, far slower: --backend cpu)",
        )
    if gpu:
        log.warning("%s is here, but %s: running on the CPU", gpu, problem)
    return False


def native_float16(backend: str) -> str:
    """Name of the half-precision flavour that an engine computes natively on this machine; "" if none.

    Args:
        backend: an engine, as `choose_backend` gives it.
    """
    if backend == "tensorrt":
        return FP16
    if backend != "openvino":
        return ""
    from bisenet_edge.runtime.backends.openvino import has_bf16

    return BF16 if has_bf16() else ""


def require_logits(name: str) -> None:
    """Refuse an engine that gives masks alone, without opening it: to build one may take minutes.

    Args:
        name: one of `BACKENDS`.

    Raises:
        BackendError: the engine has no `Session.logits`, or as `choose_backend`.
        UsageError: as `choose_backend`.
    """
    chosen = choose_backend(name)
    if chosen in ("tensorrt", "null"):
        raise masks_alone(chosen)


def open_session(
    artifact: Artifact,
    precision: str = "",
    *,
    backend: str = "auto",
    threads: int = 0,
    throughput: bool = False,
    progress: Progress = quiet,
) -> Session:
    """Load an artifact into an engine.

    Args:
        artifact: what to load.
        precision: flavour ("int8", "fp32"; "fp16" on TensorRT; "bf16", the FP32 file computed in BF16, on
            OpenVINO); empty = what was found to be fastest: on TensorRT by `compile` on this device, on a
            CPU as the manifest says.
        backend: one of `BACKENDS`.
        threads: CPU threads; 0 = as many as the process may use.
        throughput: take several frames at a time where the engine can (`Session.in_flight`): more frames per
            second, and each takes longer. For files; a camera wants its newest frame soon.
        progress: told while TensorRT builds an engine that is not in the cache, which takes minutes.

    Raises:
        UsageError: unknown backend.
        BackendError: the engine is not installed, refuses the model, or has no BF16.
        ArtifactError: the artifact has no model of this precision.
    """
    chosen = choose_backend(backend)
    if chosen == "tensorrt":
        from bisenet_edge.runtime.tensorrt.compile import open_ready

        return open_ready(artifact, precision, progress)
    flavour = precision or artifact.manifest.runs
    if chosen == "null":
        from bisenet_edge.runtime.backends.null import NullSession

        return NullSession(artifact, flavour)
    if flavour == FP16 or (flavour == BF16 and chosen != "openvino"):
        raise BackendError(
            f"the engine '{chosen}' has no {flavour.upper()}",
            got=flavour,
            fix="--precision int8, or --backend openvino for BF16, --backend tensorrt for FP16",
        )
    if chosen == "openvino":
        from bisenet_edge.runtime.backends.openvino import OpenVinoSession

        return OpenVinoSession(artifact, flavour, threads, throughput=throughput)
    from bisenet_edge.runtime.backends.onnxruntime import OnnxRuntimeSession, ReferenceSession

    session = ReferenceSession if chosen == "reference" else OnnxRuntimeSession
    return session(artifact, flavour, threads)
