"""The network as a `torch.export` program in which every fake quantizer is a `tensorrt::quantize_op`."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.toolchain.models.network import input_multiple
from bisenet_edge.toolchain.onnx_graph import FrameToMask
from bisenet_edge.toolchain.quant.fake_quant import (
    SMALLEST_AMAX,
    QuantConv2d,
    QuantConvTranspose2d,
    Quantizer,
)
from bisenet_edge.toolchain.torch_tensorrt.quantize_op import INT8, operator


def export_program(core: fx.GraphModule, size: Size, *, half: bool, device: str = "cpu") -> ExportedProgram:
    """Export a folded (and perhaps quantized) network with the graph contract.

    Args:
        core: float BGR [1, 3, H, W] in 0..255 -> logits [1, C, H/8, W/8]. It is not changed.
        size: of the frame.
        half: compute what is not INT8 in float16, else in float32.
        device: where the weights lie.

    Returns:
        a program: uint8 `frame` [1, H, W, 3] BGR -> uint8 [1, H, W] train ids. All shapes are fixed.

    Raises:
        MissingDependencyError: ModelOpt is installed and cannot be imported.
    """
    operator()
    module = FrameToMask(_Typed(with_operators(core, half=half), half), size).eval().to(device)
    frame = torch.zeros(1, *size.hw, 3, dtype=torch.uint8, device=device)
    with torch.no_grad():
        return torch.export.export(module, (frame,), strict=False)


def with_operators(core: fx.GraphModule, *, half: bool) -> fx.GraphModule:
    """A copy of a quantized network that calls the operator where its fake quantizers stand.

    Ranges stay float32: TensorRT's scales are. Quantizers that are switched off are left out.
    """
    made = copy.deepcopy(core).eval()
    if half:
        made.half()
    for name, module in core.named_modules():
        if isinstance(module, Quantizer):
            made.set_submodule(name, _Round(module) if module.active else nn.Identity())
        elif isinstance(module, QuantConv2d) and module.active:
            made.set_submodule(name, _RoundedConv2d(module, half))
        elif isinstance(module, QuantConvTranspose2d) and module.active:
            raise UsageError(
                "transposed convolutions in INT8 are not compiled with Torch-TensorRT",
                got=name,
                expected="a network without them, such as BiSeNet",
                fix="bisenet-edge compile",
            )
    return made


class _Typed(nn.Module):
    """Gives the network its picture in the type that it computes in."""

    def __init__(self, core: nn.Module, half: bool) -> None:
        super().__init__()
        self.core = core
        self.input_multiple = input_multiple(core)
        self.half_precision = half

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.core(x.half() if self.half_precision else x)
        return logits


class _Round(nn.Module):
    amax: Tensor

    def __init__(self, source: Quantizer) -> None:
        super().__init__()
        self.register_buffer("amax", source.amax.detach().clamp(min=SMALLEST_AMAX).clone())

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = torch.ops.tensorrt.quantize_op(x, self.amax, *INT8)
        return rounded


class _RoundedConv2d(nn.Conv2d):
    """A convolution of `quantize_op(weight)`, one range per output channel (axis 0)."""

    weight_amax: Tensor

    def __init__(self, source: QuantConv2d, half: bool) -> None:
        super().__init__(
            source.in_channels,
            source.out_channels,
            source.kernel_size,  # type: ignore[arg-type]
            source.stride,  # type: ignore[arg-type]
            source.padding,  # type: ignore[arg-type]
            source.dilation,  # type: ignore[arg-type]
            source.groups,
            source.bias is not None,
        )
        # Stored as INT8 represents them: rounding the float32 weights to float16 first would move some of
        # them to a neighbouring code; a multiple of the scale keeps its code.
        weight = source.quantized_weight().detach().clone()
        self.weight = nn.Parameter(weight.half() if half else weight)
        if source.bias is not None:
            bias = source.bias.detach().clone()
            self.bias = nn.Parameter(bias.half() if half else bias)
        amax = source.weight_amax.detach().clamp(min=SMALLEST_AMAX)
        # Torch-TensorRT finds the axis by looking for the channel count in the shape.
        self.register_buffer("weight_amax", amax.reshape(-1, 1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.ops.tensorrt.quantize_op(self.weight, self.weight_amax, *INT8)
        return self._conv_forward(x, weight, self.bias)
