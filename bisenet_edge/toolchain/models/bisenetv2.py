"""BiSeNet V2 (Yu et al., IJCV 2021, "Bilateral Network with Guided Aggregation").

Sections 3 and 4 and table 1 of the paper give every width, stride and repetition of the two branches. What
they leave open is built as in the public PyTorch implementation that most users train (CoinCheung/BiSeNet):

- a ReLU behind the last depthwise convolution of a gather-and-expansion layer, and behind the convolution
  that ends the aggregation layer;
- the last convolution of the context embedding block has batch normalisation and ReLU like any other;
- the head's width C_t = 1024 (the paper studies several).

With these choices it has that implementation's 3,358,627 parameters for 19 classes (boosters left out) and
24.6 * 10**9 multiply-adds at 1024x512. The paper prints 21.15 "GFLOPs" without saying what was counted; its
table 1, read as it stands, gives more.

Different here: the finer gate is up-sampled behind its sigmoid instead of in front, which takes a sixteenth
of the sigmoids and leaves no floating point between two INT8 tensors; up-sampling is bilinear with half-pixel
centres; boosters are a 3x3 convolution of 128 channels and a classifier, and give logits at their own
resolution, without up-sampling layers of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bisenet_edge.toolchain.models.bisenet import Head
from bisenet_edge.toolchain.models.layers import ConvBnRelu
from bisenet_edge.toolchain.models.network import Network, normalised, upsample

CHANNELS = 128  # of both branches where they meet
EXPANSION = 6
HEAD_WIDTH = 1024
BOOSTER_WIDTH = 128


class DetailBranch(nn.Sequential):
    """Wide and shallow (section 4.1, table 1); [N, 3, H, W] -> [N, 128, H/8, W/8]."""

    def __init__(self) -> None:
        super().__init__(
            ConvBnRelu(3, 64, 3, stride=2),
            ConvBnRelu(64, 64, 3),
            ConvBnRelu(64, 64, 3, stride=2),
            ConvBnRelu(64, 64, 3),
            ConvBnRelu(64, 64, 3),
            ConvBnRelu(64, CHANNELS, 3, stride=2),
            ConvBnRelu(CHANNELS, CHANNELS, 3),
            ConvBnRelu(CHANNELS, CHANNELS, 3),
        )


class DepthwiseConvBn(nn.Module):
    """3x3 convolution of each channel alone, batch normalisation, perhaps ReLU.

    [N, in, H, W] -> [N, in * multiplier, H/s, W/s]
    """

    def __init__(self, in_channels: int, multiplier: int = 1, stride: int = 1, *, relu: bool = False) -> None:
        super().__init__()
        out_channels = in_channels * multiplier
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, groups=in_channels, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True) if relu else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.relu is None else self.relu(x)


class Stem(nn.Module):
    """Convolution and pooling side by side (figure 4 a); [N, 3, H, W] -> [N, 16, H/4, W/4]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(3, channels, 3, stride=2)
        self.left = nn.Sequential(
            ConvBnRelu(channels, channels // 2, 1), ConvBnRelu(channels // 2, channels, 3, stride=2)
        )
        self.right = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = ConvBnRelu(2 * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        out: Tensor = self.fuse(torch.cat([self.left(x), self.right(x)], dim=1))
        return out


class GatherExpansion(nn.Module):
    """Gather-and-expansion layer (figure 5); [N, in, H, W] -> [N, out, H/s, W/s].

    A 3x3 convolution gathers, a depthwise one expands six-fold, a 1x1 projects back. With stride 2, two
    depthwise convolutions expand, and the skip is a separable convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        wide = in_channels * EXPANSION
        gather = ConvBnRelu(in_channels, in_channels, 3)
        project = ConvBnRelu(wide, out_channels, 1, relu=False)
        self.skip: nn.Module | None = None
        if stride == 1:
            self.branch = nn.Sequential(gather, DepthwiseConvBn(in_channels, EXPANSION, relu=True), project)
        else:
            expand = DepthwiseConvBn(in_channels, EXPANSION, stride)
            self.branch = nn.Sequential(gather, expand, DepthwiseConvBn(wide, relu=True), project)
            self.skip = nn.Sequential(
                DepthwiseConvBn(in_channels, stride=stride),
                ConvBnRelu(in_channels, out_channels, 1, relu=False),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.skip is None else self.skip(x)
        out: Tensor = self.relu(self.branch(x) + identity)
        return out


class ContextEmbedding(nn.Module):
    """The picture's average added to every position (figure 4 b); [N, C, H, W] -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.bn = nn.BatchNorm2d(channels)
        self.conv = ConvBnRelu(channels, channels, 1)
        self.out = ConvBnRelu(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        context = self.conv(self.bn(self.pool(x)))
        out: Tensor = self.out(x + context)
        return out


class SemanticBranch(nn.Module):
    """Narrow and deep (section 4.2, table 1).

    [N, 3, H, W] -> features of its stages: [N, 16, H/4, W/4], [N, 32, H/8, W/8], [N, 64, H/16, W/16],
    [N, 128, H/32, W/32], and of the context embedding, [N, 128, H/32, W/32].
    """

    channels = (16, 32, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        stem, stage8, stage16, stage32 = self.channels
        self.stem = Stem(stem)
        self.stage8 = nn.Sequential(GatherExpansion(stem, stage8, stride=2), GatherExpansion(stage8, stage8))
        self.stage16 = nn.Sequential(
            GatherExpansion(stage8, stage16, stride=2), GatherExpansion(stage16, stage16)
        )
        self.stage32 = nn.Sequential(
            GatherExpansion(stage16, stage32, stride=2),
            *(GatherExpansion(stage32, stage32) for _ in range(3)),
        )
        self.context = ContextEmbedding(stage32)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x4 = self.stem(x)
        x8 = self.stage8(x4)
        x16 = self.stage16(x8)
        x32 = self.stage32(x16)
        return x4, x8, x16, x32, self.context(x32)


class GuidedAggregation(nn.Module):
    """Each branch gates the other, at both resolutions (section 4.3, figure 6).

    Detail [N, 128, H/8, W/8] and semantics [N, 128, H/32, W/32] -> [N, 128, H/8, W/8].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail_keep = self._separable(channels)
        self.detail_down = nn.Sequential(
            ConvBnRelu(channels, channels, 3, stride=2, relu=False), nn.AvgPool2d(3, stride=2, padding=1)
        )
        self.semantic_up = ConvBnRelu(channels, channels, 3, relu=False)
        self.semantic_keep = self._separable(channels)
        self.sigmoid8 = nn.Sigmoid()
        self.sigmoid32 = nn.Sigmoid()
        self.out = ConvBnRelu(channels, channels, 3)

    @staticmethod
    def _separable(channels: int) -> nn.Sequential:
        return nn.Sequential(DepthwiseConvBn(channels), nn.Conv2d(channels, channels, 1, bias=False))

    def forward(self, detail: Tensor, semantics: Tensor) -> Tensor:
        at8 = self.detail_keep(detail) * upsample(self.sigmoid8(self.semantic_up(semantics)), detail)
        at32 = self.detail_down(detail) * self.sigmoid32(self.semantic_keep(semantics))
        out: Tensor = self.out(at8 + upsample(at32, detail))
        return out


class BiSeNetV2(Network):
    """Detail Branch, Semantic Branch and Guided Aggregation Layer.

    A BGR picture, float [N, 3, H, W] in 0..255, gives

    - in evaluation: logits [N, C, H/8, W/8];
    - in training: these and the boosters' (section 4.4) at 1/4, 1/8, 1/16 and 1/32.
    """

    logits_stride = 8
    input_multiple = 8

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.detail = DetailBranch()
        self.semantic = SemanticBranch()
        self.aggregation = GuidedAggregation(CHANNELS)
        self.head = Head(CHANNELS, HEAD_WIDTH, num_classes)
        widths = SemanticBranch.channels
        self.boosters: nn.ModuleList | None = nn.ModuleList(
            Head(width, BOOSTER_WIDTH, num_classes) for width in widths
        )

    def drop_auxiliary_heads(self) -> None:
        """Remove the boosters."""
        self.boosters = None

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = normalised(image)
        *stages, context = self.semantic(x)
        logits: Tensor = self.head(self.aggregation(self.detail(x), context))
        if not self.training:
            return logits
        if self.boosters is None:
            raise RuntimeError("this network's auxiliary heads were removed: it can no longer be trained")
        return logits, *(booster(stage) for booster, stage in zip(self.boosters, stages))
