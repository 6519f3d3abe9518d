"""What every network of the zoo obeys, so that training, export and INT8 need not know which one it is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, fx, nn
from torch.nn import functional as F

MEAN = 128.0
STD = 64.0


class Network(nn.Module, ABC):
    """A segmentation network: a BGR picture, float [N, 3, H, W] in 0..255 -> logits.

    `forward` gives

    - in evaluation: logits [N, C, H/s, W/s], s = `logits_stride`;
    - in training: a tuple of logits, the main head's first, then those of any number of auxiliary heads,
      each [N, C, h, w] of a size of its own.

    It begins with `normalised(image)`, and torch.fx can trace it: no decision in it depends on values or
    shapes. Where one must, it stands in a function that the calling module wraps (`torch.fx.wrap`).

    Attributes:
        logits_stride: how much smaller the logits are than the picture; 1 = of its size.
        input_multiple: both sides of the picture are multiples of this, itself a multiple of
            `logits_stride`. Exported graphs pad and crop other sizes inside.
    """

    logits_stride: int
    input_multiple: int

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of a picture, see the class."""

    @abstractmethod
    def drop_auxiliary_heads(self) -> None:
        """Remove what only training needs; a network without auxiliary heads does nothing here."""


def input_multiple(network: nn.Module) -> int:
    """`Network.input_multiple`, also of a graph module that was folded from a network."""
    if isinstance(network, fx.GraphModule):
        return int(network.meta["input_multiple"])
    return int(network.input_multiple)  # type: ignore[arg-type]


def normalised(image: Tensor) -> Tensor:
    """(image - 128) / 64: quantized to INT8 with scale 1/64 its code is the pixel minus 128, exactly."""
    return (image - MEAN) * (1.0 / STD)


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear up-sampling with half-pixel centres to the height and width of `like`."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def initialise(model: nn.Module) -> None:
    """He initialisation of all convolutions (He et al. 2015), as the authors of BiSeNet train from."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
