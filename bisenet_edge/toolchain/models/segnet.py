"""SegNet with batch normalisation (Badrinarayanan, Kendall, Cipolla: arXiv 1511.00561, section 3).

The encoder is VGG16's 13 convolutions, the decoder their mirror image: each of its stages begins by putting
its input where the maxima of the encoder's stage stood, and the last convolution of a stage has the
channels of the next one; the very last gives the classes. Sides may be odd: a last row alone is pooled by
itself, as the authors' Caffe does, so that 640x360 needs no padding.
"""

from __future__ import annotations

from torch import Tensor, fx, nn

from bisenet_edge.toolchain.models.layers import ConvBnRelu
from bisenet_edge.toolchain.models.network import Network, normalised
from bisenet_edge.toolchain.models.unpool import unpool

fx.wrap("unpool")

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of the encoder's stages (Simonyan and Zisserman 2015, configuration D)."""


class SegNet(Network):
    """`forward` takes float [N, 3, H, W] and gives logits [N, C, H, W]; a tuple of them alone in training.

    Args:
        num_classes: C.
        stages: channels and number of convolutions of the encoder's stages, outermost first.
    """

    logits_stride = 1
    input_multiple = 1

    def __init__(self, num_classes: int, stages: tuple[tuple[int, int], ...] = STAGES) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        previous = 3
        for channels, depth in stages:
            self.encoder.append(_convolutions(previous, [channels] * depth))
            previous = channels
        outside = [stages[0][0], *(channels for channels, _ in stages[:-1])]
        for number in reversed(range(len(stages))):
            channels, depth = stages[number]
            # The outermost stage ends in the classifier, which has neither normalisation nor ReLU.
            widths = [channels] * (depth - 1) + ([outside[number]] if number else [])
            self.decoder.append(_convolutions(channels, widths))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.classifier = nn.Conv2d(stages[0][0], num_classes, 3, padding=1)

    def drop_auxiliary_heads(self) -> None:
        """SegNet has none."""

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = normalised(image)
        before = []
        for stage in self.encoder:
            x = stage(x)
            before.append(x)
            x = self.pool(x)
        for stage in self.decoder:
            x = stage(unpool(x, before.pop()))
        logits: Tensor = self.classifier(x)
        return (logits,) if self.training else logits


def _convolutions(in_channels: int, widths: list[int]) -> nn.Sequential:
    inputs = [in_channels, *widths[:-1]]
    return nn.Sequential(*(ConvBnRelu(i, o, 3) for i, o in zip(inputs, widths)))
