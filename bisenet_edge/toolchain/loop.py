"""The training loop: SGD with the "poly" schedule, resumable after a kill at any point.

Everything random is a function of (seed, epoch, position), so a run that was killed and started
again makes the same steps as one that was not, also with another number of processes. The last whole
epoch is kept in `last.safetensors` with the optimizer's momentum; the best epoch by val mIoU in
`best.safetensors`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bisenet_edge.errors import ConfigError, MissingDependencyError, SinkError
from bisenet_edge.metrics import Confusion
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.toolchain.loader import Loader
from bisenet_edge.toolchain.precision import check_precision
from bisenet_edge.toolchain.processes import EveryNth, Worker, largest_of, sum_over_processes, together
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.run_state import EpochResult, RunState
from bisenet_edge.toolchain.step import EpochLosses
from bisenet_edge.toolchain.train_data import TrainData, evaluate
from bisenet_edge.toolchain.trainee import Trainee


def run(
    trainee: Trainee,
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
        ConfigError: the batch does not fall into as many parts as there are processes.
        DatasetError: a picture cannot be read.
        MissingDependencyError: tensorboard is not installed, or the device lacks the precision.
        SinkError: `folder` cannot be written.
        BisenetEdgeError: the loss is not finite.
    """
    recipe, worker = trainee.recipe, trainee.worker
    check_precision(recipe.precision, worker.device)
    check_batch(recipe, worker)
    state = RunState(trainee, folder)
    steps = math.ceil(len(data.train) / recipe.batch)
    writer = together(lambda: _scalar_writer(folder) if worker.first else None)
    with writer or nullcontext():
        if trainee.starts_trained and not state.history:
            miou = state.keep_best(_evaluate(state, data, progress), 0)
            state.history.append(EpochResult(0, recipe.epochs, math.nan, miou, state.best_miou))
        with Loader(data.train, recipe, worker, state.epoch) as loader:
            for epoch in range(state.epoch, recipe.epochs):
                loss, waiting = _train_epoch(state, loader, epoch, steps, progress)
                miou = math.nan
                if (epoch + 1) % recipe.eval_every == 0 or epoch + 1 == recipe.epochs:
                    miou = state.keep_best(_evaluate(state, data, progress), epoch + 1)
                result = EpochResult(epoch + 1, recipe.epochs, loss, miou, state.best_miou, waiting)
                state.keep_last(result)
                if writer is not None:
                    _write_scalars(writer, result, state.stepper.optimizer.param_groups[0]["lr"])
                on_epoch(result)
    return state.history


def _train_epoch(
    state: RunState, loader: Loader, epoch: int, steps: int, progress: Progress
) -> tuple[float, float]:
    """One pass in an order drawn from (seed, epoch): the mean loss per step, and the share of waiting."""
    trainee, recipe, worker = state.trainee, state.recipe, state.trainee.worker
    trainee.module.train()
    losses = EpochLosses(steps, worker.device, epoch + 1)
    start_s, waited_s = time.perf_counter(), loader.waited_s
    for index in range(steps):
        worker.check()
        # For networks with dropout: what is dropped does not depend on what came before a kill.
        torch.manual_seed(_seed_of(recipe.seed, epoch, index, worker.rank))
        state.stepper.set_learning_rate(epoch * steps + index, recipe.epochs * steps)
        losses.add(index, state.stepper.step(loader.take()))
        if state.average is not None:
            state.average.update(trainee.module)
        progress(f"epoch {epoch + 1}/{recipe.epochs}, loss {losses.mean:.3f}", index + 1, steps)
    share = (loader.waited_s - waited_s) / (time.perf_counter() - start_s)
    return losses.mean, largest_of(share)


def _seed_of(*numbers: int) -> int:
    return int(np.random.default_rng(numbers).integers(2**63))


def _evaluate(state: RunState, data: TrainData, progress: Progress) -> Confusion:
    """Over the whole val split: each process takes its part of the pictures."""
    worker = state.trainee.worker
    samples = data.val if worker.size == 1 else EveryNth(data.val, worker)
    own = evaluate(state.evaluated, samples, len(data.labels), progress)
    return Confusion(sum_over_processes(torch.from_numpy(own.counts)).numpy())


def check_batch(recipe: Recipe, worker: Worker) -> None:
    """Refuse a batch that does not fall into equal parts.

    Raises:
        ConfigError: with the next batch that does.
    """
    if recipe.batch % (recipe.accumulate * worker.size):
        raise ConfigError(
            "the batch does not fall into parts of one size",
            got=f"{recipe.batch} pictures, {worker.size} processes, {recipe.accumulate} parts each",
            expected="a batch that is a multiple of processes times parts",
            fix=f"--batch {_next_multiple(recipe.batch, recipe.accumulate * worker.size)}",
        )


def _next_multiple(number: int, step: int) -> int:
    return -(-number // step) * step


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
    writer.add_scalar("train/waiting", result.waiting, result.epoch)
    if not math.isnan(result.miou):
        writer.add_scalar("val/miou", result.miou, result.epoch)
