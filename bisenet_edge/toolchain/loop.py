"""The training loop: SGD with the "poly" schedule, resumable after a kill at any point.

Everything random is a function of (seed, epoch, position), so a run that was killed and started
again makes the same steps as one that was not. The last whole epoch is kept in `last.safetensors`
with the optimizer's momentum; the best epoch by val mIoU in `best.safetensors`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bisenet_edge.dataset import Sample
from bisenet_edge.errors import (
    BisenetEdgeError,
    CheckpointError,
    MissingDependencyError,
    SinkError,
    UsageError,
)
from bisenet_edge.metrics import Confusion
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.augment import batches
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.moving_average import MovingAverage
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.train_data import TrainData, evaluate

BEST, LAST = "best.safetensors", "last.safetensors"
MOMENTUM_PREFIX = "momentum/"


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave: mean loss, and (in epochs that are evaluated) val mIoU in 0..1, else nan."""

    epoch: int
    epochs: int
    loss: float
    miou: float
    best_miou: float


class Trainee(ABC):
    """What is trained.

    Attributes:
        module: its parameters are what the optimizer changes; gives logits in evaluation mode.
        device: where it computes.
        identity: JSON that tells this run from others; a folder holds one run.
        starts_trained: whether what it starts from is a candidate for the best epoch, as epoch 0.
    """

    module: nn.Module
    device: torch.device
    identity: dict[str, Any]
    starts_trained = False

    @abstractmethod
    def loss(self, images: np.ndarray, labels: np.ndarray) -> Tensor:
        """Loss of a batch: images uint8 [N, H, W, 3] BGR, labels uint8 [N, H, W], 255 = ignored."""

    @abstractmethod
    def checkpoint(self, module: nn.Module) -> Checkpoint:
        """The weights of `module`: of `self.module`, or of its moving average."""

    @abstractmethod
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take the weights of an earlier `checkpoint`."""

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Parameters for the optimizer, with their weight decay."""
        return [{"params": list(self.module.parameters()), "weight_decay": recipe.weight_decay}]


def run(
    trainee: Trainee,
    recipe: Recipe,
    data: TrainData,
    folder: Path,
    *,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
    progress: Progress = quiet,
) -> list[EpochResult]:
    """Train to the end, going on from `folder/last.safetensors` when it is there.

    Returns:
        one result per epoch, those before an interruption too, and before them epoch 0 of what starts
        trained. `folder/best.safetensors` holds the best.

    Raises:
        CheckpointError: `last.safetensors` belongs to another run.
        MissingDependencyError: tensorboard is not installed.
        SinkError: `folder` cannot be written.
        BisenetEdgeError: the loss is not finite.
    """
    state = _State(trainee, recipe, folder)
    writer = _scalar_writer(folder)
    steps = math.ceil(len(data.train) / recipe.batch)
    with writer:
        if trainee.starts_trained and not state.history:
            confusion = evaluate(trainee.module, data.val, len(data.labels), progress)
            state.keep_best(confusion.miou(), confusion, 0)
            state.history.append(EpochResult(0, recipe.epochs, float("nan"), *[state.best_miou] * 2))
        for epoch in range(state.epoch, recipe.epochs):
            loss = state.train_epoch(data.train, epoch, steps, progress)
            miou = float("nan")
            if (epoch + 1) % recipe.eval_every == 0 or epoch + 1 == recipe.epochs:
                confusion = evaluate(state.evaluated, data.val, len(data.labels), progress)
                miou = confusion.miou()
                state.keep_best(miou, confusion, epoch + 1)
            result = EpochResult(epoch + 1, recipe.epochs, loss, miou, state.best_miou)
            state.keep_last(result)
            _write_scalars(writer, result, state.learning_rate)
            on_epoch(result)
    return state.history


