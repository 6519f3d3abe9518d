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
FOR_TARGETS = (
    "ours-int8",
    "ours-int8-files",
    "ours-ort-int8",
    "ort-fp32",
    "ort-fp32-argmax",
    "nncf-int8-ppp",
    "peak-openvino-int8",
)
"""Who must run so that every target can be told."""

START_S = {"torch": 6.0, "nncf": 5.0, "openvino": 2.0, "ours": 2.5, "ncnn": 2.0}
"""Seconds that a contestant's process takes to be ready, by the beginning of its name; else 2."""
COMPILE_S = 60.0
MAKE_S = {"bisenet-xception39": 12.0, "bisenet-resnet18": 16.0}
PREPARE_S = {
    "ort-static-u8": 12.0,
    "ort-static-s8": 12.0,
    "nncf-int8": 14.0,
    "nncf-int8-ppp": 1.0,
    "ncnn-fp32": 6.0,
}
"""At 640x360, on two calm cores; in proportion to the pixels elsewhere."""


@dataclass(frozen=True)
class Group:
    """Contestants that take turns with each other: one network, one size, one number of threads.

    Attributes:
        rounds: that are to be kept.
    """

    model: str
    size: Size
    threads: int
    names: tuple[str, ...]
    rounds: int

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
        slow = work * (2.6 if "resnet" in self.model else 1.0) * 2 / self.threads
        starts = sum(
            next((s for start, s in START_S.items() if name.startswith(start)), 2.0)
            + PREPARE_S.get(name, 0.0) * work
            + (COMPILE_S if name in HEAVY else 0.0)
            for name in self.names
        )
        # A sample of a float peer takes about 0.06 s per 640x360 picture; ours a tenth of that.
        one = [0.006 if name.startswith(("ours", "nncf", "peak")) else 0.06 for name in self.names]
        bursts = sum(2 * max(burst.seconds + burst.warm_s, (burst.least + 1) * s * slow) for s in one)
        video = 2.5 * 3 * slow if "video" in self.jobs else 0.0
        return starts + self.rounds * (bursts + video)


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
        making = sum(MAKE_S.get(model, 15.0) for model in self.models) + 6.0 * len(pairs)
        contests = sum(group.seconds(self.burst) for group in self.groups)
        sizes = len(self.scaling) * len(self.models)
        scaling = sizes * (8.0 + self.side_rounds * 2 * 0.5)
        streams = (4 * (2.5 + 3 * 2 * 4.1)) * len(self.models) if self.streams else 0.0
        return making + contests + scaling + streams + self.startup * 3 * 1.5


def choose(
    models: tuple[str, ...],
    sizes: tuple[Size, ...],
    threads: tuple[int, ...],
    names: tuple[str, ...],
    rounds: int,
) -> tuple[Group, ...]:
    """One group for each network, size and number of threads.

    Args:
        names: contestants; empty = all, but slow preparation at the first size with the most threads only.
        rounds: of the first size with the most threads; a third of that elsewhere, at least three.
    """
    groups = []
    for model in models:
        for size in sizes:
            for count in threads:
                main = size == sizes[0] and count == max(threads)
                chosen = names or tuple(name for name in (*OURS, *PEERS, *PEAKS) if main or name not in HEAVY)
                groups.append(
                    Group(model, size, count, chosen, rounds if main else min(rounds, max(3, rounds // 3)))
                )
    return tuple(groups)


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
