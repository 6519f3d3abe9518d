"""The training recipe: the paper's settings as defaults (section 4.1), read from TOML."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisenet_edge.config import read_toml
from bisenet_edge.errors import ConfigError
from bisenet_edge.frame import Size

if TYPE_CHECKING:
    from typing import Self

LOSS_STRIDES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of a training run.

    Attributes:
        model: name of the network.
        data: data set URIs; their train splits are mixed, the first one's val split picks the best epoch.
        epochs: passes over the mixed train splits.
        batch: pictures per step (paper: 16).
        crop: training crop, "WxH".
        learning_rate: start of the "poly" schedule (paper: 2.5e-2).
        poly_power: lr = learning_rate * (1 - step / steps) ** poly_power (paper: 0.9).
        warmup_steps: steps over which the learning rate rises from 0; 0 = the paper's abrupt start.
        momentum, weight_decay: of SGD (paper: 0.9, 1e-4).
        scale_min, scale_max: range of random scaling (paper: 0.75 to 2.0).
        flip: mirror half of the pictures.
        jitter: brightness and contrast are each multiplied by 1 +- jitter; 0 = the paper.
        loss_stride: the loss is taken at 1/loss_stride of the label size (1, 2, 4 or 8). The authors'
            fast networks use 8; 4 trains about 2.5 times as fast as 1 on a CPU.
        aux_weight: weight of each auxiliary loss (paper: 1).
        eval_every: epochs between evaluations on the val split.
        seed: of initial weights, order and augmentation.
    """

    model: str
    data: tuple[str, ...]
    epochs: int = 200
    batch: int = 16
    crop: str = "480x360"
    learning_rate: float = 2.5e-2
    poly_power: float = 0.9
    warmup_steps: int = 0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    scale_min: float = 0.75
    scale_max: float = 2.0
    flip: bool = True
    jitter: float = 0.0
    loss_stride: int = 4
    aux_weight: float = 1.0
    eval_every: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("epochs", "batch", "learning_rate", "eval_every", "scale_min")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigError(f"recipe: '{name}' must be above 0", got=getattr(self, name))
        if self.loss_stride not in LOSS_STRIDES:
            raise ConfigError("recipe: 'loss_stride'", got=self.loss_stride, expected="1, 2, 4 or 8")
        if self.scale_max < self.scale_min:
            raise ConfigError("recipe: 'scale_max' is below 'scale_min'", got=self.scale_max)
        if not self.data:
            raise ConfigError("recipe: no data set", expected='data = ["camvid:PATH"]')
        size = Size.parse(self.crop)
        if size.width % 8 or size.height % 8:
            raise ConfigError("recipe: 'crop'", got=self.crop, expected="both sides multiples of 8")

    @property
    def crop_size(self) -> Size:
        return Size.parse(self.crop)

    @classmethod
    def read(cls, path: Path, **overrides: Any) -> Self:
        """Read a recipe; values given as keywords (not None) win over the file's.

        Raises:
            ConfigError, UsageError: unknown key, wrong type or value out of range.
        """
        types = {"str": str, "int": int, "float": (float, int), "bool": bool, "tuple[str, ...]": list}
        optional = {f.name: types[str(f.type)] for f in dataclasses.fields(cls)}
        return cls.build({**read_toml(path, {}, optional), **_given(overrides)}, str(path))

    @classmethod
    def build(cls, values: dict[str, Any], where: str) -> Self:
        """Make a recipe from loose values.

        Raises:
            ConfigError: model or data are missing, or a value is out of range.
        """
        for name in ("model", "data"):
            if not values.get(name):
                raise ConfigError(
                    f"{where}: no '{name}'", expected=f"--{name} on the command line or {name} = ..."
                )
        return cls(**{**values, "data": tuple(values["data"])})

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """Make a recipe from the paper's defaults and the options that are not None."""
        return cls.build(_given(options), "training")

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "data": list(self.data)}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value not in (None, ())}
