"""Inference engines by name. An engine's package is imported when the engine is opened, not before."""

from __future__ import annotations

import importlib
import importlib.util

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import BackendError, unknown_name
from bisenet_edge.runtime.backends.base import BF16, Session

BACKENDS = ("auto", "openvino", "onnxruntime", "reference", "null")
PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime"}
"""Engine -> package, the first choice first. "reference" is ONNX Runtime too, and never chosen for speed."""


def choose_backend(name: str = "auto") -> str:
    """Turn "auto" into the first engine that is installed: OpenVINO, else ONNX Runtime.

    Raises:
        UsageError: no engine of this name.
        BackendError: none is installed, or not the one asked for.
    """
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    if name == "null":
        return name
    wanted = PACKAGES if name == "auto" else {name: PACKAGES.get(name, "onnxruntime")}
    for candidate, package in wanted.items():
        if importlib.util.find_spec(package) is not None:
            return candidate
    raise BackendError(
        "no inference engine is installed",
        got=f"none of: {', '.join(wanted)}",
        expected="one CPU engine",
        fix=f"pip install {next(iter(wanted.values()))}",
    )


def native_float16(backend: str) -> str:
    """Name of the half-precision flavour that an engine computes natively on this machine; "" if none.

    Args:
        backend: an engine, as `choose_backend` gives it.
    """
    if backend != "openvino":
        return ""
    from bisenet_edge.runtime.backends.openvino import has_bf16

    return BF16 if has_bf16() else ""


def open_session(
    artifact: Artifact, precision: str = "", *, backend: str = "auto", threads: int = 0
) -> Session:
    """Load an artifact into an engine.

    Args:
        artifact: what to load.
        precision: flavour ("int8", "fp32", or "bf16": the FP32 file computed in BF16); empty = the
            manifest's default.
        backend: one of `BACKENDS`.
        threads: CPU threads; 0 = as many as the process may use.

    Raises:
        UsageError: unknown backend.
        BackendError: the engine is not installed, refuses the model, or has no BF16.
        ArtifactError: the artifact has no model of this precision.
    """
    chosen = choose_backend(backend)
    flavour = precision or artifact.manifest.runs
    if chosen == "openvino":
        from bisenet_edge.runtime.backends.openvino import OpenVinoSession

        return OpenVinoSession(artifact, flavour, threads)
    if flavour == BF16:
        raise BackendError(
            f"the engine '{chosen}' has no BF16", got=BF16, fix="--precision int8, or --backend openvino"
        )
    if chosen in ("onnxruntime", "reference"):
        from bisenet_edge.runtime.backends.onnxruntime import OnnxRuntimeSession, ReferenceSession

        session = ReferenceSession if chosen == "reference" else OnnxRuntimeSession
        return session(artifact, flavour, threads)
    from bisenet_edge.runtime.backends.null import NullSession

    return NullSession(artifact, flavour)
