"""ONNX Runtime on a CPU: the reference for what a graph means.

For INT8 it runs the Q/DQ graph as it stands, without the fusions that would change its rounding; that is
slower than FP32 (1.8 times, measured on x86): for speed take OpenVINO, or --precision fp32 here.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Tuple, Type

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.backends.base import Session

# ONNX Runtime 1.30 and later carry a telemetry uploader that reads this before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Rounds biases that the graph leaves in floating point to INT32 multiples of input scale x weight scale.
# In FP16 that product underflows: 66 % of the mask's pixels were right instead of 98 %.
CHANGES_VALUES = ["WeightBiasQuantization"]


class OnnxRuntimeSession(Session):
    """Any flavour of an artifact on ONNX Runtime's CPU provider, mask computed inside the graph."""

    backend = "onnxruntime"

    def __init__(self, artifact: Artifact, precision: str, threads: int = 0) -> None:
        super().__init__(artifact, precision)
        import onnxruntime

        self.version = str(onnxruntime.__version__)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        disabled = []
        if precision.startswith("int8"):
            disabled = CHANGES_VALUES
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        path = artifact.model_path(precision)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
            )
        except _refusals() as error:
            raise BackendError("ONNX Runtime refuses a model", got=f"{path}: {error}") from error

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        mask[:] = self._session.run(["mask"], {"frame": frame[None]})[0][0]

    def describe(self) -> Dict[str, Any]:
        return {**super().describe(), "version": self.version}

    def _close(self) -> None:
        del self._session


def _refusals() -> Tuple[Type[Exception], ...]:
    # ONNX Runtime's exceptions share no base class but Exception.
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        RuntimeError,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
    )
