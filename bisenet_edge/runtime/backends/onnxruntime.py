"""ONNX Runtime on a CPU, twice: as the reference for what a graph means, and as an engine.

The reference runs a file as it stands, without the fusions that would change its rounding: for INT8 that is
slower than FP32, so nothing chooses it for speed. The engine runs the same scales as
`onnxruntime_lowering` re-expresses them, and finishes with the exact cell argmax.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Tuple, Type, Union

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.backends.onnxruntime_lowering import LOGITS, ending_in_logits, lower
from bisenet_edge.runtime.backends.pixel_blocks import FrameWriter
from bisenet_edge.runtime.cell_argmax import CellArgmax

# ONNX Runtime 1.30 and later carry a telemetry uploader that reads this before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Rounds biases that the graph leaves in floating point to INT32 multiples of input scale x weight scale.
# In FP16 that product underflows: 66 % of the mask's pixels were right instead of 98 %. The engine's
# lowering does it itself, and leaves out biases that do not fit.
CHANGES_VALUES = ["WeightBiasQuantization"]
FAST = ("int8", "fp32")


class _OnnxRuntimeSession(Session):
    _session: Any

    def _load(self, model: Union[str, bytes], path: Path, threads: int, *, fuse: bool) -> Any:
        import onnxruntime

        self.version = str(onnxruntime.__version__)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads that go on spinning after a frame take the cores from what comes next: the first frame of
        # another session took 32 ms instead of 12. Stopped, they make no frame slower.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if threads:
            options.intra_op_num_threads = threads
        if not fuse:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        try:
            return onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], disabled_optimizers=CHANGES_VALUES
            )
        except _refusals() as error:
            raise BackendError("ONNX Runtime refuses a model", got=f"{path}: {error}") from error

    def describe(self) -> Dict[str, Any]:
        return {**super().describe(), "version": self.version}

    def _close(self) -> None:
        del self._session


class ReferenceSession(_OnnxRuntimeSession):
    """Any flavour of an artifact as its file has it; the mask is computed inside the graph."""

    backend = "reference"

    def __init__(self, artifact: Artifact, precision: str, threads: int = 0) -> None:
        super().__init__(artifact, precision)
        self._path, self._threads = artifact.model_path(precision), threads
        self._session = self._open_model(str(self._path))
        self._to_logits: Any = None

    def _open_model(self, model: Union[str, bytes]) -> Any:
        return self._load(model, self._path, self._threads, fuse=not self.precision.startswith("int8"))

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        mask[:] = self._session.run(["mask"], {"frame": frame[None]})[0][0]

    def _logits_of(self, frame: np.ndarray) -> np.ndarray:
        if self._to_logits is None:
            # No output of the file: a copy that ends there is loaded when it is asked for.
            self._to_logits = self._open_model(ending_in_logits(self._path))
        return np.asarray(self._to_logits.run([LOGITS], {"frame": frame[None]})[0][0], np.float32)

    def _close(self) -> None:
        super()._close()
        self._to_logits = None


class OnnxRuntimeSession(_OnnxRuntimeSession):
    """An artifact's "int8" or "fp32" model, made fast."""

    backend = "onnxruntime"

    def __init__(self, artifact: Artifact, precision: str, threads: int = 0) -> None:
        super().__init__(artifact, precision)
        path = artifact.model_path(precision)
        if precision not in FAST:
            raise BackendError(
                "a strongly typed graph is for TensorRT",
                got=precision,
                expected=" or ".join(FAST),
                fix="to compare its masks: --backend reference",
            )
        self._session = self._load(lower(path), path, threads, fuse=True)
        _, classes, height, width = self._session.get_outputs()[0].shape
        manifest = artifact.manifest
        self._tail = CellArgmax(classes, (height, width), manifest.size.hw, manifest.logits_stride)
        self._frame = np.zeros(self._session.get_inputs()[0].shape, np.uint8)
        self._writer = FrameWriter(self._frame[0], signed=False)

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self._tail(self._logits_of(frame), mask)

    def _logits_of(self, frame: np.ndarray) -> np.ndarray:
        self._writer.write(frame)
        return np.asarray(self._session.run([LOGITS], {"frame": self._frame})[0][0])


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
