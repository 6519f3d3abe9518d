"""SQ (Treml et al., NIPS workshops 2016, "Speeding up Semantic Segmentation for Autonomous Driving").

Its abstract fixes: ELU activations, a SqueezeNet-like encoder, parallel dilated convolutions behind it, and a
decoder of SharpMask-like refinement modules. Two public implementations (osmr/imgclsmob, zh320's real-time
collection) read alike out of the paper, which we had no text of: the dilated convolutions are 3x3 and summed;
a refinement puts a 3x3 convolution on the encoder's features, concatenates, and mixes with another one;
transposed convolutions double the resolution, up to the picture's own.

Where those two differ, or neither says why, this is our choice:

- the encoder is SqueezeNet 1.1 without its classifier (the other reading begins with 96 channels);
- dilations 1, 2, 4 and 8;
- the widths of the decoder mirror the encoder (256 at 1/8, 128 at 1/4, 64 at 1/2), and transposed
  convolutions have 4x4 kernels, which cover the output evenly. That gives 9.5 million parameters and 278e9
  multiply-adds at 2048x1024, where Li et al. (CVPR 2019, DFANet, table 5) print 270 "G" for SQ, in a
  column that gives ICNet's 29.0e9 multiply-adds as 28.3;
- no batch normalisation: SqueezeNet has none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bisenet_edge.toolchain.models.network import Network, normalised

DILATIONS = (1, 2, 4, 8)


class ConvElu(nn.Sequential):
    """Convolution with "same" padding, and ELU; [N, in, h, w] -> [N, out, h/s, w/s]."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1):
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation), nn.ELU(inplace=True)
        )


class Fire(nn.Module):
    """SqueezeNet's block: few channels in the middle, 1x1 and 3x3 out; [N, in, h, w] -> [N, out, h, w]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        squeezed, half = out_channels // 8, out_channels // 2
        self.squeeze = ConvElu(in_channels, squeezed, 1)
        self.expand1 = ConvElu(squeezed, half, 1)
        self.expand3 = ConvElu(squeezed, half, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.expand1(x), self.expand3(x)], dim=1)


class ParallelDilated(nn.Module):
    """3x3 convolutions of several dilations, added; [N, in, h, w] -> [N, out, h, w]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(ConvElu(in_channels, out_channels, 3, dilation=d) for d in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.branches
        total: Tensor = first(x)
        for branch in others:
            total = total + branch(x)
        return total


class Refinement(nn.Module):
    """Doubles the resolution of deep features and mixes them with the encoder's of that resolution.

    Deep [N, in, h, w], encoder's [N, out, 2h, 2w] -> [N, out, 2h, 2w].
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1), nn.ELU(inplace=True)
        )
        self.bypass = ConvElu(out_channels, out_channels, 3)
        self.mix = ConvElu(2 * out_channels, out_channels, 3)

    def forward(self, deep: Tensor, encoder: Tensor) -> Tensor:
        out: Tensor = self.mix(torch.cat([self.bypass(encoder), self.up(deep)], dim=1))
        return out


class SQ(Network):
    """SqueezeNet 1.1 with ELU, parallel dilated convolutions, and three refinements.

    A BGR picture, float [N, 3, H, W] in 0..255, gives logits [N, C, H, W]; in training as a tuple of one,
    since it has no auxiliary heads.
    """

    logits_stride = 1
    input_multiple = 16

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stage2 = ConvElu(3, 64, 3, stride=2)
        self.stage4 = nn.Sequential(_halve(), Fire(64, 128), Fire(128, 128))
        self.stage8 = nn.Sequential(_halve(), Fire(128, 256), Fire(256, 256))
        self.stage16 = nn.Sequential(
            _halve(),
            Fire(256, 384),
            Fire(384, 384),
            Fire(384, 512),
            Fire(512, 512),
            ParallelDilated(512, 256),
        )
        self.refine8 = Refinement(256, 256)
        self.refine4 = Refinement(256, 128)
        self.refine2 = Refinement(128, 64)
        self.classifier = nn.ConvTranspose2d(64, num_classes, 4, stride=2, padding=1)

    def drop_auxiliary_heads(self) -> None:
        """There are none."""

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        x2 = self.stage2(normalised(image))
        x4 = self.stage4(x2)
        x8 = self.stage8(x4)
        deep = self.refine8(self.stage16(x8), x8)
        logits: Tensor = self.classifier(self.refine2(self.refine4(deep, x4), x2))
        return (logits,) if self.training else logits


def _halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, padding=1)
