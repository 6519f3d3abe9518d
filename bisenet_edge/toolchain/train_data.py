"""The pictures of a training run, and how well a network does on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bisenet_edge.dataset import Sample
from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import LabelSet
from bisenet_edge.metrics import Confusion
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.toolchain.models.network import input_multiple
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.samples import MEMORY_BUDGET_MB, Samples
from bisenet_edge.toolchain.tensors import logits_to_mask, pad_to_stride, to_input


@dataclass(frozen=True)
class TrainData:
    """The mixed train splits, and the val split that picks the best epoch; `train[i]` from any thread."""

    train: Sequence[Sample]
    val: Sequence[Sample]
    labels: LabelSet


def load_data(
    recipe: Recipe, progress: Progress = quiet, *, budget_mb: float = MEMORY_BUDGET_MB
) -> TrainData:
    """Open all train splits and the first val split, and read what fits into memory.

    Args:
        recipe: whose data sets.
        progress: called after each picture.
        budget_mb: what decoded pictures may fill (2^20 bytes), train and val together.

    Raises:
        DatasetError: data sets of different classes, or a file that cannot be read; what does not fit is read
            in the first epoch.
    """
    sets = [open_dataset(uri, "train") for uri in recipe.data]
    val = open_dataset(recipe.data[0], "val")
    for other in [*sets, val]:
        if other.labels != sets[0].labels:
            raise DatasetError(
                "data sets with different classes cannot be mixed",
                got=f"{other.uri}: {len(other.labels)} classes of '{other.labels.name}'",
                expected=f"{len(sets[0].labels)} classes of '{sets[0].labels.name}'",
            )
    train_samples = Samples(sets, budget_mb)
    train_samples.fill(progress)
    # Train goes first: every epoch reads it. Val is read to the end, so that the first evaluation, epochs
    # later, does not meet a broken file.
    val_samples = Samples([val], budget_mb - train_samples.kept_mb)
    val_samples.fill(progress, to_the_end=True)
    return TrainData(train_samples, val_samples, sets[0].labels)


def evaluate(
    module: nn.Module, samples: Sequence[Sample], classes: int, progress: Progress = quiet
) -> Confusion:
    """Confusion over `samples`, each at its own size: logits up-sampled (half-pixel), then argmax.

    The module is put into evaluation mode.
    """
    device = next(module.parameters()).device
    multiple = input_multiple(module)
    module.eval()
    total = Confusion.empty(classes)
    with torch.inference_mode():
        for done, sample in enumerate(samples, 1):
            image = to_input(pad_to_stride(sample.image, multiple)[None], device)
            logits = module(image)
            stride = image.shape[2] // logits.shape[2]
            mask = logits_to_mask(logits, sample.label.shape, stride)[0].cpu().numpy()
            total = total + Confusion.of(sample.label, mask, classes)
            progress("evaluating", done, len(samples))
    return total
