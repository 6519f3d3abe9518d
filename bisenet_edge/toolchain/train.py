"""Training: the paper's recipe on CPU or CUDA, resumable after a kill at any point.

Everything random is a function of (seed, epoch, position), so a run that was killed and started
again makes the same steps as one that was not. The last whole epoch is kept in `last.safetensors`
with the optimizer's momentum; the best epoch by val mIoU in `best.safetensors`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bisenet_edge.dataset import Dataset, Sample
from bisenet_edge.errors import (
    BisenetEdgeError,
    CheckpointError,
    DatasetError,
    MissingDependencyError,
    SinkError,
    UsageError,
)
from bisenet_edge.labels import IGNORE_INDEX, LabelSet
from bisenet_edge.metrics import Confusion
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.augment import batches
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.models.bisenet import BiSeNet
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.tensors import logits_to_mask, pad_to_stride, to_input

MOMENTUM_PREFIX = "momentum/"


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave: mean loss, and (in epochs that are evaluated) val mIoU in 0..1, else nan."""

    epoch: int
    epochs: int
    loss: float
    miou: float
    best_miou: float


@dataclass(frozen=True)
class TrainData:
    """The mixed train splits in memory, and the val split that picks the best epoch."""

    train: list[Sample]
    val: list[Sample]
    labels: LabelSet


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
    progress: Progress = quiet,
) -> Path:
    """Train to the end, going on from `folder/last.safetensors` when it is there.

    Args:
        recipe: what to train.
        folder: where checkpoints and TensorBoard scalars go.
        device: "auto" (CUDA when present), "cpu", "cuda" or "cuda:N".
        on_epoch: called after each epoch.
        progress: called after each step.

    Returns:
        path of `best.safetensors`.

    Raises:
        UsageError: no such network or device.
        DatasetError: data that cannot be read, or data sets with different classes.
        CheckpointError: `last.safetensors` belongs to another recipe.
        MissingDependencyError: tensorboard is not installed.
        SinkError: `folder` cannot be written.
    """
    zoo.entry(recipe.model)  # a misspelt name is found before minutes of reading
    chosen = _device(device)
    data = load_data(recipe, progress)
    run = _Run(recipe, data.labels, chosen, folder)
    writer = _scalar_writer(folder)
    steps = math.ceil(len(data.train) / recipe.batch)
    with writer:
        for epoch in range(run.epoch, recipe.epochs):
            loss = run.train_epoch(data.train, epoch, steps, progress)
            miou = float("nan")
            if (epoch + 1) % recipe.eval_every == 0 or epoch + 1 == recipe.epochs:
                confusion = evaluate(run.model, data.val, progress)
                miou = confusion.miou()
                run.keep_best(miou, confusion, epoch + 1)
            run.keep_last(epoch + 1)
            _write_scalars(writer, epoch + 1, loss, miou, run.learning_rate)
            on_epoch(EpochResult(epoch + 1, recipe.epochs, loss, miou, run.best_miou))
    return folder / "best.safetensors"


def load_data(recipe: Recipe, progress: Progress = quiet) -> TrainData:
    """Read all train splits and the first val split into memory (about 0.7 MB per 480x360 picture)."""
    sets = [open_dataset(uri, "train") for uri in recipe.data]
    val = open_dataset(recipe.data[0], "val")
    for other in [*sets, val]:
        if other.labels != sets[0].labels:
            raise DatasetError(
                "data sets with different classes cannot be mixed",
                got=f"{other.uri}: {len(other.labels)} classes of '{other.labels.name}'",
                expected=f"{len(sets[0].labels)} classes of '{sets[0].labels.name}'",
            )
    train_samples = [sample for dataset in sets for sample in _read_all(dataset, progress)]
    return TrainData(train_samples, _read_all(val, progress), sets[0].labels)


def _read_all(dataset: Dataset, progress: Progress) -> list[Sample]:
    samples = []
    for index in range(len(dataset)):
        samples.append(dataset[index])
        progress(f"reading {dataset.uri} {dataset.split}", index + 1, len(dataset))
    return samples


def evaluate(model: BiSeNet, samples: list[Sample], progress: Progress = quiet) -> Confusion:
    """Confusion over `samples`, each at its own size: logits up-sampled (half-pixel), then argmax."""
    device = next(model.parameters()).device
    model.eval()
    total = Confusion.empty(model.head.classifier.out_channels)
    with torch.inference_mode():
        for done, sample in enumerate(samples, 1):
            logits = model(to_input(pad_to_stride(sample.image)[None], device))
            mask = logits_to_mask(logits, sample.label.shape)[0].cpu().numpy()
            total = total + Confusion.of(sample.label, mask, len(total.counts))
            progress("evaluating", done, len(samples))
    return total


