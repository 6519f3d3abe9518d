"""Inference engines by name. An engine's package is imported when the engine is opened, not before."""

from __future__ import annotations

import importlib
import importlib.util

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import BackendError, unknown_name
from bisenet_edge.runtime.backends.base import Session

BACKENDS = ("auto", "openvino", "onnxruntime", "null")
PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime"}


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
    wanted = list(PACKAGES) if name == "auto" else [name]
    for candidate in wanted:
        if importlib.util.find_spec(PACKAGES[candidate]) is not None:
            return candidate
    raise BackendError(
        "no inference engine is installed",
        got=f"none of: {', '.join(wanted)}",
        expected="one CPU engine",
        fix=f"pip install {PACKAGES[wanted[0]]}",
    )


def open_session(
    artifact: Artifact, precision: str = "", *, backend: str = "auto", threads: int = 0
) -> Session:
    """Load an artifact into an engine.

    Args:
        artifact: what to load.
        precision: flavour ("int8", "fp32"); empty = the manifest's default.
        backend: one of `BACKENDS`.
        threads: CPU threads; 0 = as many as the process may use.

    Raises:
        UsageError: unknown backend.
        BackendError: the engine is not installed or refuses the model.
        ArtifactError: the artifact has no model of this precision.
    """
    chosen = choose_backend(backend)
    flavour = precision or artifact.manifest.precision
    if chosen == "openvino":
        from bisenet_edge.runtime.backends.openvino import OpenVinoSession

        return OpenVinoSession(artifact, flavour, threads)
    if chosen == "onnxruntime":
        from bisenet_edge.runtime.backends.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(artifact, flavour, threads)
    from bisenet_edge.runtime.backends.null import NullSession

    return NullSession(artifact, flavour)
