"""Runtime, engine, execution context and inspector: a plan is run by ONNX Runtime in device memory."""

from __future__ import annotations

import json
import os
from typing import Any, ClassVar

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from tensorrt_inspector import describe_engine
from tensorrt_network import DTYPES
from tensorrt_plan import read_plan
from tensorrt_world import MIB, call_back

ARRAYS = {"float": np.float32, "half": np.float16, "int8": np.int8, "uint8": np.uint8, "int32": np.int32}
ARRAYS.update({"int64": np.int64, "bool": np.bool_})
DESERIALIZE = "IRuntime::deserializeCudaEngine"
ENQUEUE = "IExecutionContext::enqueueV3"
VERSION_TAGS = {
    (8, 5): 232,
    (8, 6): 236,
    (10, 3): 239,
    (10, 13): 242,
    (10, 16): 243,
    (11, 0): 250,
    (11, 4): 251,
}
"""Serialization versions by release: 232 and 236 were seen, the others only differ from one another."""


class WouldCrashError(AssertionError):
    """The real library would read or write memory that is not the device's: the process would die."""


class Runtime:
    defaults: ClassVar = {
        "error_recorder": None,
        "gpu_allocator": None,
        "DLA_core": -1,
        "num_DLA_cores": 0,
        "max_threads": 1,
        "engine_host_code_allowed": False,
        "temporary_directory": "/tmp",
    }

    def __init__(self: Any, logger: Any) -> None:
        self._s["logger"] = logger

    def get_logger(self: Any) -> Any:
        return self._s["logger"]

    def deserialize_cuda_engine(self: Any, serialized_engine: Any = None, **others: Any) -> Any:
        world, logger = self._world, self._s["logger"]
        if serialized_engine is None:
            raise NotImplementedError("the TensorRT double reads plans from buffers only")
        if world.faults.null_engine:
            return None
        content = bytes(serialized_engine)
        try:
            plan, model = read_plan(content)
            trouble = _unfit(plan, world, self._s.get("engine_host_code_allowed", False))
        except ValueError as error:
            trouble = (1, f"Serialization ({error})")
        if trouble is not None:
            world.error(logger, DESERIALIZE, *trouble)
            world.error(logger, DESERIALIZE, 4, "Internal Error (Engine deserialization failed.)")
            return None
        if plan["device"] != world.cudart.name:
            world.log(
                logger,
                "WARNING",
                "Using an engine plan file across different models of devices is not recommended and is "
                "likely to affect performance or even cause errors.",
            )
        world.log(logger, "INFO", f"Loaded engine size: {len(content) // MIB} MiB")
        return world.make(
            "ICudaEngine", plan=plan, model=model, content=content, logger=logger, runtime=self, session=[]
        )


def _unfit(plan: dict[str, Any], world: Any, host_code: bool) -> tuple[int, str] | None:
    """Why a plan cannot run here: error code and words; None if it can."""
    built = tuple(int(part) for part in plan["version"].split("."))
    compatible = plan["compatible"]
    if compatible and plan["lean"] and not host_code:
        return 9, (
            "Internal Error (Cannot deserialize engine with lean runtime since "
            "IRuntime::getEngineHostCodeAllowed() is false.)"
        )
    newer = compatible and built <= world.release and world.release[0] - built[0] <= 2
    if built[:2] != world.release[:2] and not newer:
        note = f"Current Version: {VERSION_TAGS[world.release[:2]]}, "
        note += f"Serialized Engine Version: {VERSION_TAGS.get(built[:2], 0)}"
        return 1, (
            "Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed."
            f"Version tag does not match. Note: {note})"
        )
    if built != world.release and not newer:
        return 6, (
            "Internal Error (The engine plan file is not compatible with this version of TensorRT, expecting "
            f"library version {world.api.version} got {plan['version']}, please rebuild.)"
        )
    here, there = tuple(world.cudart.compute_capability), tuple(plan["capability"])
    ampere = plan["compatibility"] == "AMPERE_PLUS" and here >= (8, 0) and there >= (8, 0)
    if here != there and not ampere:
        return 6, (
            "Internal Error (The engine plan file is generated on an incompatible device, expecting compute "
            f"{world.compute_capability} got compute {'.'.join(map(str, there))}, please rebuild.)"
        )
    return None


