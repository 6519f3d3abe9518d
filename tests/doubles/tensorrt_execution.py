"""Execution contexts: a plan is run by ONNX Runtime, in device memory, when the stream comes to it."""

from __future__ import annotations

import os
from typing import Any, ClassVar

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from tensorrt_world import call_back

ARRAYS = {"float": np.float32, "half": np.float16, "int8": np.int8, "uint8": np.uint8, "int32": np.int32}
ARRAYS.update({"int64": np.int64, "bool": np.bool_})
ENQUEUE = "IExecutionContext::enqueueV3"


class WouldCrashError(AssertionError):
    """The real library would read or write memory that is not the device's: the process would die."""


def find_tensor(engine: Any, name: str, function: str) -> dict[str, Any] | None:
    """A tensor of the plan by name; None, with the error logged, if there is none."""
    for tensor in engine._s["plan"]["tensors"]:
        if tensor["name"] == name:
            return tensor
    text = f"Given invalid tensor name: {name}. Get valid tensor names with getIOTensorName()"
    engine._world.error(engine._s["logger"], f"ICudaEngine::{function}", 3, text)
    return None


def _session(engine: Any) -> Any:
    """ONNX Runtime on the engine's model, set as the reference backend sets it."""
    if not engine._s["session"]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if b"QuantizeLinear" in engine._s["model"]:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        engine._s["session"].append(
            onnxruntime.InferenceSession(
                engine._s["model"],
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["WeightBiasQuantization"],
            )
        )
    return engine._s["session"][0]


class IExecutionContext:
    defaults: ClassVar = {
        "name": "",
        "debug_sync": False,
        "error_recorder": None,
        "profiler": None,
        "enqueue_emits_profile": True,
        "active_optimization_profile": 0,
        "persistent_cache_limit": 0,
        "all_binding_shapes_specified": True,
        "all_shape_inputs_specified": True,
    }

    def get_engine(self: Any) -> Any:
        return self._s["engine"]

    def set_input_shape(self: Any, name: str, shape: Any) -> bool:
        engine = self._s["engine"]
        tensor = find_tensor(engine, name, "setInputShape")
        if tensor is None or tensor["mode"] != "INPUT":
            return False
        if list(shape) != tensor["shape"]:
            words = (
                f"Static dimension mismatch while setting input shape for {name}. Set dimensions are "
                f"{list(shape)}. Expected dimensions are {tensor['shape']}."
            )
            text = f"Parameter check failed, condition: engineDims.d[i] == dims.d[i]. {words}"
            self._world.error(engine._s["logger"], "IExecutionContext::setInputShape", 3, text)
            return False
        self._s["shapes"][name] = list(shape)
        return True

    def get_tensor_shape(self: Any, name: str) -> Any:
        return self._s["engine"].get_tensor_shape(name)

    def get_tensor_strides(self: Any, name: str) -> Any:
        shape = list(self._s["engine"].get_tensor_shape(name))
        return self._world.namespace["Dims"]([int(np.prod(shape[i + 1 :])) for i in range(len(shape))])

    def set_tensor_address(self: Any, name: str, memory: int) -> bool:
        tensor = find_tensor(self._s["engine"], name, "setTensorAddress")
        if tensor is None:
            return False
        if memory:
            _view(self._world.cudart, memory, tensor)
        self._s["addresses"][name] = memory
        return True

    def get_tensor_address(self: Any, name: str) -> int:
        return self._s["addresses"].get(name, 0)

    def infer_shapes(self: Any) -> list[str]:
        return []  # the shapes of our networks are static

    def execute_async_v3(self: Any, stream_handle: int) -> bool:
        world, engine = self._world, self._s["engine"]
        logger = engine._s["logger"]
        for tensor in engine._s["plan"]["tensors"]:
            if not self._s["addresses"].get(tensor["name"]):
                kind = tensor["mode"].lower()
                text = (
                    f"Address is not set for {kind} tensor {tensor['name']}. Call "
                    f"set{kind.title()}TensorAddress or setTensorAddress before enqueue/execute."
                )
                world.error(logger, ENQUEUE, 3, f"Parameter check failed, condition: address. {text}")
                return False
        world.runs += 1
        limit = world.faults.execute_after
        if limit is not None and world.runs > limit:
            words = "Cuda Runtime (an illegal memory access was encountered)"
            world.error(logger, ENQUEUE, 1, words)
            return False
        if not stream_handle:
            world.log(
                logger,
                "WARNING",
                "Using default stream in enqueueV3() may lead to performance issues due to additional calls "
                "to cudaStreamSynchronize() by TensorRT to ensure correct synchronization. Please use "
                "non-default stream instead.",
            )
        addresses = dict(self._s["addresses"])
        emits = self._s.get("enqueue_emits_profile", True)
        profiled = self._s.get("profiler") is not None and emits
        if profiled and world.cudart.capturing():
            words = "Cuda Runtime (operation not permitted when stream is capturing)"
            world.error(logger, ENQUEUE, 1, words)
            return False
        code = world.cudart.enqueue(stream_handle, lambda: _run(self, addresses, emits))
        if code:
            world.error(logger, ENQUEUE, 1, f"Cuda Runtime (error {code})")
            return False
        if profiled:  # then TensorRT waits for the stream itself, to read its clocks
            world.cudart.cudaStreamSynchronize(stream_handle)
        return True

    def report_to_profiler(self: Any) -> bool:
        if self._s.get("profiler") is None or not self._s.pop("unreported", False):
            words = "There is no profile to report: enqueue first, with a profiler attached"
            logger = self._s["engine"]._s["logger"]
            self._world.error(logger, "IExecutionContext::reportToProfiler", 3, words)
            return False
        _report(self)
        return True


def _view(cudart: Any, address: int, tensor: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(ARRAYS[tensor["dtype"]])
    count = int(np.prod(tensor["shape"]))
    try:
        return cudart.view(address, count * dtype.itemsize).view(dtype).reshape(tensor["shape"])
    except Exception as error:
        words = f"tensor {tensor['name']} is bound to {address:#x}: {error}"
        raise WouldCrashError(words) from error


def _run(context: Any, addresses: dict[str, int], emits: bool) -> None:
    engine, cudart = context._s["engine"], context._world.cudart
    views = {t["name"]: _view(cudart, addresses[t["name"]], t) for t in engine._s["plan"]["tensors"]}
    inputs = {t["name"]: views[t["name"]] for t in engine._s["plan"]["tensors"] if t["mode"] == "INPUT"}
    outputs = [t["name"] for t in engine._s["plan"]["tensors"] if t["mode"] == "OUTPUT"]
    for name, value in zip(outputs, _session(engine).run(outputs, inputs)):
        views[name][...] = value
    if context._s.get("profiler") is not None:
        if emits:
            _report(context)
        else:
            context._s["unreported"] = True


def _report(context: Any) -> None:
    plan, profiler = context._s["engine"]._s["plan"], context._s["profiler"]
    for layer, ms in zip(plan["layers"], plan["times"]):
        call_back("report_layer_time", profiler.report_layer_time, layer["Name"], ms)


BEHAVIOURS = {"IExecutionContext": IExecutionContext}
