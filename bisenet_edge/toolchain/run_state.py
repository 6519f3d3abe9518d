"""What a training run has come to: its history, its best epoch, and the two files that keep them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from bisenet_edge.errors import CheckpointError
from bisenet_edge.metrics import Confusion
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.moving_average import MovingAverage
from bisenet_edge.toolchain.processes import from_first
from bisenet_edge.toolchain.step import Stepper
from bisenet_edge.toolchain.trainee import Trainee

BEST, LAST = "best.safetensors", "last.safetensors"
MOMENTUM_PREFIX = "momentum/"
FIGURES = ("loss", "miou", "best_miou", "waiting")


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    Attributes:
        epoch, epochs: its number, from 1, and how many there are.
        loss: mean of its steps.
        miou, best_miou: on val, in 0..1; nan in epochs that are not evaluated.
        waiting: share of its time in which steps waited for pictures, 0..1; of several processes the
            largest. nan where it was not measured.
    """

    epoch: int
    epochs: int
    loss: float
    miou: float
    best_miou: float
    waiting: float = math.nan


class RunState:
    """History and best score of a run, restored from `last.safetensors` when it is there.

    Of several processes all have the same; the first one reads and writes the files.
    """

    def __init__(self, trainee: Trainee, folder: Path) -> None:
        """Raises CheckpointError: the folder holds another run."""
        self.trainee, self.recipe, self.folder = trainee, trainee.recipe, folder
        self.stepper = Stepper(trainee)
        self.average = MovingAverage(trainee.module, self.recipe.ema) if self.recipe.ema else None
        self.history: list[EpochResult] = []
        self.best_miou = -1.0
        last = from_first(lambda: checkpoints.read(folder / LAST) if (folder / LAST).exists() else None)
        if last is not None:
            self._restore(last)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept: the moving average, where there is one."""
        return self.trainee.module if self.average is None else self.average.module

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return self.history[-1].epoch if self.history else 0

    def _restore(self, last: Checkpoint) -> None:
        identity = self.trainee.identity
        stored = type(self.recipe).completed(last.recipe)
        if stored != identity:
            changed = sorted(k for k in {*identity, *stored} if stored.get(k, ...) != identity.get(k, ...))
            raise CheckpointError(
                "this folder holds a run of another recipe",
                got=f"{self.folder}: other {', '.join(changed)}",
                expected="the recipe that the run was started with",
                fix="give --out another folder, or delete this one",
            )
        self.trainee.restore(last.tensors)
        if self.average is not None:
            self.average.restore(last.tensors)
        for name, parameter in self.trainee.module.named_parameters():
            momentum = last.tensors.get(MOMENTUM_PREFIX + name)
            if momentum is not None:
                state = self.stepper.optimizer.state[parameter]
                state["momentum_buffer"] = momentum.to(self.trainee.device)
        if "scaler" in last.metrics:
            self.stepper.scaler.load_state_dict(last.metrics["scaler"])
        self.best_miou = last.metrics["best_miou"]
        self.history = [
            EpochResult(r["epoch"], self.recipe.epochs, *[_number(r.get(k)) for k in FIGURES])
            for r in last.metrics["history"]
        ]

    def keep_best(self, confusion: Confusion, epoch: int) -> float:
        """Write `best.safetensors` when this is the best so far; gives the mIoU."""
        miou = confusion.miou()
        if miou <= self.best_miou:
            return miou
        self.best_miou = miou
        if not self.trainee.worker.first:
            return miou
        base = self.trainee.checkpoint(self.evaluated)
        iou = {
            n: None if np.isnan(v) else round(float(v), 4) for n, v in zip(base.labels.names, confusion.iou())
        }
        metrics = {"val": self.recipe.data[0], "miou": round(miou, 4), "iou": iou}
        metrics = {**base.metrics, **metrics}
        checkpoints.write(self.folder / BEST, replace(base, metrics=metrics, progress={"epoch": epoch}))
        return miou

    def keep_last(self, result: EpochResult) -> None:
        """Write `last.safetensors`: all that the next epoch needs."""
        self.history.append(result)
        if not self.trainee.worker.first:
            return
        base = self.trainee.checkpoint(self.trainee.module)
        state = self.stepper.optimizer.state
        momentum = {
            MOMENTUM_PREFIX + name: state[parameter]["momentum_buffer"]
            for name, parameter in self.trainee.module.named_parameters()
            if "momentum_buffer" in state[parameter]
        }
        average = {} if self.average is None else self.average.state()
        history = [
            {"epoch": r.epoch, **{name: _or_none(getattr(r, name)) for name in FIGURES}} for r in self.history
        ]
        metrics = {"best_miou": self.best_miou, "history": history}
        if self.stepper.scaler.is_enabled():
            metrics["scaler"] = self.stepper.scaler.state_dict()
        checkpoints.write(
            self.folder / LAST,
            replace(
                base,
                tensors={**base.tensors, **momentum, **average},
                metrics=metrics,
                progress={"epoch": result.epoch},
            ),
        )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
