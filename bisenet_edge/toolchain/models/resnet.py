"""ResNet-18 and ResNet-101 as Context Path backbones (He et al. 2016, table 1; BiSeNet, section 3.2)."""

from __future__ import annotations

from torch import Tensor, nn

from bisenet_edge.toolchain.models.layers import ConvBnRelu

WIDTHS = (64, 128, 256, 512)


class Residual(nn.Module):
    """A branch and a skip, added, then ReLU; [N, in, H, W] -> [N, out, H/s, W/s]."""

    def __init__(self, branch: nn.Sequential, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.branch = branch
        projects = stride > 1 or in_channels != out_channels
        self.skip = ConvBnRelu(in_channels, out_channels, 1, stride, relu=False) if projects else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.skip is None else self.skip(x)
        out: Tensor = self.relu(self.branch(x) + identity)
        return out


class BasicBlock(Residual):
    """Two 3x3 convolutions of `width` channels; [N, in, H, W] -> [N, width, H/s, W/s]."""

    EXPANSION = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        branch = nn.Sequential(
            ConvBnRelu(in_channels, width, 3, stride),
            ConvBnRelu(width, width, 3, relu=False),
        )
        super().__init__(branch, in_channels, width, stride)


class Bottleneck(Residual):
    """1x1, 3x3 and 1x1 convolutions; [N, in, H, W] -> [N, 4 * width, H/s, W/s].

    The 3x3 takes the stride, as in the authors' code and in the pretrained weights of torchvision (He et
    al. give it to the first 1x1).
    """

    EXPANSION = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        out_channels = width * self.EXPANSION
        branch = nn.Sequential(
            ConvBnRelu(in_channels, width, 1),
            ConvBnRelu(width, width, 3, stride),
            ConvBnRelu(width, out_channels, 1, relu=False),
        )
        super().__init__(branch, in_channels, out_channels, stride)


class ResNet(nn.Module):
    """Image [N, 3, H, W] -> features at 1/16 and 1/32, of `channels` channels.

    The stem is He et al.'s 7x7 convolution. (The authors' code has three 3x3 ones in its ResNet-101.)
    """

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.channels = (WIDTHS[2] * block.EXPANSION, WIDTHS[3] * block.EXPANSION)
        self.stem = ConvBnRelu(3, 64, 7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        stages, in_channels = [], 64
        for width, depth in zip(WIDTHS, depths, strict=True):
            stride = 1 if width == WIDTHS[0] else 2
            out_channels = width * block.EXPANSION
            blocks = [block(in_channels, width, stride)]
            blocks += [block(out_channels, width, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            in_channels = out_channels
        self.stage4, self.stage8, self.stage16, self.stage32 = stages

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stage8(self.stage4(self.pool(self.stem(x))))
        x16 = self.stage16(x)
        return x16, self.stage32(x16)


def resnet18() -> ResNet:
    """Features of 256 and 512 channels."""
    return ResNet(BasicBlock, (2, 2, 2, 2))


def resnet101() -> ResNet:
    """Features of 1024 and 2048 channels."""
    return ResNet(Bottleneck, (3, 4, 23, 3))
