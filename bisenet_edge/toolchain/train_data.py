"""The pictures of a training run in memory, and how well a network does on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bisenet_edge.dataset import Dataset, Sample
from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import LabelSet
from bisenet_edge.metrics import Confusion
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.toolchain.models.network import input_multiple
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.tensors import logits_to_mask, pad_to_stride, to_input


@dataclass(frozen=True)
class TrainData:
    """The mixed train splits, and the val split that picks the best epoch."""

    train: Sequence[Sample]
    val: Sequence[Sample]
    labels: LabelSet


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
