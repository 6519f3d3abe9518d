"""Xception39, the light Context Path backbone (BiSeNet, section 3.2; layout from the authors' code)."""

from __future__ import annotations

from torch import Tensor, nn

from bisenet_edge.toolchain.models.layers import ConvBnRelu, SeparableConvBnRelu


class XceptionBlock(nn.Module):
    """Three separable convolutions with a skip; [N, in, H, W] -> [N, 4 * width, H/s, W/s]."""

    EXPANSION = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.EXPANSION
        self.branch = nn.Sequential(
            SeparableConvBnRelu(in_channels, width, stride),
            SeparableConvBnRelu(width, width),
            SeparableConvBnRelu(width, out_channels, relu=False),
        )
        self.skip = SeparableConvBnRelu(in_channels, out_channels, stride, relu=False) if stride > 1 else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.skip is None else self.skip(x)
        out: Tensor = self.relu(self.branch(x) + identity)
        return out


class Xception39(nn.Module):
    """Image [N, 3, H, W] -> features at 1/16 [N, 128, ...] and 1/32 [N, 256, ...]."""

    channels = (128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBnRelu(3, 8, 3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage8 = self._stage(8, 16, blocks=4)
        self.stage16 = self._stage(64, 32, blocks=8)
        self.stage32 = self._stage(128, 64, blocks=4)

    @staticmethod
    def _stage(in_channels: int, width: int, blocks: int) -> nn.Sequential:
        out_channels = width * XceptionBlock.EXPANSION
        layers = [XceptionBlock(in_channels, width, stride=2)]
        layers += [XceptionBlock(out_channels, width, stride=1) for _ in range(blocks - 1)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stage8(self.pool(self.stem(x)))
        x16 = self.stage16(x)
        return x16, self.stage32(x16)
