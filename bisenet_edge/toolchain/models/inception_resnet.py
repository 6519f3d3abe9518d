"""Inception-ResNet-v2 in the parts that Deep Layer Cascade cuts it into, all at 1/8 of the picture.

Stem and blocks: Li et al. 2017 (`dlc`), figure 2, right; reductions: Szegedy et al. 2017, figures 7 and 18
and table 1. The strides of both reductions are 1 (Li et al., figure 2 b: every map of a 512x512 picture is
64x64).

Our choices where these papers are silent or contradict themselves:
- what follows a reduction that lost its stride is dilated by 2, then 4, so that it sees what it saw before
  (the authors' region convolution takes dilations);
- "same" padding everywhere;
- blocks B and C add to the 1152 and 2144 channels that the reductions really give (Li et al. print 1154 and
  2048, which cannot be added to them);
- the 1x1 convolution that ends a block is followed by batch normalisation, in place of the scaling by 0.1 to
  0.3 that Szegedy et al. add against instability: it folds into the convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bisenet_edge.toolchain.models.layers import ConvBnRelu

AFTER_STEM = 384
AFTER_A = 1152
AFTER_B = 2144


class DilatedConvBnRelu(nn.Module):
    """Convolution of any kernel, batch normalisation, ReLU; [N, in, h, w] -> [N, out, h, w]."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int], dilation: int = 1
    ) -> None:
        super().__init__()
        padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out


class Stem(nn.Module):
    """[N, 3, H, W] -> [N, 384, H/8, W/8]."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Sequential(
            ConvBnRelu(3, 32, 3, stride=2), ConvBnRelu(32, 32, 3), ConvBnRelu(32, 64, 3)
        )
        self.pool4 = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv4 = ConvBnRelu(64, 96, 3, stride=2)
        self.short = nn.Sequential(ConvBnRelu(160, 64, 1), ConvBnRelu(64, 96, 3))
        self.long = nn.Sequential(
            ConvBnRelu(160, 64, 1),
            DilatedConvBnRelu(64, 64, (7, 1)),
            DilatedConvBnRelu(64, 64, (1, 7)),
            ConvBnRelu(64, 96, 3),
        )
        self.conv8 = ConvBnRelu(192, 192, 3, stride=2)
        self.pool8 = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.begin(x)
        x = torch.cat([self.pool4(x), self.conv4(x)], dim=1)
        x = torch.cat([self.short(x), self.long(x)], dim=1)
        return torch.cat([self.conv8(x), self.pool8(x)], dim=1)


class BlockA(nn.Module):
    """[N, 384, h, w] -> the same shape."""

    def __init__(self) -> None:
        super().__init__()
        channels = AFTER_STEM
        self.branch1 = ConvBnRelu(channels, 32, 1)
        self.branch3 = nn.Sequential(ConvBnRelu(channels, 32, 1), ConvBnRelu(32, 32, 3))
        self.branch5 = nn.Sequential(
            ConvBnRelu(channels, 32, 1), ConvBnRelu(32, 48, 3), ConvBnRelu(48, 64, 3)
        )
        self.project = ConvBnRelu(128, channels, 1, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.cat([self.branch1(x), self.branch3(x), self.branch5(x)], dim=1)
        out: Tensor = self.relu(self.project(branches) + x)
        return out


class ReductionA(nn.Module):
    """Without its stride: [N, 384, h, w] -> [N, 1152, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        channels = AFTER_STEM
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.branch3 = ConvBnRelu(channels, 384, 3)
        self.branch5 = nn.Sequential(
            ConvBnRelu(channels, 256, 1), ConvBnRelu(256, 256, 3), ConvBnRelu(256, 384, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.pool(x), self.branch3(x), self.branch5(x)], dim=1)


class RegionBlock(nn.Module):
    """Blocks B and C: a residual block that works on a region alone (Li et al., figure 3 c).

    Features [N, C, h, w] and region [N, 1, h, w], 1 inside and 0 outside -> features [N, C, h, w], outside
    the region as they were. Every convolution gives 0 outside: that is what its neighbours read there.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int], length: int, dilation: int) -> None:
        super().__init__()
        self.branch1 = ConvBnRelu(channels, 192, 1)
        self.reduce = ConvBnRelu(channels, widths[0], 1)
        self.along = DilatedConvBnRelu(widths[0], widths[1], (1, length), dilation)
        self.across = DilatedConvBnRelu(widths[1], widths[2], (length, 1), dilation)
        self.project = ConvBnRelu(192 + widths[2], channels, 1, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, region: Tensor) -> Tensor:
        # 1x1 convolutions mix no positions: what they read outside stays outside, and is masked at the end.
        branch = self.across(self.along(self.reduce(x) * region) * region)
        branch = self.project(torch.cat([self.branch1(x), branch], dim=1)) * region
        out: Tensor = self.relu(x + branch)
        return out


def block_b() -> RegionBlock:
    """[N, 1152, h, w] -> the same shape, behind one reduction without stride."""
    return RegionBlock(AFTER_A, (128, 160, 192), length=7, dilation=2)


def block_c() -> RegionBlock:
    """[N, 2144, h, w] -> the same shape, behind two reductions without stride."""
    return RegionBlock(AFTER_B, (192, 224, 256), length=3, dilation=4)


class ReductionB(nn.Module):
    """Without its stride, on a region alone: [N, 1152, h, w], region [N, 1, h, w] -> [N, 2144, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        channels, square = AFTER_A, (3, 3)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.reduce = nn.ModuleList(ConvBnRelu(channels, 256, 1) for _ in range(3))
        self.branch1 = DilatedConvBnRelu(256, 384, square, dilation=2)
        self.branch2 = DilatedConvBnRelu(256, 288, square, dilation=2)
        self.branch3 = DilatedConvBnRelu(256, 288, square, dilation=2)
        self.branch3_end = DilatedConvBnRelu(288, 320, square, dilation=2)

    def forward(self, x: Tensor, region: Tensor) -> Tensor:
        first, second, third = (reduce(x) * region for reduce in self.reduce)
        third = self.branch3_end(self.branch3(third) * region)
        return torch.cat([self.pool(x), self.branch1(first), self.branch2(second), third], dim=1) * region