class _Run:
    """Model, optimizer and best score of a run, restored from `last.safetensors` when it is there."""

    def __init__(self, recipe: Recipe, labels: LabelSet, device: torch.device, folder: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.labels, self.folder, self.device = recipe, labels, folder, device
        self.model = zoo.build(recipe.model, len(labels))
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.epoch = 0
        self.best_miou = -1.0
        self.learning_rate = 0.0
        if (folder / "last.safetensors").exists():
            self._restore(checkpoints.read(folder / "last.safetensors"))

    def _restore(self, last: Checkpoint) -> None:
        if last.recipe != self.recipe.to_json():
            changed = sorted(k for k, v in self.recipe.to_json().items() if last.recipe.get(k) != v)
            raise CheckpointError(
                "this folder holds a run of another recipe",
                got=f"{self.folder}: other {', '.join(changed)}",
                expected="the recipe that the run was started with",
                fix="give --out another folder, or delete this one",
            )
        weights = {key: value for key, value in last.tensors.items() if "/" not in key}
        self.model.load_state_dict(weights)
        for name, parameter in self.model.named_parameters():
            momentum = last.tensors[MOMENTUM_PREFIX + name]
            self.optimizer.state[parameter]["momentum_buffer"] = momentum.to(self.device)
        self.epoch = last.progress["epoch"]
        self.best_miou = last.metrics["best_miou"]

    def train_epoch(self, samples: list[Sample], epoch: int, steps: int, progress: Progress) -> float:
        """One pass in an order drawn from (seed, epoch). Returns the mean loss per step."""
        self.model.train()
        total = 0.0
        for index, (images, labels) in enumerate(batches(samples, self.recipe, epoch)):
            self._set_learning_rate(epoch * steps + index, self.recipe.epochs * steps)
            with torch.autocast(self.device.type, torch.bfloat16):
                outputs = self.model(to_input(images, self.device))
            loss = training_loss(outputs, torch.from_numpy(labels).to(self.device), self.recipe)
            if not torch.isfinite(loss):
                raise BisenetEdgeError(
                    "training diverged",
                    got=f"loss {loss.item()} at epoch {epoch + 1}, step {index + 1}",
                    fix="lower learning_rate, or set warmup_steps = 100 in the recipe",
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
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
        iou = {
            n: None if np.isnan(v) else round(float(v), 4) for n, v in zip(self.labels.names, confusion.iou())
        }
        metrics = {"val": self.recipe.data[0], "miou": round(miou, 4), "iou": iou, "precision": "fp32"}
        checkpoints.write(self.folder / "best.safetensors", self._checkpoint(epoch, metrics))

    def keep_last(self, epoch: int) -> None:
        """Write `last.safetensors`: all that the next epoch needs."""
        base = self._checkpoint(epoch, {"best_miou": self.best_miou})
        momentum = {
            MOMENTUM_PREFIX + name: self.optimizer.state[parameter]["momentum_buffer"]
            for name, parameter in self.model.named_parameters()
        }
        checkpoints.write(
            self.folder / "last.safetensors", replace(base, tensors={**base.tensors, **momentum})
        )

    def _checkpoint(self, epoch: int, metrics: dict[str, Any]) -> Checkpoint:
        return Checkpoint(
            self.recipe.model,
            self.labels,
            dict(self.model.state_dict()),
            self.recipe.to_json(),
            metrics,
            {"epoch": epoch},
        )


def training_loss(outputs: tuple[Tensor, Tensor, Tensor], label: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy of the main head plus the weighted auxiliary ones (section 3.4).

    Args:
        outputs: logits of the three heads, [N, C, h, w] each, main first.
        label: uint8 [N, H, W]; 255 = ignored.
    """
    stride = recipe.loss_stride
    target = label[:, stride // 2 :: stride, stride // 2 :: stride].long()
    losses = []
    for logits in outputs:
        scaled = F.interpolate(logits, size=target.shape[1:], mode="bilinear", align_corners=False)
        losses.append(F.cross_entropy(scaled.float(), target, ignore_index=IGNORE_INDEX))
    return losses[0] + recipe.aux_weight * (losses[1] + losses[2])


def _device(name: str) -> torch.device:
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


def _write_scalars(writer: Any, epoch: int, loss: float, miou: float, learning_rate: float) -> None:
    writer.add_scalar("train/loss", loss, epoch)
    writer.add_scalar("train/learning_rate", learning_rate, epoch)
    if not math.isnan(miou):
        writer.add_scalar("val/miou", miou, epoch)
