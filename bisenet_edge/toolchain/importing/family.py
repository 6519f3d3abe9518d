"""What a public implementation calls the parts of BiSeNet, and where it departs from ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from bisenet_edge.toolchain.models.bisenet_config import BiSeNetConfig

State = Mapping[str, Tensor]
Names = dict[str, str]


@dataclass(frozen=True)
class Normalisation:
    """What the training subtracted and divided by, for colours in 0..1: (red, green, blue)."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Family(ABC):
    """One public implementation.

    Attributes:
        name: as `--from` takes it.
        origin: where it is published.
        notes: what its users should know of the imported network.
    """

    name: str
    origin: str
    notes: tuple[str, ...] = ()

    @abstractmethod
    def matches(self, state: State) -> bool:
        """Whether a state dict has this implementation's names."""

    @abstractmethod
    def config(self, state: State) -> BiSeNetConfig:
        """The configuration, but for the normalisation, read off names and shapes.

        Raises:
            CheckpointError: a version of this implementation that cannot be represented.
        """

    @abstractmethod
    def modules(self, config: BiSeNetConfig) -> Names:
        """Name of each convolution and batch normalisation there -> here."""

    @abstractmethod
    def normalisation(self, num_classes: int) -> Normalisation | None:
        """What its training used for a data set of so many classes; None when that is not known."""

    def ignored(self, key: str) -> bool:
        """Whether a tensor is no part of the network."""
        return False


def resnet18_names(theirs: str, ours: str) -> Names:
    """The names of torchvision's ResNet-18, which both implementations keep."""
    names = {f"{theirs}.conv1": f"{ours}.stem.conv", f"{theirs}.bn1": f"{ours}.stem.bn"}
    for layer, stride in enumerate((4, 8, 16, 32), 1):
        for block in range(2):
            there, here = f"{theirs}.layer{layer}.{block}", f"{ours}.stage{stride}.{block}"
            for index in range(2):
                names[f"{there}.conv{index + 1}"] = f"{here}.branch.{index}.conv"
                names[f"{there}.bn{index + 1}"] = f"{here}.branch.{index}.bn"
            if layer > 1 and block == 0:
                names[f"{there}.downsample.0"] = f"{here}.skip.conv"
                names[f"{there}.downsample.1"] = f"{here}.skip.bn"
    return names


def with_norm(pairs: Names) -> Names:
    """The `conv` and `bn` inside each of some conv + BN blocks."""
    return {f"{a}.{part}": f"{b}.{part}" for a, b in pairs.items() for part in ("conv", "bn")}


def width(state: State, convolution: str) -> int:
    """Output channels of a convolution; 0 when it is absent, or a number alone."""
    weight = state.get(f"{convolution}.weight")
    return 0 if weight is None or weight.dim() == 0 else weight.shape[0]
