"""Fake quantization on native torch operators: INT8, symmetric, range -128..127, zero point 0.

What these modules compute is what ONNX `QuantizeLinear` + `DequantizeLinear` compute, so that torch,
ONNX Runtime, OpenVINO and TensorRT see one graph. Activations have one scale per tensor, weights one
per output channel; scale = amax / 127.

Quantization-aware training may learn the ranges of activations (`set_learnable`); those of weights follow the
weights. In evaluation, and so in every exported graph, a range is a constant, learned or not.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

QMIN, QMAX = -128, 127
# A channel of zeros still needs a scale above 0, in float16 too (whose smallest number is 6e-8): TensorRT
# refuses others. This one is far below any weight that matters.
SMALLEST_AMAX = 1e-5


class Quantizer(nn.Module):
    """Rounds a tensor to INT8 and back.

    Attributes:
        amax: float32 scalar, the largest magnitude that is represented (as 127). A buffer, or a parameter
            while it is learned; under this name in the state dict either way.
        active: False passes the tensor through, for calibration and for blocks kept in float.
        fixed: the range is known beforehand; calibration and training leave it alone.
    """

    amax: Tensor

    def __init__(self, amax: float = 1.0, *, fixed: bool = False) -> None:
        super().__init__()
        self.register_buffer("amax", torch.tensor(amax))
        self.active = True
        self.fixed = fixed

    @property
    def learning(self) -> bool:
        """Whether `amax` is a parameter."""
        return isinstance(self.amax, nn.Parameter)

    def learn(self, learnable: bool = True) -> None:
        """Make `amax` a trainable parameter, or a constant again; its value stays. Fixed ranges never learn.

        Call it before the optimizer is given the parameters.
        """
        if self.fixed or learnable == self.learning:
            return
        amax = self.amax.detach()
        del self.amax
        if learnable:
            self.amax = nn.Parameter(amax)
        else:
            self.register_buffer("amax", amax)

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return x
        if self.training and self.learning:
            return self._forward_learning(x)
        scale = self.amax.detach().clamp(min=SMALLEST_AMAX) / QMAX
        zero = torch.zeros((), dtype=torch.int32, device=x.device)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, QMIN, QMAX)

    def _forward_learning(self, x: Tensor) -> Tensor:
        """The same values, with the gradient of LSQ (Esser et al. 2020, section 2) for the range.

        LSQ learns the scale and multiplies its gradient by g = 1 / sqrt(numel * 127), which lets scales and
        weights share one learning rate. Here amax = 127 * scale is what descends: for the same steps its
        gradient is the scale's times 127 * g, where the chain rule alone would give g / 127.
        """
        with torch.no_grad():
            # Not in the graph: a clamp has no gradient below its limit, and such a range would stay there.
            self.amax.clamp_(min=SMALLEST_AMAX)
        scale = (self.amax / QMAX).reshape(1)
        zero = torch.zeros(1, device=x.device)
        factor = QMAX**2 / math.sqrt(x.numel() * QMAX)
        return torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero, QMIN, QMAX, factor)


def set_learnable(network: nn.Module, learnable: bool) -> None:
    """Make the range of every activation quantizer trainable, or constant again, but for the fixed ones."""
    for module in network.modules():
        if isinstance(module, Quantizer):
            module.learn(learnable)


class QuantConv(nn.Module):
    """A convolution whose weights are rounded to INT8, one scale per output channel; bias stays float.

    In training the ranges follow the weights; `eval()` records those of the weights that training left.

    Attributes:
        active: False uses the weights as they are.
        frozen: True keeps the ranges in training too.
        channel_axis: dimension of the weights that is the output channels.
        weight_amax: float32 [channels], the largest magnitude of each channel's weights (as 127).
    """

    channel_axis: int
    weight: Any  # as the convolution beside this base declares them
    bias: Any
    weight_amax: Tensor

    def _take_over(self, source: nn.Conv2d | nn.ConvTranspose2d) -> None:
        self.weight = nn.Parameter(source.weight.detach().clone())
        if source.bias is not None:
            self.bias = nn.Parameter(source.bias.detach().clone())
        self.active = True
        self.frozen = False
        self.register_buffer("weight_amax", self._largest())

    def train(self, mode: bool = True) -> QuantConv:
        """Begin or end training."""
        if self.training and not mode:
            self._follow_weights()  # the optimizer's last step came after the last forward pass
        return super().train(mode)

    def _largest(self) -> Tensor:
        others = [axis for axis in range(4) if axis != self.channel_axis]
        return self.weight.detach().abs().amax(others)

    def _follow_weights(self) -> None:
        if not self.frozen:
            self.weight_amax.copy_(self._largest())

    def quantized_weight(self) -> Tensor:
        """The weights as INT8 represents them: float32, shape of `weight`."""
        if self.training:
            self._follow_weights()
        scale = self.weight_amax.clamp(min=SMALLEST_AMAX) / QMAX
        zero = torch.zeros(len(scale), dtype=torch.int32, device=self.weight.device)
        return torch.fake_quantize_per_channel_affine(self.weight, scale, zero, self.channel_axis, QMIN, QMAX)


class QuantConv2d(QuantConv, nn.Conv2d):
    """`nn.Conv2d` with rounded weights [out, in / groups, k, k]."""

    channel_axis = 0

    def __init__(self, source: nn.Conv2d) -> None:
        nn.Conv2d.__init__(
            self,
            source.in_channels,
            source.out_channels,
            source.kernel_size,  # type: ignore[arg-type]
            source.stride,  # type: ignore[arg-type]
            source.padding,  # type: ignore[arg-type]
            source.dilation,  # type: ignore[arg-type]
            source.groups,
            source.bias is not None,
        )
        self._take_over(source)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.quantized_weight() if self.active else self.weight
        return self._conv_forward(x, weight, self.bias)


class QuantConvTranspose2d(QuantConv, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with rounded weights [in, out / groups, k, k]; groups share the scales."""

    channel_axis = 1

    def __init__(self, source: nn.ConvTranspose2d) -> None:
        nn.ConvTranspose2d.__init__(
            self,
            source.in_channels,
            source.out_channels,
            source.kernel_size,  # type: ignore[arg-type]
            source.stride,  # type: ignore[arg-type]
            source.padding,  # type: ignore[arg-type]
            source.output_padding,  # type: ignore[arg-type]
            source.groups,
            source.bias is not None,
            source.dilation,  # type: ignore[arg-type]
        )
        self._take_over(source)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight = self.quantized_weight() if self.active else self.weight
        return F.conv_transpose2d(
            x,
            weight,
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            self.output_padding,
            self.groups,
            self.dilation,
        )


def quantized(source: nn.Conv2d | nn.ConvTranspose2d) -> QuantConv:
    """The convolution with rounded weights; the source is not changed."""
    return QuantConv2d(source) if isinstance(source, nn.Conv2d) else QuantConvTranspose2d(source)