class ICudaEngine:
    defaults: ClassVar = {
        "name": "Unnamed Network 0",
        "num_optimization_profiles": 1,
        "refittable": False,
        "num_aux_streams": 0,
        "error_recorder": None,
        "tactic_sources": 0,
        "has_implicit_batch_dimension": False,
        "streamable_weights_size": 0,
        "max_batch_size": 1,
    }

    def get_num_io_tensors(self: Any) -> int:
        return len(self._s["plan"]["tensors"])

    def get_num_layers(self: Any) -> int:
        return len(self._s["plan"]["layers"])

    def get_device_memory_size(self: Any) -> int:
        return self._s["plan"]["memory"]

    def get_device_memory_size_v2(self: Any) -> int:
        return self._s["plan"]["memory"]

    def get_profiling_verbosity(self: Any) -> Any:
        return self._world.enum("ProfilingVerbosity", self._s["plan"]["verbosity"])

    def get_hardware_compatibility_level(self: Any) -> Any:
        return self._world.enum("HardwareCompatibilityLevel", self._s["plan"]["compatibility"])

    def get_engine_capability(self: Any) -> Any:
        return self._world.enum("EngineCapability", "STANDARD")

    def get_tensor_name(self: Any, index: int) -> str | None:
        tensors = self._s["plan"]["tensors"]
        if not 0 <= index < len(tensors):
            words = f"Parameter check failed, condition: index ({index}) < getNbIOTensors()"
            self._world.error(self._s["logger"], "ICudaEngine::getIOTensorName", 3, words)
            return None
        return tensors[index]["name"]

    def get_tensor_mode(self: Any, name: str) -> Any:
        tensor = _tensor(self, name, "getTensorIOMode")
        return self._world.enum("TensorIOMode", tensor["mode"] if tensor else "NONE")

    def get_tensor_shape(self: Any, name: str) -> Any:
        tensor = _tensor(self, name, "getTensorShape")
        return self._world.namespace["Dims"](tensor["shape"] if tensor else [])

    def get_tensor_dtype(self: Any, name: str) -> Any:
        tensor = _tensor(self, name, "getTensorDataType")
        dtype = DTYPES[tensor["dtype"]] if tensor else "FLOAT"
        return self._world.enum("DataType", dtype)

    def get_tensor_location(self: Any, name: str) -> Any:
        _tensor(self, name, "getTensorLocation")
        return self._world.enum("TensorLocation", "DEVICE")

    def get_tensor_format(self: Any, name: str, profile_index: int = 0) -> Any:
        _tensor(self, name, "getTensorFormat")
        return self._world.enum("TensorFormat", "LINEAR")

    def get_tensor_format_desc(self: Any, name: str, profile_index: int = 0) -> str:
        tensor = _tensor(self, name, "getTensorFormatDesc")
        names = {"float": "FP32", "half": "FP16"}
        dtype = tensor["dtype"] if tensor else "float"
        return f"Row major linear {names.get(dtype, dtype.upper())} format (kLINEAR)"

    def get_tensor_bytes_per_component(self: Any, name: str, profile_index: int = 0) -> int:
        tensor = _tensor(self, name, "getTensorBytesPerComponent")
        return np.dtype(ARRAYS[tensor["dtype"]]).itemsize if tensor else -1

    def get_tensor_components_per_element(self: Any, name: str, profile_index: int = 0) -> int:
        return -1  # not a vectorised format

    def get_tensor_vectorized_dim(self: Any, name: str, profile_index: int = 0) -> int:
        return -1

    def is_shape_inference_io(self: Any, name: str) -> bool:
        return False

    def get_tensor_profile_shape(self: Any, name: str, profile_index: int) -> list[Any]:
        return [self.get_tensor_shape(name) for _ in range(3)]

    def create_execution_context(self: Any, strategy: Any = None, runtime_config: Any = None) -> Any:
        if self._world.faults.null_context:
            words = f"OutOfMemory (Requested size was {self._s['plan']['memory']} bytes.)"
            self._world.error(self._s["logger"], "ICudaEngine::createExecutionContext", 2, words)
            return None
        return self._world.make("IExecutionContext", engine=self, addresses={}, shapes={})

    def create_engine_inspector(self: Any) -> Any:
        return self._world.make("EngineInspector", engine=self)

    def serialize(self: Any) -> Any:
        return self._world.namespace["IHostMemory"](self._s["content"])

    def __len__(self: Any) -> int:
        return len(self._s["plan"]["tensors"])


def _tensor(engine: Any, name: str, function: str) -> dict[str, Any] | None:
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
        tensor = _tensor(engine, name, "setInputShape")
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
        tensor = _tensor(self._s["engine"], name, "setTensorAddress")
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
        world.cudart.enqueue(stream_handle, lambda: _run(self, addresses, emits))
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


class EngineInspector:
    defaults: ClassVar = {"execution_context": None, "error_recorder": None}

    def get_engine_information(self: Any, format: Any) -> str:  # noqa: A002 - the name in the bindings
        engine, world = self._s["engine"], self._world
        plan = engine._s["plan"]
        if plan["verbosity"] != "DETAILED":
            world.log(
                engine._s["logger"],
                "WARNING",
                f"The profiling verbosity was set to ProfilingVerbosity::k{plan['verbosity']} when the "
                "engine was built, so only the layer names will be returned. Rebuild the engine with "
                "ProfilingVerbosity::kDETAILED to get more verbose layer information.",
            )
        information = describe_engine(plan, world.release)
        if format.name == "ONELINE":
            lines = [layer if isinstance(layer, str) else layer["Name"] for layer in information["Layers"]]
            return "Layers:\n" + "\n".join(lines) + "\n"
        text = json.dumps(information, indent=2)
        return text[: len(text) // 2] if world.faults.bad_json else text

    def get_layer_information(self: Any, layer_index: int, format: Any) -> str:  # noqa: A002
        plan = self._s["engine"]._s["plan"]
        layers = describe_engine(plan, self._world.release)["Layers"]
        return json.dumps(layers[layer_index], indent=2)


BEHAVIOURS = {
    "Runtime": Runtime,
    "ICudaEngine": ICudaEngine,
    "IExecutionContext": IExecutionContext,
    "EngineInspector": EngineInspector,
}
