"""Training from random weights: the paper's recipe on CPU or CUDA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bisenet_edge.labels import IGNORE_INDEX, LabelSet
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.loop import BEST, EpochResult, Trainee, device_of, run
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.tensors import to_input
from bisenet_edge.toolchain.train_data import load_data


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
    chosen = device_of(device)
    data = load_data(recipe, progress)
    trainee = _Network(recipe, data.labels, chosen)
    run(trainee, recipe, data, folder, on_epoch=on_epoch, progress=progress)
    return folder / BEST


class _Network(Trainee):
    """BiSeNet with its auxiliary heads, from random weights drawn by the recipe's seed."""

    def __init__(self, recipe: Recipe, labels: LabelSet, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.labels, self.device = recipe, labels, device
        self.identity = recipe.to_json()
        self.module = zoo.build(recipe.model, len(labels))
        self.module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, images: np.ndarray, labels: np.ndarray) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            outputs = self.module(to_input(images, self.device))
        return training_loss(outputs, torch.from_numpy(labels).to(self.device), self.recipe)

    def checkpoint(self) -> Checkpoint:
        weights = dict(self.module.state_dict())
        return Checkpoint(
            self.recipe.model, self.labels, weights, self.identity, metrics={"precision": "fp32"}
        )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.module.load_state_dict({key: value for key, value in tensors.items() if "/" not in key})


def training_loss(outputs: tuple[Tensor, Tensor, Tensor], label: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy of the main head plus the weighted auxiliary ones (section 3.4).

    Args:
        outputs: logits of the three heads, [N, C, h, w] each, main first.
        label: uint8 [N, H, W]; 255 = ignored.
    """
    losses = [cross_entropy(logits, label, recipe.loss_stride) for logits in outputs]
    return losses[0] + recipe.aux_weight * (losses[1] + losses[2])


def cross_entropy(logits: Tensor, label: Tensor, stride: int) -> Tensor:
    """Mean cross-entropy over the labelled pixels, at 1/stride of the label's size.

    Args:
        logits: [N, C, h, w], up-sampled to that size.
        label: uint8 [N, H, W]; 255 = ignored.
    """
    target = label[:, stride // 2 :: stride, stride // 2 :: stride].long()
    scaled = F.interpolate(logits, size=target.shape[1:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(scaled.float(), target, ignore_index=IGNORE_INDEX, reduction="sum")
    # A batch without any labelled pixel teaches nothing; its mean would be 0 / 0.
    return total / (target != IGNORE_INDEX).sum().clamp(min=1)
