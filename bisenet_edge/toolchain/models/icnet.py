"""ICNet (Zhao et al., ECCV 2018, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images").

Layers, widths and strides are those of the network that the authors released (hszhao/ICNet), which is
PSPNet50 with half its channels in the form that the paper's section 3 describes: 6,699,987 parameters for 19
classes and 29.0 * 10**9 multiply-adds at 2048x1024.

Different here, without effect on parameters or multiply-adds:
- Sides are multiples of 32, where the authors use 32 n + 1; every resize has half-pixel centres, so halving
  is the average of 2x2 pixels.
- The pyramid's average pooling takes any size: see `pyramid`.
- The classifiers of the cascade label guidance (section 3.4), which the released network no longer has, are
  1x1 convolutions, on what each fusion unit reads from below.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bisenet_edge.toolchain.models.layers import ConvBnRelu
from bisenet_edge.toolchain.models.network import Network, normalised, upsample
from bisenet_edge.toolchain.models.pyramid import PyramidPooling

FUSED = 128  # channels of the cascade feature fusion
LOWEST = 256  # channels of the lowest branch when it is done


class DilatedConvBn(nn.Module):
    """3x3 convolution, batch normalisation, perhaps ReLU; [N, in, h, w] -> [N, out, h, w]."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int, *, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True) if relu else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.relu is None else self.relu(x)


class Bottleneck(nn.Module):
    """ResNet's block of three convolutions, the first one strided; [N, in, h, w] -> [N, out, h/s, w/s]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        width = out_channels // 4
        self.branch = nn.Sequential(
            ConvBnRelu(in_channels, width, 1, stride),
            DilatedConvBn(width, width, dilation),
            ConvBnRelu(width, out_channels, 1, relu=False),
        )
        projects = in_channels != out_channels
        self.skip = ConvBnRelu(in_channels, out_channels, 1, stride, relu=False) if projects else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.skip is None else self.skip(x)
        out: Tensor = self.relu(self.branch(x) + identity)
        return out


class CascadeFeatureFusion(nn.Module):
    """CFF unit (section 3.3): deep features of half the resolution, up-sampled, and shallow ones, added.

    Deep [N, in, h, w], shallow [N, in2, h, w] -> [N, 128, h, w]; the deep ones are up-sampled by the caller,
    who has a classifier look at them too.
    """

    def __init__(self, deep_channels: int, shallow_channels: int) -> None:
        super().__init__()
        self.deep = DilatedConvBn(deep_channels, FUSED, dilation=2, relu=False)
        self.shallow = ConvBnRelu(shallow_channels, FUSED, 1, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        out: Tensor = self.relu(self.deep(deep) + self.shallow(shallow))
        return out


class ICNet(Network):
    """A cascade of the picture at 1, 1/2 and 1/4 of its size: few layers see the large one, many the small
    one.

    A BGR picture, float [N, 3, H, W] in 0..255, gives

    - in evaluation: logits [N, C, H/4, W/4];
    - in training: these and the two of the cascade label guidance, at 1/8 and 1/16.
    """

    logits_stride = 4
    input_multiple = 32

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.halve = nn.AvgPool2d(2)
        # The branches of 1/2 and 1/4 share their first layers; the latter begins where the former ends.
        self.middle = nn.Sequential(
            ConvBnRelu(3, 32, 3, stride=2),
            ConvBnRelu(32, 32, 3),
            ConvBnRelu(32, 64, 3),
            nn.MaxPool2d(3, stride=2, padding=1),
            *_stage(64, 128, blocks=3),
            Bottleneck(128, 256, stride=2),
        )
        self.lowest = nn.Sequential(
            *_stage(256, 256, blocks=3),
            *_stage(256, 512, blocks=6, dilation=2),
            *_stage(512, 1024, blocks=3, dilation=4),
            PyramidPooling(),
            ConvBnRelu(1024, LOWEST, 1),
        )
        self.highest = nn.Sequential(
            ConvBnRelu(3, 32, 3, stride=2), ConvBnRelu(32, 32, 3, stride=2), ConvBnRelu(32, 64, 3, stride=2)
        )
        self.fuse16 = CascadeFeatureFusion(LOWEST, 256)
        self.fuse8 = CascadeFeatureFusion(FUSED, 64)
        self.classifier = nn.Conv2d(FUSED, num_classes, 1)
        self.guide16: nn.Conv2d | None = nn.Conv2d(LOWEST, num_classes, 1)
        self.guide8: nn.Conv2d | None = nn.Conv2d(FUSED, num_classes, 1)

    def drop_auxiliary_heads(self) -> None:
        """Remove the classifiers of the cascade label guidance."""
        self.guide16 = self.guide8 = None

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        x = normalised(image)
        x16 = self.middle(self.halve(x))
        x32 = self.lowest(self.halve(x16))
        deep16 = upsample(x32, x16)
        x8 = self.highest(x)
        deep8 = upsample(self.fuse16(deep16, x16), x8)
        fused = self.fuse8(deep8, x8)
        doubled = F.interpolate(fused, scale_factor=2.0, mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(doubled)
        if not self.training:
            return logits
        if self.guide16 is None or self.guide8 is None:
            raise RuntimeError("this network's auxiliary heads were removed: it can no longer be trained")
        return logits, self.guide8(deep8), self.guide16(deep16)


def _stage(in_channels: int, out_channels: int, blocks: int, dilation: int = 1) -> list[Bottleneck]:
    widths = [in_channels, *[out_channels] * (blocks - 1)]
    return [Bottleneck(width, out_channels, dilation=dilation) for width in widths]
