"""Batches of a training run, made ahead by threads, so that a step need not wait for them.

A picture of a batch is a pure function of (seed, epoch, place in the epoch's order). How many threads,
processes or parts of a batch there are changes nothing in it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bisenet_edge.dataset import Sample
from bisenet_edge.toolchain.augment import augment
from bisenet_edge.toolchain.processes import Worker
from bisenet_edge.toolchain.recipe import Recipe

AHEAD = 2  # batches that are being made while the network works on one


@dataclass(frozen=True)
class Batch:
    """One process's part of a step: images uint8 [n, H, W, 3] BGR, labels uint8 [n, H, W], 255 = ignored."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """A copy on `device`; from pinned memory it does not wait."""
        return Batch(self.images.to(device, non_blocking=True), self.labels.to(device, non_blocking=True))

    def parts(self, count: int) -> Iterator[Batch]:
        """The same in `count` parts of one size, in order."""
        for images, labels in zip(self.images.chunk(count), self.labels.chunk(count)):
            yield Batch(images, labels)


def order_of(recipe: Recipe, epoch: int, pictures: int) -> np.ndarray:
    """The order of the pictures in an epoch: int64 [pictures]."""
    return np.random.default_rng([recipe.seed, epoch]).permutation(pictures)


def places_of(recipe: Recipe, rank: int, size: int) -> list[int]:
    """Which places of a batch a process has, one part of a step after the other.

    Part k of all processes together is the k-th run of batch / accumulate places, so that batch
    normalisation, which sees a part of all processes, sees the same pictures with any number of them.
    """
    each = recipe.batch // (recipe.accumulate * size)
    starts = [(part * size + rank) * each for part in range(recipe.accumulate)]
    return [start + place for start in starts for place in range(each)]


class Loader:
    """The batches of a run from one epoch on, in order. Use it as a context manager.

    The last batch of an epoch is filled up from the start of its order, so that all are of one size.

    Attributes:
        waited_s: how long `take` waited for batches so far.
    """

    def __init__(self, samples: Sequence[Sample], recipe: Recipe, worker: Worker, epoch: int = 0) -> None:
        self.waited_s = 0.0
        self._samples, self._recipe, self._device = samples, recipe, worker.device
        self._places = places_of(recipe, worker.rank, worker.size)
        self._pool = ThreadPoolExecutor(worker.threads, thread_name_prefix="batches")
        self._schedule = iter(self._steps(epoch))
        self._pending: deque[tuple[Batch, list[Future[None]]]] = deque()
        self._upload = _Upload(worker.device) if worker.device.type == "cuda" else None
        for _ in range(AHEAD):
            self._start_next()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self) -> Batch:
        """The next batch, on the device.

        Raises:
            DatasetError: a picture of it cannot be read.
            IndexError: the run has no more batches.
        """
        start_s = time.perf_counter()
        if self._upload is not None and self._upload.ready:
            batch = self._upload.take()
        else:
            batch = self._made()
            if self._upload is not None:
                self._upload.start(batch)
                batch = self._upload.take()
        self.waited_s += time.perf_counter() - start_s
        if self._upload is not None and self._pending and all(f.done() for f in self._pending[0][1]):
            # On its way to the GPU while that works on the batch given back here.
            self._upload.start(self._made())
        return batch

    def _made(self) -> Batch:
        batch, futures = self._pending.popleft()
        self._start_next()
        for future in futures:
            future.result()
        return batch

    def _steps(self, epoch: int) -> Iterator[tuple[int, np.ndarray, int]]:
        """(epoch, its order, place of the batch's first picture) of every step."""
        for number in range(epoch, self._recipe.epochs):
            order = order_of(self._recipe, number, len(self._samples))
            for start in range(0, len(order), self._recipe.batch):
                yield number, order, start

    def _start_next(self) -> None:
        step = next(self._schedule, None)
        if step is None:
            return
        epoch, order, start = step
        count, hw = len(self._places), self._recipe.crop_size.hw
        pinned = self._device.type == "cuda"
        batch = Batch(
            torch.empty((count, *hw, 3), dtype=torch.uint8, pin_memory=pinned),
            torch.empty((count, *hw), dtype=torch.uint8, pin_memory=pinned),
        )
        images, labels = batch.images.numpy(), batch.labels.numpy()

        def make(slot: int, place: int) -> None:
            sample = self._samples[int(order[place % len(order)])]
            rng = np.random.default_rng([self._recipe.seed, epoch, place])
            made = augment(sample, self._recipe, rng)
            images[slot], labels[slot] = made.image, made.label

        futures = [self._pool.submit(make, slot, start + p) for slot, p in enumerate(self._places)]
        self._pending.append((batch, futures))


class _Upload:
    """One batch on its way to a GPU, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)
        self._batch: Batch | None = None

    @property
    def ready(self) -> bool:
        return self._batch is not None

    def start(self, batch: Batch) -> None:
        with torch.cuda.stream(self._stream):
            self._batch = batch.to(self._device)

    def take(self) -> Batch:
        """The batch, safe to use on the current stream."""
        batch = self._batch
        assert batch is not None
        self._batch = None
        current: Any = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        batch.images.record_stream(current)
        batch.labels.record_stream(current)
        return batch
