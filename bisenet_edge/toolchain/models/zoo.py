"""The networks by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bisenet_edge.errors import unknown_name
from bisenet_edge.toolchain.models.ablation import ABLATION
from bisenet_edge.toolchain.models.bisenet import BiSeNet, initialise
from bisenet_edge.toolchain.models.bisenet_config import RESNET18, RESNET101, BiSeNetConfig


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
    """One network: what it is made of, and what the paper prints of it."""

    config: BiSeNetConfig
    paper: PaperRow | None = None


ZOO = {
    "bisenet-xception39": Entry(
        ABLATION["bisenet-xception39"].config, paper=PaperRow(gmacs=2.9, mib_fp32=5.8)
    ),
    "bisenet-resnet18": Entry(RESNET18, paper=PaperRow(gmacs=10.8, mib_fp32=49.0)),
    "bisenet-resnet101": Entry(RESNET101),
}
ZOO.update({name: Entry(row.config) for name, row in ABLATION.items() if name not in ZOO})


def entry(name: str) -> Entry:
    """Look up a network.

    Raises:
        UsageError: no network of this name.
    """
    if name not in ZOO:
        raise unknown_name("model", name, ZOO)
    return ZOO[name]


def build(name: str, num_classes: int, architecture: dict[str, Any] | None = None) -> BiSeNet:
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
    config = BiSeNetConfig.from_json(architecture) if architecture else chosen.config
    model = BiSeNet(config, num_classes)
    initialise(model)
    return model
