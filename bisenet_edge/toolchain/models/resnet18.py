"""ResNet-18, the larger Context Path backbone (He et al. 2016, table 1; BiSeNet, section 3.2)."""

from __future__ import annotations

from torch import Tensor, nn

from bisenet_edge.toolchain.models.layers import ConvBnRelu


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a skip; [N, in, H, W] -> [N, out, H/s, W/s]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            ConvBnRelu(in_channels, out_channels, 3, stride),
            ConvBnRelu(out_channels, out_channels, 3, relu=False),
        )
        projects = stride > 1 or in_channels != out_channels
        self.skip = ConvBnRelu(in_channels, out_channels, 1, stride, relu=False) if projects else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.skip is None else self.skip(x)
        out: Tensor = self.relu(self.branch(x) + identity)
        return out


class ResNet18(nn.Module):
    """Image [N, 3, H, W] -> features at 1/16 [N, 256, ...] and 1/32 [N, 512, ...]."""

    channels = (256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBnRelu(3, 64, 7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage4 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.stage8 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.stage16 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.stage32 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stage8(self.stage4(self.pool(self.stem(x))))
        x16 = self.stage16(x)
        return x16, self.stage32(x16)
