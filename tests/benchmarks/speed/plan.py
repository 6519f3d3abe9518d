"""What a run measures, and about how long that takes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bisenet_edge.frame import Size

from .contestants import ENTRANTS, OURS, PEAKS, PEERS
from .turns import BurstPlan, Patience

MODELS = ("bisenet-xception39", "bisenet-resnet18")
TARGET_SIZE = Size(640, 360)
SIZES = (TARGET_SIZE, Size(1280, 720), Size(1920, 1080))
SCALING_SIZES = (Size(256, 128), Size(512, 256), TARGET_SIZE, Size(1024, 512), *SIZES[1:], Size(2048, 1024))
QUICK_SIZE = Size(96, 64)
HEAVY = ("torch-compile-fp32", "torch-compile-bf16")
"""Compiling takes minutes for each network, size and number of threads: the first size with the most threads
only, unless asked for by name."""
FIRST_SIZE_ONLY = (*PEAKS, "ort-static-s8")
"""The machine's peaks do not depend on the size; and what is slower than FP32 is not timed again."""
FOR_TARGETS = (
    "ours-int8",
    "ours-int8-files",
    "ours-ort-int8",
    "ort-fp32",
    "ort-fp32-argmax",
    "nncf-int8-ppp",
    "nncf-int8-topk",
    "peak-openvino-int8",
)
"""Who must run so that every target can be told."""

START_S = {"torch": 5.0, "nncf": 4.0, "openvino": 2.5, "ours": 2.5, "ort": 1.5, "ncnn": 2.0, "peak": 2.0}
"""Seconds that a contestant's process takes to be ready, by the beginning of its name."""
COMPILE_S = 60.0
MAKE_S, MAKE_SIZE_S = 14.0, 4.0
PREPARE_S = {"ort-static-u8": 10.0, "ort-static-s8": 10.0, "nncf-int8": 12.0, "ncnn-fp32": 5.0}
"""At 640x360, on two calm cores; a fifth of it grows with the pixels, as fewer frames calibrate
larger sizes."""
FAST = ("ours-int8", "ours-bf16", "nncf", "openvino-bf16", "peak")
FAST_S, MIDDLE_S, SLOW_S, USUAL_S = 0.006, 0.03, 0.07, 0.015
"""One frame of Xception39 at 640x360 on two cores: INT8 and BF16 of OpenVINO; other engines; PyTorch; and
what the usual pre- and post-processing adds. ResNet-18 takes three times as long on all but the first."""


@dataclass(frozen=True)
class Group:
    """Contestants that take turns with each other: one network, one size, one number of threads.

    Attributes:
        rounds: that are to be kept.
        burst_s: how long a turn is.
        least: samples of a turn.
    """

    model: str
    size: Size
    threads: int
    names: tuple[str, ...]
    rounds: int
    burst_s: float
    least: int = 2

    def __str__(self) -> str:
        return f"{self.model} {self.size}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def jobs(self) -> tuple[str, ...]:
        """Video only where a target needs it."""
        if self.size in (TARGET_SIZE, QUICK_SIZE):
            return ("network", "mask", "peak", "flow", "video")
        return ("network", "mask", "peak")

    def seconds(self, burst: BurstPlan) -> float:
        """About how long it takes on two calm cores."""
        work = self.size.width * self.size.height / (TARGET_SIZE.width * TARGET_SIZE.height)
        total = 0.0
        for name in self.names:
            total += next((s for start, s in START_S.items() if name.startswith(start)), 2.0)
            total += PREPARE_S.get(name, 0.0) * (4 + work) / 5 + COMPILE_S * (name in HEAVY)
            fast = name.startswith(FAST)
            frame_s = FAST_S if fast else SLOW_S if name.startswith("torch") else MIDDLE_S
            frame_s *= work * 2 / self.threads * (3.0 if "resnet" in self.model and not fast else 1.0)
            calls = [frame_s] if name.startswith("peak") else [frame_s, frame_s + USUAL_S * work * (not fast)]
            least_s = self.burst_s + burst.warm_s
            total += self.rounds * sum(max(least_s, (self.least + 1) * call_s) for call_s in calls)
        if "video" in self.jobs:
            total += self.rounds * 6.0
        return total