def device_of(name: str) -> torch.device:
    """A torch device by name: "auto" (CUDA when present), "cpu", "cuda" or "cuda:N".

    Raises:
        MissingDependencyError: no CUDA device.
        UsageError: no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise MissingDependencyError(
            "no CUDA device", got=name, expected="cpu, or a machine with an NVIDIA GPU", fix="--device cpu"
        )
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UsageError("no such device", got=repr(name), expected="auto, cpu, cuda or cuda:N") from error


class _State:
    """Optimizer, history and best score of a run, restored from `last.safetensors` when it is there."""

    def __init__(self, trainee: Trainee, recipe: Recipe, folder: Path) -> None:
        self.trainee, self.recipe, self.folder = trainee, recipe, folder
        self.optimizer = torch.optim.SGD(
            trainee.parameter_groups(recipe), lr=recipe.learning_rate, momentum=recipe.momentum
        )
        self.average = MovingAverage(trainee.module, recipe.ema) if recipe.ema else None
        self.history: list[EpochResult] = []
        self.best_miou = -1.0
        self.learning_rate = 0.0
        if (folder / LAST).exists():
            self._restore(checkpoints.read(folder / LAST))

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
        if last.recipe != identity:
            changed = sorted(
                k for k in {*identity, *last.recipe} if last.recipe.get(k, ...) != identity.get(k, ...)
            )
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
                self.optimizer.state[parameter]["momentum_buffer"] = momentum.to(self.trainee.device)
        self.best_miou = last.metrics["best_miou"]
        self.history = [
            EpochResult(
                r["epoch"], self.recipe.epochs, *[_number(r[k]) for k in ("loss", "miou", "best_miou")]
            )
            for r in last.metrics["history"]
        ]

    def train_epoch(self, samples: Sequence[Sample], epoch: int, steps: int, progress: Progress) -> float:
        """One pass in an order drawn from (seed, epoch). Returns the mean loss per step."""
        self.trainee.module.train()
        total = 0.0
        for index, (images, labels) in enumerate(batches(samples, self.recipe, epoch)):
            self._set_learning_rate(epoch * steps + index, self.recipe.epochs * steps)
            loss = self.trainee.loss(images, labels)
            if not torch.isfinite(loss):
                raise BisenetEdgeError(
                    "training diverged",
                    got=f"loss {loss.item()} at epoch {epoch + 1}, step {index + 1}",
                    fix="lower learning_rate, or set warmup_steps = 100 in the recipe",
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.trainee.module)
            total += loss.item()
            progress(
                f"epoch {epoch + 1}/{self.recipe.epochs}, loss {total / (index + 1):.3f}", index + 1, steps
            )
        return total / steps

    def _set_learning_rate(self, step: int, steps: int) -> None:
        rate = self.recipe.learning_rate * (1 - step / steps) ** self.recipe.poly_power
        if step < self.recipe.warmup_steps:
            rate *= (step + 1) / self.recipe.warmup_steps
        self.learning_rate = rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def keep_best(self, miou: float, confusion: Confusion, epoch: int) -> None:
        """Write `best.safetensors` when `miou` is the best so far."""
        if miou <= self.best_miou:
            return
        self.best_miou = miou
        base = self.trainee.checkpoint(self.evaluated)
        iou = {
            n: None if np.isnan(v) else round(float(v), 4) for n, v in zip(base.labels.names, confusion.iou())
        }
        metrics = {"val": self.recipe.data[0], "miou": round(miou, 4), "iou": iou}
        metrics = {**base.metrics, **metrics}
        checkpoints.write(self.folder / BEST, replace(base, metrics=metrics, progress={"epoch": epoch}))

    def keep_last(self, result: EpochResult) -> None:
        """Write `last.safetensors`: all that the next epoch needs."""
        self.history.append(result)
        base = self.trainee.checkpoint(self.trainee.module)
        momentum = {
            MOMENTUM_PREFIX + name: self.optimizer.state[parameter]["momentum_buffer"]
            for name, parameter in self.trainee.module.named_parameters()
            if "momentum_buffer" in self.optimizer.state[parameter]
        }
        average = {} if self.average is None else self.average.state()
        history = [
            {
                "epoch": r.epoch,
                "loss": _or_none(r.loss),
                "miou": _or_none(r.miou),
                "best_miou": _or_none(r.best_miou),
            }
            for r in self.history
        ]
        checkpoints.write(
            self.folder / LAST,
            replace(
                base,
                tensors={**base.tensors, **momentum, **average},
                metrics={"best_miou": self.best_miou, "history": history},
                progress={"epoch": result.epoch},
            ),
        )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _scalar_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "training writes TensorBoard scalars, and tensorboard is not installed",
            got=str(error),
            fix="pip install 'bisenet-edge[train]'",
        ) from error
    try:
        return SummaryWriter(str(folder))
    except OSError as error:
        raise SinkError("cannot write the run's folder", got=f"{folder}: {error.strerror}") from error


def _write_scalars(writer: Any, result: EpochResult, learning_rate: float) -> None:
    writer.add_scalar("train/loss", result.loss, result.epoch)
    writer.add_scalar("train/learning_rate", learning_rate, result.epoch)
    if not math.isnan(result.miou):
        writer.add_scalar("val/miou", result.miou, result.epoch)
