"""Training from random weights or a checkpoint: the paper's recipe on CPU or CUDA."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bisenet_edge.errors import CheckpointError, ConfigError, unknown_name
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.loop import check_batch, run
from bisenet_edge.toolchain.losses import WHOLE, Share, enet_weights, labelled, training_loss
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.precision import autocast
from bisenet_edge.toolchain.processes import Worker, device_of, together
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.run_state import BEST, EpochResult
from bisenet_edge.toolchain.synchronised import synchronised, with_summed_gradients
from bisenet_edge.toolchain.tensors import to_planes
from bisenet_edge.toolchain.train_data import MEMORY_BUDGET_MB, TrainData, load_data
from bisenet_edge.toolchain.trainee import Trainee


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str | Worker = "auto",
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
    note: Callable[[str], None] = lambda text: None,
    progress: Progress = quiet,
) -> Path:
    """Train to the end, going on from `folder/last.safetensors` when it is there.

    Args:
        recipe: what to train.
        folder: where checkpoints and TensorBoard scalars go.
        device: "auto" (CUDA when present), "cpu", "cuda" or "cuda:N"; or which of several processes
            this is (`processes.joined`): the first one writes the files and calls what follows.
        on_epoch: called after each epoch.
        note: called with what the user should know before training starts.
        progress: called after each step.

    Returns:
        path of `best.safetensors`.

    Raises:
        UsageError: no such network or device.
        ConfigError: a crop that the network cannot take.
        DatasetError: data that cannot be read, or data sets with different classes.
        CheckpointError: `last.safetensors` belongs to another recipe, or `init` to another network.
        ConfigError: the batch does not fall into as many parts as there are processes.
        MissingDependencyError: tensorboard is not installed, or the device lacks the precision.
        SinkError: `folder` cannot be written.
    """
    _check_crop(recipe)  # what cannot be trained is found before minutes of reading
    worker = device if isinstance(device, Worker) else Worker(device_of(device))
    check_batch(recipe, worker)
    if not worker.first:
        on_epoch, note, progress = _nothing, _nothing, quiet
    budget_mb = MEMORY_BUDGET_MB // worker.local_size
    data = together(lambda: load_data(recipe, progress, budget_mb=budget_mb))
    trainee = together(lambda: _Network(recipe, data, worker))
    if trainee.fresh:
        note(f"{recipe.init}: {', '.join(trainee.fresh)} do not fit and start from random weights")
    trainee.distribute()
    run(trainee, data, folder, on_epoch=on_epoch, progress=progress)
    return folder / BEST


def _nothing(_: object) -> None:
    pass


def _check_crop(recipe: Recipe) -> None:
    with torch.device("meta"):
        multiple = zoo.entry(recipe.model).build(1).input_multiple
    if any(side % multiple for side in recipe.crop_size.hw):
        sides = [
            str(max(multiple, round(side / multiple) * multiple)) for side in reversed(recipe.crop_size.hw)
        ]
        raise ConfigError(
            f"recipe: 'crop' does not suit {recipe.model}",
            got=recipe.crop,
            expected=f"both sides multiples of {multiple}",
            fix=f"--crop {'x'.join(sides)}",
        )


def _class_weights(recipe: Recipe, data: TrainData) -> np.ndarray:
    """float32 [C]."""
    names = data.labels.names
    if not isinstance(recipe.class_weights, dict):
        return enet_weights((sample.label for sample in data.train), len(names))
    for name in recipe.class_weights:
        if name not in names:
            raise unknown_name("class in 'class_weights' of the recipe", name, names)
    return np.array([recipe.class_weights.get(name, 1) for name in names], np.float32)


class _Network(Trainee):
    """A network with its auxiliary heads, from random weights drawn by the recipe's seed or from `init`."""

    def __init__(self, recipe: Recipe, data: TrainData, worker: Worker) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.labels, self.worker = recipe, data.labels, worker
        self.identity = recipe.to_json()
        parent = checkpoints.read(Path(recipe.init)) if recipe.init else None
        # Imported weights keep the form that they were trained in.
        self.architecture = parent.architecture if parent else {}
        self.module = zoo.build(recipe.model, len(data.labels), self.architecture)
        self.fresh: list[str] = []
        if parent:
            self.identity["parent"] = parent.sha256
            self.fresh = start_from(self.module, parent, recipe.model)
            # Where training does not help, what it started from is kept.
            self.starts_trained = not self.fresh
        self.module.to(device=worker.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.called: nn.Module = self.module
        self.weights: Tensor | None = None
        if recipe.class_weights != "equal":
            self.weights = torch.from_numpy(_class_weights(recipe, data)).to(worker.device)

    def distribute(self) -> None:
        """Share batch normalisation and gradients with the other processes, if there are any."""
        self.module = synchronised(self.module, self.worker)
        self.called = with_summed_gradients(self.module, self.worker)

    def labelled(self, labels: Tensor) -> Tensor | None:
        return labelled(labels, self.recipe, self.weights)

    def loss(self, images: Tensor, labels: Tensor, share: Share = WHOLE) -> Tensor:
        with autocast(self.recipe.precision, self.device):
            outputs = self.called(to_planes(images))
        return training_loss(outputs, labels, self.recipe, self.weights, share)

    def unsummed(self) -> AbstractContextManager[None]:
        called = self.called
        return called.no_sync() if isinstance(called, DistributedDataParallel) else super().unsummed()

    def checkpoint(self, module: nn.Module) -> Checkpoint:
        weights = dict(module.state_dict())
        return Checkpoint(
            self.recipe.model,
            self.labels,
            weights,
            self.identity,
            metrics={"precision": "fp32"},
            architecture=self.architecture,
        )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.module.load_state_dict({key: value for key, value in tensors.items() if "/" not in key})


def start_from(module: nn.Module, parent: Checkpoint, model: str) -> list[str]:
    """Copy a checkpoint's weights into a network of the same name, but for layers of another shape.

    Args:
        module: changed in place.
        parent: where the weights come from.
        model: the network's name.

    Returns:
        names of the weights that stayed as they were: the classifiers, when the classes are others.

    Raises:
        CheckpointError: of another network.
    """
    if parent.model != model:
        raise CheckpointError("'init' is of another network", got=parent.model, expected=model)
    own = module.state_dict()
    fitting = {
        key: value.to(own[key].dtype)
        for key, value in parent.tensors.items()
        if key in own and own[key].shape == value.shape
    }
    module.load_state_dict(fitting, strict=False)
    return sorted(set(own) - set(fitting))
