"""What a BiSeNet is made of, as data: the paper's networks, its ablation, and public implementations."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from bisenet_edge.config import check_keys
from bisenet_edge.errors import ConfigError
from bisenet_edge.toolchain.models.network import MEAN, STD

BACKBONES = ("xception39", "resnet18", "resnet101")
FUSIONS = ("ffm", "sum", "none")
GATES = ("two-convs", "conv-bn")
UPSAMPLINGS = ("bilinear", "bilinear-corners", "nearest")


@dataclass(frozen=True)
class BiSeNetConfig:
    """One BiSeNet. What is not said is as the authors' released code has it.

    Attributes:
        backbone: of the Context Path: "xception39", "resnet18" or "resnet101".
        auxiliary_width: channels of the 3x3 convolution in the two auxiliary heads; 0 = no such heads.
        fusion: how the Spatial Path joins the Context Path: "ffm" (section 3.3), "sum" (added), or "none"
            (there is no Spatial Path).
        global_pooling: the globally pooled context is added to the 1/32 features (section 3.2).
        attention: the 1/16 and 1/32 features pass an ARM (section 3.2); else what the ARM gates, the
            3x3 convolution to the width of the context, stands alone.
        gate: the FFM's: "two-convs" (1x1, ReLU, 1x1: the paper's figure 2c) or "conv-bn" (one 1x1 and batch
            normalisation).
        gate_reduction: by how much the first of the two convolutions narrows.
        head_width: channels of the 3x3 convolution in the main head.
        upsampling: of the context to 1/16 and 1/8: "bilinear" (half-pixel centres), "bilinear-corners"
            (corner pixels aligned) or "nearest". The logits are always up-sampled with half-pixel centres.
        mean, std: of the normalisation inside the network, in units of 0..255: (blue, green, red).
    """

    backbone: str
    auxiliary_width: int
    fusion: str = "ffm"
    global_pooling: bool = True
    attention: bool = True
    gate: str = "two-convs"
    gate_reduction: int = 1
    head_width: int = 64
    upsampling: str = "bilinear"
    mean: tuple[float, float, float] = (MEAN, MEAN, MEAN)
    std: tuple[float, float, float] = (STD, STD, STD)

    def __post_init__(self) -> None:
        choices = {"backbone": BACKBONES, "fusion": FUSIONS, "gate": GATES, "upsampling": UPSAMPLINGS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"BiSeNet: '{name}'", got=repr(getattr(self, name)), expected=", ".join(allowed)
                )
        lowest = {"auxiliary_width": 0, "gate_reduction": 1, "head_width": 1}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise ConfigError(f"BiSeNet: '{name}'", got=getattr(self, name), expected=f"{least} or more")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise ConfigError(
                "BiSeNet: normalisation",
                got=f"mean {self.mean}, std {self.std}",
                expected="three numbers each, std above 0",
            )

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> BiSeNetConfig:
        """Read what `to_json` gave.

        Raises:
            ConfigError, UsageError: an unknown key, a missing one, a wrong type or a value out of range.
        """
        types = {"str": str, "int": int, "bool": bool, "tuple[float, float, float]": list}
        fields = {f.name: types[str(f.type)] for f in dataclasses.fields(cls)}
        required = {name: fields.pop(name) for name in ("backbone", "auxiliary_width")}
        given = dict(check_keys(value, required, fields, "the architecture of a BiSeNet"))
        for name in ("mean", "std"):
            if name in given:
                given[name] = _floats(name, given[name])
        return cls(**given)


def _floats(name: str, values: list[Any]) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"BiSeNet: '{name}'", got=values, expected="three numbers") from error


XCEPTION39 = BiSeNetConfig("xception39", auxiliary_width=128)
RESNET18 = BiSeNetConfig("resnet18", auxiliary_width=256)
RESNET101 = BiSeNetConfig("resnet101", auxiliary_width=256, head_width=256)
"""The paper's three networks, with the widths of the heads in the authors' code."""
