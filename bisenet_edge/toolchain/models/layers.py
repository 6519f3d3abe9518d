"""The two building blocks that every part of the network is made of."""

from __future__ import annotations

from torch import Tensor, nn


class ConvBnRelu(nn.Module):
    """Convolution, batch normalisation and (unless `relu=False`) ReLU; [N, in, H, W] -> [N, out, H/s, W/s].

    "Same" padding for odd kernels, as everywhere in the authors' code.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True) if relu else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.relu is None else self.relu(x)


class SeparableConvBnRelu(nn.Module):
    """3x3 depthwise convolution, then pointwise convolution + BN (+ ReLU).

    There is neither BN nor activation between the two, as in the authors' Xception39, so the pair is
    one linear map and can be collapsed into a dense 3x3 convolution before quantization.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, relu: bool = True) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False)
        self.pointwise = ConvBnRelu(in_channels, out_channels, 1, relu=relu)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(self.depthwise(x))
        return out
