"""Fake quantization on native torch operators: INT8, symmetric, range -128..127, zero point 0.

What these modules compute is what ONNX `QuantizeLinear` + `DequantizeLinear` compute, so that torch,
ONNX Runtime, OpenVINO and TensorRT see one graph. Activations have one scale per tensor, weights one
per output channel; scale = amax / 127.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

QMIN, QMAX = -128, 127
# A channel of zeros still needs a scale above 0, in float16 too (whose smallest number is 6e-8): TensorRT
# refuses others. This one is far below any weight that matters.
SMALLEST_AMAX = 1e-5


class Quantizer(nn.Module):
    """Rounds a tensor to INT8 and back.

    Attributes:
        amax: float32 scalar, the largest magnitude that is represented (as 127).
        active: False passes the tensor through, for calibration and for blocks kept in float.
        fixed: the range is known beforehand and calibration leaves it alone.
    """

    amax: Tensor

    def __init__(self, amax: float = 1.0, *, fixed: bool = False) -> None:
        super().__init__()
        self.register_buffer("amax", torch.tensor(amax))
        self.active = True
        self.fixed = fixed

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return x
        scale = self.amax.clamp(min=SMALLEST_AMAX) / QMAX
        zero = torch.zeros((), dtype=torch.int32, device=x.device)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, QMIN, QMAX)


class QuantConv2d(nn.Conv2d):
    """A convolution whose weights are rounded to INT8, one scale per output channel; bias stays float.

    Attributes:
        active: False uses the weights as they are.
    """

    def __init__(self, source: nn.Conv2d) -> None:
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
        self.weight = nn.Parameter(source.weight.detach().clone())
        if source.bias is not None:
            self.bias = nn.Parameter(source.bias.detach().clone())
        self.active = True
        self.register_buffer("weight_amax", self.weight.detach().abs().amax((1, 2, 3)))

    weight_amax: Tensor

    def quantized_weight(self) -> Tensor:
        """The weights as INT8 represents them: float32, shape of `weight`."""
        scale = self.weight_amax.clamp(min=SMALLEST_AMAX) / QMAX
        zero = torch.zeros(self.out_channels, dtype=torch.int32, device=self.weight.device)
        return torch.fake_quantize_per_channel_affine(self.weight, scale, zero, 0, QMIN, QMAX)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.quantized_weight() if self.active else self.weight
        return self._conv_forward(x, weight, self.bias)
