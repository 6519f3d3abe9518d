"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bisenet_edge.errors import unknown_name
from bisenet_edge.toolchain.models.ablation import ABLATION
from bisenet_edge.toolchain.models.bisenet import BiSeNet
from bisenet_edge.toolchain.models.bisenet_config import RESNET18, RESNET101, XCEPTION39, BiSeNetConfig
from bisenet_edge.toolchain.models.bisenetv2 import BiSeNetV2
from bisenet_edge.toolchain.models.dlc import DLC
from bisenet_edge.toolchain.models.enet import ENet
from bisenet_edge.toolchain.models.icnet import ICNet
from bisenet_edge.toolchain.models.network import Network, initialise
from bisenet_edge.toolchain.models.segnet import SegNet
from bisenet_edge.toolchain.models.sq import SQ


@dataclass(frozen=True)
class PaperRow:
    """What the BiSeNet paper prints for one network at 640x360 (table 2), in the unit it really is.

    The column headed "GFLOPS" counts multiply-adds for some networks (`gmacs`) and floating-point operations,
    two per multiply-add, for others (`gflops`); the one headed "Parameters" is MiB of FP32 weights for some
    (`mib_fp32`) and millions of parameters for others (`parameters_m`). None = nothing printed in this unit.
    """

    gmacs: float | None = None
    gflops: float | None = None
    mib_fp32: float | None = None
    parameters_m: float | None = None


@dataclass(frozen=True)
class Entry:
    """One network: how to build it (number of classes -> network), and what the paper prints of it.

    Attributes:
        build: gives the network with its auxiliary heads; `zoo.build` initialises its weights.
        paper: None for a network that the paper's table 2 does not have.
    """

    build: Callable[[int], Network]
    paper: PaperRow | None = None


ZOO = {
    "bisenet-xception39": Entry(partial(BiSeNet, XCEPTION39), PaperRow(gmacs=2.9, mib_fp32=5.8)),
    "bisenet-resnet18": Entry(partial(BiSeNet, RESNET18), PaperRow(gmacs=10.8, mib_fp32=49.0)),
    "bisenet-resnet101": Entry(partial(BiSeNet, RESNET101)),
    "bisenetv2": Entry(BiSeNetV2),
    "dlc": Entry(DLC),
    "enet": Entry(ENet, PaperRow(gflops=3.8, parameters_m=0.4)),
    "icnet": Entry(ICNet),
    "segnet": Entry(SegNet, PaperRow(gflops=286.0, parameters_m=29.5)),
    "sq": Entry(SQ),
}
ZOO.update({name: Entry(partial(BiSeNet, row.config)) for name, row in ABLATION.items() if name not in ZOO})


def entry(name: str) -> Entry:
    """Look up a network.

    Raises:
        UsageError: no network of this name.
    """
    if name not in ZOO:
        raise unknown_name("model", name, ZOO)
    return ZOO[name]


def build(name: str, num_classes: int, architecture: dict[str, Any] | None = None) -> Network:
    """Build a network with freshly initialised weights and its auxiliary heads, in training mode.

    Args:
        name: of the network.
        num_classes: C.
        architecture: its configuration as JSON, from a checkpoint; None or empty = the zoo's.

    Raises:
        UsageError: no network of this name.
        ConfigError, UsageError: an architecture that is not understood.
    """
    chosen = entry(name)
    if architecture:
        network: Network = BiSeNet(BiSeNetConfig.from_json(architecture), num_classes)
    else:
        network = chosen.build(num_classes)
    initialise(network)
    return network
