"""`tensorrt::quantize_op`, the one form of INT8 that Torch-TensorRT's converters know.

NVIDIA's ModelOpt defines the operator. Torch-TensorRT has a converter for it, and leaves quantized weights
unfolded, only where ModelOpt could be imported. Without ModelOpt nothing can be compiled; the graph can still
be made and run, so then the operator is defined here, under the same signature.

The kernel is ours either way. Torch-TensorRT's lowering runs the operator on the weights (and throws the
result away), and ModelOpt's kernel is a CUDA extension that is compiled when it is first called: on a machine
without nvcc, or with the weights on the CPU, that call fails.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from bisenet_edge.errors import MissingDependencyError
from bisenet_edge.toolchain.quant.fake_quant import QMAX, QMIN

NAME = "tensorrt::quantize_op"
SCHEMA = (
    "(Tensor input, Tensor amax, int num_bits, int exponent_bits, bool unsigned, bool narrow_range) -> Tensor"
)
MODELOPT = "modelopt.torch.quantization"
# ModelOpt 0.47 imports the last two without declaring them.
INSTALL_MODELOPT = "pip install 'nvidia-modelopt>=0.27.1,<1' requests huggingface_hub"
INT8 = (8, 0, False, False)
"""num_bits, exponent_bits, unsigned, narrow_range. TensorRT clamps to -128..127, as our fake quantizers do,
and a black pixel's code is -128: the narrow range would lose it."""


def operator() -> OpOverload[..., Any]:
    """The operator: ModelOpt's where that is installed, else ours.

    Raises:
        MissingDependencyError: ModelOpt is installed and cannot be imported.
    """
    # ModelOpt first: where the operator exists already, its own definition fails, and with it those that
    # Torch-TensorRT looks for beside this one.
    if has_modelopt():
        import_modelopt()
    if not hasattr(torch.ops.tensorrt, "quantize_op"):
        torch.library.define(NAME, SCHEMA)
        torch.library.register_fake(NAME, _shape)
        torch.library.impl(NAME, ("cpu", "cuda"), _round)
    elif has_modelopt():
        _replace_kernel()
    found: OpOverload[..., Any] = torch.ops.tensorrt.quantize_op.default
    return found


def has_modelopt() -> bool:
    """Whether ModelOpt is installed; it is not imported."""
    return importlib.util.find_spec("modelopt") is not None


def import_modelopt() -> None:
    """Import ModelOpt's quantization, which registers the operator (about 5 s).

    Raises:
        MissingDependencyError: it is not installed, or lacks a package.
    """
    try:
        importlib.import_module(MODELOPT)
    except ImportError as error:
        raise _modelopt_missing(str(error)) from error
    # Torch-TensorRT asserts both before it keeps quantized weights from being folded into float ones.
    for name in ("quantize_op", "dynamic_block_quantize_op"):
        if not hasattr(torch.ops.tensorrt, name):
            raise _modelopt_missing(f"ModelOpt has not defined tensorrt::{name}")


def _modelopt_missing(got: str) -> MissingDependencyError:
    return MissingDependencyError(
        "Torch-TensorRT takes INT8 only where NVIDIA's ModelOpt can be imported",
        got=got,
        expected=MODELOPT,
        fix=INSTALL_MODELOPT,
    )


@functools.cache
def _replace_kernel() -> torch.library.Library:
    # A registration lasts as long as its library object: the cache keeps it.
    library = torch.library.Library("tensorrt", "IMPL")
    for device in ("CPU", "CUDA"):
        library.impl("quantize_op", _round, device, allow_override=True)
    return library


def _round(
    x: Tensor,
    amax: Tensor,
    num_bits: int,
    exponent_bits: int,
    unsigned: bool,
    narrow_range: bool,
) -> Tensor:
    """What TensorRT's Q/DQ layers compute; `amax` is a scalar, or [C, 1, ...] for axis 0."""
    if (num_bits, exponent_bits, unsigned, narrow_range) != INT8:
        raise NotImplementedError("only signed INT8 over -128..127")
    scale = amax.float().reshape(-1) / QMAX
    zero = torch.zeros(scale.numel(), dtype=torch.int32, device=x.device)
    if scale.numel() == 1:
        rounded = torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, QMIN, QMAX)
    else:
        rounded = torch.fake_quantize_per_channel_affine(x.float(), scale, zero, 0, QMIN, QMAX)
    return rounded.to(x.dtype)


def _shape(
    x: Tensor,
    amax: Tensor,
    num_bits: int,
    exponent_bits: int,
    unsigned: bool,
    narrow_range: bool,
) -> Tensor:
    return torch.empty_like(x)
