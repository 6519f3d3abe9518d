"""OpenVINO on a CPU: runs the very Q/DQ graph that TensorRT builds from, with real INT8 convolutions.

The graph is cut at `logits` and finished by the exact cell argmax: up-sampling all classes to full size
costs as much as the network.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict

import numpy as np

from bisenet_edge import __version__
from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.backends.base import BF16, Session
from bisenet_edge.runtime.backends.openvino_input import take_codes
from bisenet_edge.runtime.backends.openvino_quantizers import (
    quantize_before_pooling,
    round_weights,
    use_unsigned_codes,
)
from bisenet_edge.runtime.backends.pixel_blocks import FrameWriter
from bisenet_edge.runtime.cache_folder import compiled_model, seal
from bisenet_edge.runtime.cell_argmax import CellArgmax
from bisenet_edge.runtime.machine import int8_instructions

INT8_TYPES = ("i8", "u8")


def has_bf16() -> bool:
    """Whether this CPU computes BF16 natively."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _key(model_sha256: str, version: str, settings: Dict[str, Any]) -> str:
    """Of a compiled model: what it is made from and for; our own rewriting of graphs is in our version."""
    made_for = [model_sha256, version, __version__, sorted(settings.items())]
    return hashlib.sha256(json.dumps(made_for).encode()).hexdigest()[:32]


class OpenVinoSession(Session):
    """An artifact's "int8" or "fp32" model, or the latter in "bf16", on the CPU plugin of OpenVINO."""

    backend = "openvino"

    def __init__(
        self, artifact: Artifact, precision: str, threads: int = 0, *, throughput: bool = False
    ) -> None:
        import openvino

        half = precision == BF16
        if half and not has_bf16():
            raise BackendError(
                "this CPU does not compute BF16 natively",
                got=precision,
                expected="AMX or AVX-512 with BF16",
                fix="--precision int8",
            )
        self.version = str(openvino.__version__)
        settings: Dict[str, Any] = {
            # Latency: all cores work on one frame. Throughput: on several, and on a few cores each.
            "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
            # Unless BF16 was asked for, what the graph leaves in floating point is computed in FP32: on
            # CPUs with BF16 the plugin would lower it silently, and "fp32" would not be FP32.
            "INFERENCE_PRECISION_HINT": BF16 if half else "f32",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        path = artifact.model_path("fp32" if half else precision)
        # Which is faster depends on the CPU, and a cache may travel with a home folder.
        signed_sums = precision == "int8" and "amx_int8" in int8_instructions()
        made_for = {**settings, "signed_sums": signed_sums}
        kept = compiled_model(_key(artifact.manifest.files[path.name], self.version, made_for))
        if kept is not None:
            settings["CACHE_DIR"] = str(kept)
        try:
            core = openvino.Core()
            model = _cut_at_logits(core.read_model(str(path)))
            round_weights(model)
            quantize_before_pooling(model)
            use_unsigned_codes(model, signed_sums=signed_sums)
            takes_codes = take_codes(model)
            self._compiled = _compile(core, model, settings, whole_sums=signed_sums)
        except RuntimeError as error:
            raise BackendError("OpenVINO refuses a model", got=f"{path}: {error}") from error
        if kept is not None:
            seal(kept)
        if throughput:
            # One more than are computed at a time: it waits while the tail of a finished one is made.
            self.in_flight = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + 1
        super().__init__(artifact, precision)
        self._lanes = [_Lane(self._compiled, takes_codes) for _ in range(self.in_flight)]
        classes, height, width = self._lanes[0].logits.shape
        manifest = artifact.manifest
        self._tail = CellArgmax(classes, (height, width), manifest.size.hw, manifest.logits_stride)

    def _submit(self, frame: np.ndarray, mask: np.ndarray) -> None:
        lane = self._lanes[self._submitted % self.in_flight]
        lane.write(frame)
        if self.in_flight == 1:
            lane.request.infer()  # there is nothing to do meanwhile
        else:
            lane.request.start_async()

    def _finish(self, mask: np.ndarray) -> None:
        lane = self._lanes[(self._submitted - self.pending - 1) % self.in_flight]
        if self.in_flight > 1:
            lane.request.wait()
        self._tail(lane.logits, mask)

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self._tail(self.run_network(frame), mask)

    def _logits_of(self, frame: np.ndarray) -> np.ndarray:
        return self.run_network(frame)

    def run_network(self, frame: np.ndarray) -> np.ndarray:
        """Logits of one frame (uint8 [H, W, 3]): float32 [C, h, w], valid until the next call."""
        lane = self._lanes[0]
        lane.write(frame)
        lane.request.infer()
        return lane.logits

    def describe(self) -> Dict[str, Any]:
        """Engine, version, and from the execution graph: convolutions that run in INT8 (and which do not),
        and in BF16.
        """
        total, bf16, floating = 0, 0, []
        for operation in self._compiled.get_runtime_model().get_ordered_ops():
            info = operation.get_rt_info()
            if info["layerType"].astype(str) not in ("Convolution", "Deconvolution"):
                continue
            total += 1
            runs_in = info["runtimePrecision"].astype(str)
            bf16 += runs_in == BF16
            if runs_in not in INT8_TYPES:
                floating.append(operation.get_friendly_name())
        return {
            **super().describe(),
            "version": self.version,
            "threads": int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            "convolutions": total,
            "convolutions_int8": total - len(floating),
            "convolutions_bf16": bf16,
            "convolutions_float": floating,
        }

    def _close(self) -> None:
        for lane in self._lanes[:]:
            lane.request.cancel()
        del self._lanes, self._compiled


class _Lane:
    """One request, and the memory that it reads and writes.

    Attributes:
        write: copies a frame (uint8 [H, W, 3]) into it.
        logits: float32 [C, h, w].
    """

    def __init__(self, compiled: Any, takes_codes: bool) -> None:
        self.request = compiled.create_infer_request()
        self.logits: np.ndarray = self.request.get_output_tensor().data[0]
        pixels = self.request.get_input_tensor().data[0].view(np.uint8)
        self.write = FrameWriter(pixels, signed=takes_codes).write


def _compile(core: Any, model: Any, settings: Dict[str, Any], *, whole_sums: bool) -> Any:
    """Compile for the CPU; `whole_sums`: residual sums become part of the convolutions in front of them."""
    if not whole_sums:
        return core.compile_model(model, "CPU", settings)
    try:
        # Its generator of element-wise kernels ("snippets") takes the sums first otherwise.
        return core.compile_model(model, "CPU", {**settings, "SNIPPETS_MODE": "DISABLE"})
    except RuntimeError as error:
        if "SNIPPETS_MODE" not in str(error):  # a setting of the plugin's own, which another version may lack
            raise
        return core.compile_model(model, "CPU", settings)


def _cut_at_logits(model: Any) -> Any:
    import openvino

    for operation in model.get_ordered_ops():
        for output in operation.outputs():
            if "logits" in output.get_names():
                result = openvino.opset13.result(output)
                return openvino.Model([result], model.get_parameters(), "bisenet-edge")
    raise BackendError(
        "a model has no tensor named 'logits'",
        expected="a graph made by bisenet-edge export",
        fix="export it again",
    )
