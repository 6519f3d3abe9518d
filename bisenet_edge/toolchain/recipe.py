"""The training recipe: the paper's settings as defaults (section 4.1), read from TOML."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisenet_edge.config import read_toml
from bisenet_edge.errors import ConfigError, unknown_name
from bisenet_edge.frame import Size

if TYPE_CHECKING:
    from typing import Self

LOSS_STRIDES = (1, 2, 4, 8)
CLASS_WEIGHTS = ("equal", "enet")
PRECISIONS = ("bf16", "fp16", "fp32")
PAPER_SCALES = (0.75, 1.0, 1.5, 1.75, 2.0)
LEAST_SCALE, LARGEST_SCALE = 0.1, 10.0
ABOVE_0 = ("epochs", "batch", "accumulate", "learning_rate", "eval_every")
FROM_0 = ("poly_power", "warmup_steps", "weight_decay", "aux_weight", "seed", "lovasz")
FROM_0_BELOW_1 = ("momentum", "jitter", "ohem_threshold", "ohem_min_kept", "ema")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of a training run.

    Attributes:
        model: name of the network.
        data: data set URIs; their train splits are mixed, the first one's val split picks the best epoch.
        epochs: passes over the mixed train splits.
        batch: pictures per step (paper: 16), of all processes together.
        accumulate: parts that each step's batch is worked on in, one after the other, where memory is
            short. Gradients are those of the whole batch: sums over its labelled pixels, divided once.
            Statistics of batch normalisation are each part's own, and with `ohem_threshold` or `lovasz`
            the loss is the mean of the parts' losses.
        crop: training crop, "WxH".
        learning_rate: start of the "poly" schedule (paper: 2.5e-2).
        poly_power: lr = learning_rate * (1 - step / steps) ** poly_power (paper: 0.9).
        warmup_steps: steps over which the learning rate rises from 0; 0 = the paper's abrupt start.
        momentum, weight_decay: of SGD (paper: 0.9, 1e-4).
        scales: each picture is scaled by one of these (the paper's set is the default) ...
        scale_min, scale_max: ... or, where given, by any factor of this range.
        flip: mirror half of the pictures.
        jitter: brightness and contrast are each multiplied by 1 +- jitter; 0 = the paper.
        loss_stride: the loss is taken at 1/loss_stride of the label size (1, 2, 4 or 8). The authors'
            fast networks use 8; 4 trains about 2.5 times as fast as 1 on a CPU.
        aux_weight: weight of each auxiliary loss (paper: 1).
        class_weights: "equal" (paper); "enet": 1 / ln(1.02 + the class's share of the train pixels)
            (Paszke et al. 2016, section 4): thin and rare classes count more, up to 50 times; or a table of
            class name -> weight, 1 for those that are not named.
        ohem_threshold: only pixels whose true class has a probability below this teach (online hard
            example mining; public BiSeNet recipes take 0.7); 0 = all pixels, as in the paper.
        ohem_min_kept: share of the labelled pixels that teach at least, the hardest ones; of each process's
            pixels of each part, so other ones with another number of processes.
        lovasz: weight of the Lovasz-Softmax loss of the main head, a stand-in for mIoU (Berman et al.,
            CVPR 2018), added to the cross-entropy; 0 = the paper. For the last part of a training.
        ema: decay per step of an exponential moving average of the weights, which is then what is
            evaluated and kept as the best; 0 = none. 0.99 averages over about 100 steps.
        init: checkpoint whose weights training starts from; "" = random weights. Layers of other
            shapes (the classifiers, when the classes are others) start from random weights.
        precision: what convolutions are computed in: "bf16", "fp32", or "fp16" with loss scaling for
            NVIDIA GPUs older than Ampere, which have no BF16. Weights, losses and sums are FP32.
        eval_every: epochs between evaluations on the val split.
        seed: of initial weights, order and augmentation.
    """

    model: str
    data: tuple[str, ...]
    epochs: int = 200
    batch: int = 16
    accumulate: int = 1
    crop: str = "480x360"
    learning_rate: float = 2.5e-2
    poly_power: float = 0.9
    warmup_steps: int = 0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    scales: tuple[float, ...] = PAPER_SCALES
    scale_min: float = 0.0
    scale_max: float = 0.0
    flip: bool = True
    jitter: float = 0.0
    loss_stride: int = 4
    aux_weight: float = 1.0
    class_weights: str | dict[str, float] = "equal"
    ohem_threshold: float = 0.0
    ohem_min_kept: float = 1 / 16
    lovasz: float = 0.0
    ema: float = 0.0
    init: str = ""
    precision: str = "bf16"
    eval_every: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_numbers()
        if self.loss_stride not in LOSS_STRIDES:
            raise ConfigError("recipe: unknown 'loss_stride'", got=self.loss_stride, expected="1, 2, 4 or 8")
        self._check_scales()
        if self.batch % self.accumulate:
            raise ConfigError(
                "recipe: 'batch' does not fall into 'accumulate' parts of one size",
                got=f"{self.batch} pictures in {self.accumulate} parts",
                expected="a divisor of the batch",
            )
        if isinstance(self.class_weights, dict):
            _check_weights(self.class_weights)
        elif self.class_weights not in CLASS_WEIGHTS:
            raise unknown_name("'class_weights' of the recipe", self.class_weights, CLASS_WEIGHTS)
        if self.precision not in PRECISIONS:
            raise unknown_name("'precision' of the recipe", self.precision, PRECISIONS)
        if not all(isinstance(uri, str) for uri in self.data):
            raise ConfigError(
                "recipe: 'data' names data sets", got=list(self.data), expected='data = ["camvid:PATH"]'
            )
        if not self.data:
            raise ConfigError("recipe: no data set", expected='data = ["camvid:PATH"]')
        size = Size.parse(self.crop)
        if size.width % 8 or size.height % 8:
            raise ConfigError(
                "recipe: 'crop' cannot be halved three times",
                got=self.crop,
                expected="both sides multiples of 8",
            )

    def _check_numbers(self) -> None:
        for names, good, expected in (
            (ABOVE_0, lambda value: value > 0, "a number above 0"),
            (FROM_0, lambda value: value >= 0, "0 or more"),
            (FROM_0_BELOW_1, lambda value: 0 <= value < 1, "0 or more, below 1"),
        ):
            for name in names:
                value = getattr(self, name)
                if not (math.isfinite(value) and good(value)):
                    raise ConfigError(f"recipe: '{name}' is out of range", got=value, expected=expected)

    def _check_scales(self) -> None:
        allowed = f"{LEAST_SCALE:g} to {LARGEST_SCALE:g}"
        both = (self.scale_min, self.scale_max)
        if both != (0, 0) and not LEAST_SCALE <= self.scale_min <= self.scale_max <= LARGEST_SCALE:
            raise ConfigError(
                "recipe: 'scale_min' and 'scale_max' are no range",
                got=f"{self.scale_min} to {self.scale_max}",
                expected=f"both from {allowed}, the smaller one first, or neither",
            )
        # bool is an int in Python; "scales = [true]" must not pass.
        good = all(
            isinstance(scale, float | int)
            and not isinstance(scale, bool)
            and LEAST_SCALE <= scale <= LARGEST_SCALE
            for scale in self.scales
        )
        if not self.scales or not good:
            raise ConfigError(
                "recipe: 'scales' cannot be used",
                got=list(self.scales),
                expected=f"factors from {allowed}, for example scales = {list(PAPER_SCALES)}",
            )

    @property
    def crop_size(self) -> Size:
        return Size.parse(self.crop)

    @classmethod
    def read(cls, path: Path, **overrides: Any) -> Self:
        """Read a recipe; values given as keywords (not None) win over the file's.

        Raises:
            ConfigError, UsageError: unknown key, wrong type or value out of range.
        """
        types: dict[str, Any] = {
            "str": str,
            "int": int,
            "float": (float, int),
            "bool": bool,
            "str | dict[str, float]": (str, dict),
            "tuple[str, ...]": list,
            "tuple[float, ...]": list,
        }
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
        tuples: dict[str, Any] = {name: tuple(values[name]) for name in ("data", "scales") if name in values}
        return cls(**{**values, **tuples})

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """Make a recipe from the paper's defaults and the options that are not None."""
        return cls.build(_given(options), "training")

    @classmethod
    def completed(cls, stored: dict[str, Any]) -> dict[str, Any]:
        """`to_json` of a recipe from before some fields were there, with what those now stand at."""
        added = {
            f.name: f.default
            for f in dataclasses.fields(cls)
            if f.name in ("accumulate", "lovasz", "precision")
        }
        return {**added, **stored}

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "data": list(self.data), "scales": list(self.scales)}


def _check_weights(weights: dict[str, float]) -> None:
    for name, weight in weights.items():
        number = isinstance(weight, float | int) and not isinstance(weight, bool)
        if not (number and math.isfinite(weight) and weight > 0):
            raise ConfigError(
                f"recipe: the weight of class '{name}' cannot be used",
                got=weight,
                expected="a number above 0",
            )


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value not in (None, ())}