@dataclass(frozen=True)
class Plan:
    """Everything that one run does.

    Attributes:
        groups: contests.
        scaling: sizes whose cost is measured against their pixels; empty = none.
        streams: cameras are put on one engine.
        startup: how often each start is measured; 0 = not.
        side_rounds: of scaling, and of cameras at most 3.
        burst, patience: of every contest.
        weights: checkpoints beside the shipped one, by network.
        quantize_at: size of the calibration of our network.
        work: folder that keeps what was made; None = a temporary one.
    """

    groups: tuple[Group, ...]
    scaling: tuple[Size, ...] = ()
    streams: bool = False
    startup: int = 0
    side_rounds: int = 5
    burst: BurstPlan = field(default_factory=BurstPlan)
    patience: Patience = field(default_factory=Patience)
    weights: dict[str, Path] = field(default_factory=dict)
    quantize_at: Size = TARGET_SIZE
    work: Path | None = None

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(group.model for group in self.groups))

    @property
    def threads(self) -> int:
        """The most that any group uses."""
        return max(group.threads for group in self.groups)

    def seconds(self) -> float:
        """About how long it takes on two calm cores, on which nothing has been made yet."""
        pairs = {(group.model, group.size) for group in self.groups}
        making = MAKE_S * len(self.models) + MAKE_SIZE_S * len(pairs)
        contests = sum(group.seconds(self.burst) for group in self.groups)
        scaling = len(self.scaling) * len(self.models) * (MAKE_SIZE_S + 2.5 + self.side_rounds * 0.8)
        streams = 4 * (2.5 + min(3, self.side_rounds) * 3.2) * len(self.models) if self.streams else 0.0
        return making + contests + scaling + streams + (self.startup + 1) * 4 * 2.0 * bool(self.startup)


@dataclass(frozen=True)
class Choice:
    """What the groups are made of.

    Attributes:
        sizes, threads: all pairs; or, unless `crossed`, fewer threads than the most at the first size only.
        names: contestants; empty = all.
        heavy: with those that are slow to prepare, in the main group of each network.
        rounds, burst_s: of the first size with the most threads; half of that elsewhere, and without
            `FIRST_SIZE_ONLY`.
    """

    models: tuple[str, ...] = MODELS
    sizes: tuple[Size, ...] = (TARGET_SIZE,)
    threads: tuple[int, ...] = (2,)
    crossed: bool = True
    names: tuple[str, ...] = ()
    heavy: bool = True
    rounds: int = 10
    burst_s: float = 0.3

    def groups(self) -> tuple[Group, ...]:
        """One group for each network, size and number of threads."""
        return tuple(
            self._group(model, size, count)
            for model in self.models
            for size in self.sizes
            for count in self.threads
            if self.crossed or size == self.sizes[0] or count == max(self.threads)
        )

    def _group(self, model: str, size: Size, count: int) -> Group:
        main = size == self.sizes[0] and count == max(self.threads)
        names = self.names or tuple(
            name
            for name in (*OURS, *PEERS, *PEAKS)
            if (name not in HEAVY or (main and self.heavy))
            and (name not in FIRST_SIZE_ONLY or size == self.sizes[0])
        )
        if main:
            return Group(model, size, count, names, self.rounds, self.burst_s)
        rounds = min(self.rounds, max(3, self.rounds // 2))
        return Group(model, size, count, names, rounds, self.burst_s / 2, least=1)


def default_threads() -> tuple[int, ...]:
    """1 and 2, or what this machine has."""
    return (1, 2) if (os.cpu_count() or 1) > 1 else (1,)


def check_names(names: tuple[str, ...]) -> None:
    """Refuse contestants that do not exist.

    Raises:
        ValueError: names one.
    """
    for name in names:
        if name not in ENTRANTS:
            raise ValueError(f"no contestant '{name}'; there are: {', '.join(ENTRANTS)}")
