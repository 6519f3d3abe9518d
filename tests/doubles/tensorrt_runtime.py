"""Runtime, engine and inspector: what a plan is, once it is loaded."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
from tensorrt_execution import ARRAYS, find_tensor
from tensorrt_inspector import describe_engine
from tensorrt_network import DTYPES
from tensorrt_plan import read_plan
from tensorrt_world import MIB, dotted

DESERIALIZE = "IRuntime::deserializeCudaEngine"
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
        self._world.find_gpu(logger, "createInferRuntime")
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
    here, there = world.capability, tuple(plan["capability"])
    ampere = plan["compatibility"] == "AMPERE_PLUS" and here >= (8, 0) and there >= (8, 0)
    if here != there and not ampere:
        return 6, (
            "Internal Error (The engine plan file is generated on an incompatible device, expecting compute "
            f"{dotted(here)} got compute {dotted(there)}, please rebuild.)"
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
        tensor = find_tensor(self, name, "getTensorIOMode")
        return self._world.enum("TensorIOMode", tensor["mode"] if tensor else "NONE")

    def get_tensor_shape(self: Any, name: str) -> Any:
        tensor = find_tensor(self, name, "getTensorShape")
        return self._world.namespace["Dims"](tensor["shape"] if tensor else [])

    def get_tensor_dtype(self: Any, name: str) -> Any:
        tensor = find_tensor(self, name, "getTensorDataType")
        dtype = DTYPES[tensor["dtype"]] if tensor else "FLOAT"
        return self._world.enum("DataType", dtype)

    def get_tensor_location(self: Any, name: str) -> Any:
        find_tensor(self, name, "getTensorLocation")
        return self._world.enum("TensorLocation", "DEVICE")

    def get_tensor_format(self: Any, name: str, profile_index: int = 0) -> Any:
        find_tensor(self, name, "getTensorFormat")
        return self._world.enum("TensorFormat", "LINEAR")

    def get_tensor_format_desc(self: Any, name: str, profile_index: int = 0) -> str:
        tensor = find_tensor(self, name, "getTensorFormatDesc")
        names = {"float": "FP32", "half": "FP16"}
        dtype = tensor["dtype"] if tensor else "float"
        return f"Row major linear {names.get(dtype, dtype.upper())} format (kLINEAR)"

    def get_tensor_bytes_per_component(self: Any, name: str, profile_index: int = 0) -> int:
        tensor = find_tensor(self, name, "getTensorBytesPerComponent")
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
    "EngineInspector": EngineInspector,
}
