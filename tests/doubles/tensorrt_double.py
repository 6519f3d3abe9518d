"""A double of TensorRT's Python package, for machines that have none.

    with installed(make_tensorrt("10.3", cudart)) as trt:
        ...                       # `import tensorrt` gives the double here
        world_of(trt).builds      # what was built, and with what

It is made from the listing of one version (`tensorrt_listing.VERSIONS`) and is as unforgiving as the real
bindings. It parses ONNX files for real and runs them with ONNX Runtime; its times are made up.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import tensorrt_basics
import tensorrt_builder
import tensorrt_config
import tensorrt_execution
import tensorrt_network
import tensorrt_runtime
from tensorrt_binding import NotModelledError
from tensorrt_enum import fresh, make_enum
from tensorrt_execution import WouldCrashError
from tensorrt_listing import DERIVED, LISTED, VERSIONS, listing
from tensorrt_world import Build, Faults, World

__all__ = [
    "DERIVED",
    "LISTED",
    "VERSIONS",
    "Build",
    "Faults",
    "NotModelledError",
    "World",
    "WouldCrashError",
    "installed",
    "make_tensorrt",
    "world_of",
]

ARRAYS = {"FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64}
ARRAYS.update({"BOOL": np.bool_, "UINT8": np.uint8})
SIZES = {"FLOAT": 4, "HALF": 2, "BF16": 2, "INT8": 1, "INT32": 4, "INT64": 8, "BOOL": 1, "UINT8": 1, "FP8": 1}
SIZES.update({"INT4": 0.5, "FP4": 0.5})


def make_tensorrt(version: str, cudart: Any, faults: Faults | None = None) -> ModuleType:
    """The module `tensorrt` of a version.

    Args:
        version: one of `VERSIONS`, or its beginning ("8.5", "10.3", "11.4").
        cudart: the double of CUDA's runtime, `cudart_double.CudartDouble`: the device, its memory and its
            streams.
        faults: what shall go wrong; may be changed later.
    """
    api = listing(version)
    world = World(api, cudart, faults or Faults())
    names = world.namespace
    for name in api.enums:
        names[name] = make_enum(api, name)
    names["DataType"].itemsize = property(lambda this: SIZES.get(this.name))
    modules = (
        tensorrt_basics,
        tensorrt_network,
        tensorrt_config,
        tensorrt_builder,
        tensorrt_runtime,
        tensorrt_execution,
    )
    world.bind({name: kind for module in modules for name, kind in module.BEHAVIOURS.items()})
    names["IHostMemory"] = tensorrt_basics.make_host_memory(names["DataType"].INT8)

    module = ModuleType("tensorrt")
    module.__spec__ = ModuleSpec("tensorrt", None)  # `find_spec` asks for it
    public = {name: item for name, item in names.items() if "." not in name}
    module.__dict__.update(public)
    for name, path in api.values.items():
        setattr(module, name, fresh(getattr(names["DataType"], path.split(".")[1])))
    for name in api.functions:
        setattr(module, name, _function(name))
    module.__dict__.update(__version__=api.version, __getattr__=_absent, _world=world)
    module.nptype = nptype  # type: ignore[attr-defined]
    module.volume = volume  # type: ignore[attr-defined]
    return module


def world_of(trt: ModuleType) -> World:
    """The state behind a double: its faults, what was built and what was logged."""
    return trt._world  # type: ignore[attr-defined]


@contextmanager
def installed(trt: ModuleType) -> Iterator[ModuleType]:
    """Make `import tensorrt` give the double, until the block ends."""
    before = sys.modules.get("tensorrt")
    sys.modules["tensorrt"] = trt
    try:
        yield trt
    finally:
        if before is None:
            del sys.modules["tensorrt"]
        else:
            sys.modules["tensorrt"] = before


def nptype(trt_type: Any) -> Any:
    """NumPy's type for a `DataType`."""
    if trt_type.name not in ARRAYS:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return ARRAYS[trt_type.name]


def volume(iterable: Any) -> int:
    """Product of the items."""
    product = 1
    for item in iterable:
        product *= item
    return product


def _absent(name: str) -> Any:
    raise AttributeError(f"module 'tensorrt' has no attribute '{name}'")


def _function(name: str) -> Any:
    def call(*_: object, **__: object) -> object:
        if name == "init_libnvinfer_plugins":
            return True
        raise NotModelledError(f"the TensorRT double does not do {name}")

    call.__name__ = name
    return call
