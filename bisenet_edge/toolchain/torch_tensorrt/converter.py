"""What Torch-TensorRT lacks for our graph: a cast to uint8, the type of the mask.

In every release so far, its own converter casts to float, int32, int64, bool, int8, float16 and bfloat16, and
a graph that ends in another type is refused (or, compiled in parts, ends in torch).
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch


@functools.cache
def register_cast_to_uint8() -> None:
    """Add the converter to Torch-TensorRT's registry, once. `torch_tensorrt` must be importable."""
    conversion = importlib.import_module("torch_tensorrt.dynamo.conversion")
    conversion.dynamo_tensorrt_converter(
        torch.ops.aten._to_copy.default,
        capability_validator=_casts_to_uint8,
        # Before its own, which is asked about the same operator.
        priority=conversion.ConverterPriority.HIGH,
    )(_cast_to_uint8)


def _casts_to_uint8(node: torch.fx.Node, settings: Any = None) -> bool:
    return node.kwargs.get("dtype") is torch.uint8


def _cast_to_uint8(
    context: Any, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> Any:
    """TensorRT makes uint8 of floating point only, at an output; class ids are exact in float32."""
    types = importlib.import_module("tensorrt").DataType
    cast = args[0]
    for kind in (types.FLOAT, types.UINT8):
        layer = context.net.add_cast(cast, kind)
        layer.name = f"{name}_to_{kind.name.lower()}"
        cast = layer.get_output(0)
    return cast
