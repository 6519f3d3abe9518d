"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bisenet_edge.errors import unknown_name
from bisenet_edge.toolchain.models.bisenet import BiSeNet, initialise
from bisenet_edge.toolchain.models.resnet18 import ResNet18
from bisenet_edge.toolchain.models.xception39 import Xception39


@dataclass(frozen=True)
class PaperRow:
    """What the paper prints for one network at 640x360 (table 2), and in which units it really is.

    `gmacs`: the column headed "GFLOPS", which counts multiply-adds for the BiSeNets.
    `mib_fp32`: the column headed "Parameters", which is MiB of FP32 weights for the BiSeNets.
    """

    gmacs: float
    mib_fp32: float


@dataclass(frozen=True)
class Entry:
    """One network: how to build it, and what the paper prints of it."""

    backbone: Callable[[], Xception39 | ResNet18]
    aux_width: int
    paper: PaperRow


ZOO = {
    "bisenet-xception39": Entry(Xception39, aux_width=128, paper=PaperRow(gmacs=2.9, mib_fp32=5.8)),
    "bisenet-resnet18": Entry(ResNet18, aux_width=256, paper=PaperRow(gmacs=10.8, mib_fp32=49.0)),
}


def entry(name: str) -> Entry:
    """Look up a network.

    Raises:
        UsageError: no network of this name.
    """
    if name not in ZOO:
        raise unknown_name("model", name, ZOO)
    return ZOO[name]


def build(name: str, num_classes: int) -> BiSeNet:
    """Build a network with freshly initialised weights and its auxiliary heads, in training mode.

    Raises:
        UsageError: no network of this name.
    """
    chosen = entry(name)
    model = BiSeNet(chosen.backbone(), num_classes, chosen.aux_width)
    initialise(model)
    return model
