"""ENet (Paszke, Chaurasia, Kim, Culurciello: arXiv 1606.02147, section 3 and table 1).

As the paper has it: batch normalisation and PReLU between all convolutions, no biases, spatial dropout of
0.01 in the first stage and 0.1 after it, max-unpooling in the decoder. What the paper leaves open and is
chosen here:

- The inside of a bottleneck has a quarter of its output channels.
- The classifier ("fullconv") is a 2x2 transposed convolution with stride 2, without overlap; with a bias.
- The initial block normalises its two halves apart, which is the same per channel, so that the
  convolution's half can be folded.
- PReLU in the decoder too.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bisenet_edge.toolchain.models.network import Network, normalised
from bisenet_edge.toolchain.models.unpool import unpool

fx.wrap("unpool")

REDUCTION = 4
EARLY_DROPOUT, LATE_DROPOUT = 0.01, 0.1


class ENet(Network):
    """`forward` takes float [N, 3, H, W], H and W multiples of 8, and gives logits [N, C, H, W]; a tuple of
    them alone in training.
    """

    logits_stride = 1
    input_multiple = 8

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.initial = Initial()
        self.down1 = Downsampling(16, 64, EARLY_DROPOUT)
        self.stage1 = nn.Sequential(*(Bottleneck(64, _plain(16), EARLY_DROPOUT) for _ in range(4)))
        self.down2 = Downsampling(64, 128, LATE_DROPOUT)
        self.stage2 = _context_stage()
        self.stage3 = _context_stage()
        self.up4 = Upsampling(128, 64, LATE_DROPOUT)
        self.stage4 = nn.Sequential(*(Bottleneck(64, _plain(16), LATE_DROPOUT) for _ in range(2)))
        self.up5 = Upsampling(64, 16, LATE_DROPOUT)
        self.stage5 = Bottleneck(16, _plain(4), LATE_DROPOUT)
        self.classifier = nn.ConvTranspose2d(16, num_classes, 2, stride=2)

    def drop_auxiliary_heads(self) -> None:
        """ENet has none."""

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        half = self.initial(normalised(image))
        quarter = self.stage1(self.down1(half))
        x = self.stage3(self.stage2(self.down2(quarter)))
        x = self.stage4(self.up4(x, quarter))
        x = self.stage5(self.up5(x, half))
        logits: Tensor = self.classifier(x)
        return (logits,) if self.training else logits


class Initial(nn.Module):
    """13 filters of stride 2 beside a 2x2 max-pooling of the picture; [N, 3, H, W] -> [N, 16, H/2, W/2]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 13, 3, 2, 1, bias=False), nn.BatchNorm2d(13))
        self.pool = nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3))
        self.relu = nn.PReLU(16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(torch.cat([self.conv(x), self.pool(x)], dim=1))
        return out


class _Extension(nn.Sequential):
    """The convolutional branch of a bottleneck: projection, main convolution, expansion, regulariser."""

    def __init__(self, project: nn.Module, main: nn.Module, out_channels: int, dropout: float) -> None:
        inside = out_channels // REDUCTION
        super().__init__(
            _Normalised(project, inside),
            _Normalised(main, inside),
            nn.Conv2d(inside, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.Dropout2d(dropout),
        )


class _Normalised(nn.Sequential):
    """A convolution, its batch normalisation, and one PReLU slope per channel."""

    def __init__(self, conv: nn.Module, channels: int) -> None:
        super().__init__(conv, nn.BatchNorm2d(channels), nn.PReLU(channels))


class Bottleneck(nn.Module):
    """[N, C, H, W] -> the same shape; `main` is its convolution of C/4 channels."""

    def __init__(self, channels: int, main: nn.Module, dropout: float) -> None:
        super().__init__()
        project = nn.Conv2d(channels, channels // REDUCTION, 1, bias=False)
        self.extension = _Extension(project, main, channels, dropout)
        self.relu = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.extension(x) + x)
        return out


class Downsampling(nn.Module):
    """[N, in, H, W] -> [N, out, H/2, W/2]; the main branch is pooled and given channels of zeros."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        inside = out_channels // REDUCTION
        project = nn.Conv2d(in_channels, inside, 2, 2, bias=False)
        self.extension = _Extension(project, _plain(inside), out_channels, dropout)
        self.pool = nn.MaxPool2d(2)
        self.added = out_channels - in_channels
        self.relu = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        main = F.pad(self.pool(x), (0, 0, 0, 0, 0, self.added))
        out: Tensor = self.relu(self.extension(x) + main)
        return out


class Upsampling(nn.Module):
    """[N, in, H, W] -> [N, out, 2H, 2W]; the main branch is unpooled to where the maxima of the encoder's
    tensor of this size stand, [N, out, 2H, 2W].
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        inside = out_channels // REDUCTION
        project = nn.Conv2d(in_channels, inside, 1, bias=False)
        main = nn.ConvTranspose2d(inside, inside, 3, 2, 1, output_padding=1, bias=False)
        self.extension = _Extension(project, main, out_channels, dropout)
        self.main = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.relu = nn.PReLU(out_channels)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        out: Tensor = self.relu(self.extension(x) + unpool(self.main(x), before))
        return out


def _plain(channels: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)


def _asymmetric(channels: int) -> nn.Sequential:
    """5x1, then 1x5 (section 4, "Factorizing filters")."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, (5, 1), padding=(2, 0), bias=False),
        nn.Conv2d(channels, channels, (1, 5), padding=(0, 2), bias=False),
    )


def _context_stage() -> nn.Sequential:
    """Bottlenecks 2.1 to 2.8 of table 1, at 1/8: plain, dilated and asymmetric in turns."""
    mains = (
        _plain(32), _plain(32, 2), _asymmetric(32), _plain(32, 4),
        _plain(32), _plain(32, 8), _asymmetric(32), _plain(32, 16),
    )  # fmt: skip
    return nn.Sequential(*(Bottleneck(128, main, LATE_DROPOUT) for main in mains))
