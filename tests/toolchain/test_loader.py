from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bisenet_edge.dataset import Sample
from bisenet_edge.errors import DatasetError
from bisenet_edge.toolchain.loader import Loader, places_of
from bisenet_edge.toolchain.processes import EveryNth, Worker
from bisenet_edge.toolchain.recipe import Recipe

CROP_HW = (32, 48)
WORKER = Worker(torch.device("cpu"))


def recipe(**values):
    return Recipe("bisenet-xception39", ("synthetic:",), crop="48x32", **values)


def made(samples, chosen, worker=WORKER, epoch=0):
    """The batches of one epoch."""
    with Loader(samples, chosen, worker, epoch) as loader:
        return [loader.take() for _ in range(math.ceil(len(samples) / chosen.batch))]


def pictures(count):
    """Samples that are told apart by their one class."""
    return [
        Sample(str(i), np.full((*CROP_HW, 3), i, np.uint8), np.full(CROP_HW, i, np.uint8))
        for i in range(count)
    ]


def classes_of(epoch, **values):
    batches = made(pictures(7), recipe(scales=(1.0,), **values), WORKER, epoch)
    return [[int(label[0, 0]) for label in batch.labels] for batch in batches]


def test_every_picture_comes_once_an_epoch_and_the_last_batch_is_filled_up():
    made = classes_of(0, batch=3)
    assert [len(b) for b in made] == [3, 3, 3]
    order = [c for b in made for c in b]
    assert sorted(order[:7]) == list(range(7))
    assert order[7:] == order[:2]


def test_the_order_is_a_function_of_seed_and_epoch():
    assert classes_of(0, batch=3) == classes_of(0, batch=3)
    assert classes_of(0, batch=3) != classes_of(1, batch=3)
    assert classes_of(0, batch=3) != classes_of(0, batch=3, seed=1)


def test_a_batch_larger_than_the_data_set():
    (only,) = classes_of(0, batch=10)
    assert len(only) == 10
    assert set(only) == set(range(7))


class Broken(list):
    def __getitem__(self, index):
        raise DatasetError("a picture cannot be decoded", got=str(index))


def test_a_picture_that_cannot_be_read_is_an_error_of_the_step_that_needs_it():
    with Loader(Broken(pictures(3)), recipe(batch=3), WORKER) as loader, pytest.raises(DatasetError):
        loader.take()


def test_a_run_ends_after_its_epochs():
    with Loader(pictures(4), recipe(batch=4, epochs=2), WORKER) as loader:
        loader.take()
        loader.take()
        with pytest.raises(IndexError):
            loader.take()


@pytest.mark.parametrize(("size", "accumulate"), [(2, 1), (2, 2), (4, 1)])
def test_processes_share_each_batch_between_them(size, accumulate):
    whole = recipe(batch=8, scale_min=0.5, scale_max=2.0, jitter=0.2)
    shared = recipe(batch=8, scale_min=0.5, scale_max=2.0, jitter=0.2, accumulate=accumulate)
    samples = pictures(20)
    expected = made(samples, whole)
    ranks = [made(samples, shared, Worker(torch.device("cpu"), rank, size)) for rank in range(size)]
    for step, batch in enumerate(expected):
        parts = [list(ranks[rank][step].parts(accumulate)) for rank in range(size)]
        # Part by part over all processes: what batch normalisation sees together.
        together = [parts[rank][part] for part in range(accumulate) for rank in range(size)]
        assert torch.equal(torch.cat([part.images for part in together]), batch.images)
        assert torch.equal(torch.cat([part.labels for part in together]), batch.labels)


def test_places_of_all_processes_are_the_batch():
    chosen = recipe(batch=12, accumulate=3)
    assert sorted([*places_of(chosen, 0, 2), *places_of(chosen, 1, 2)]) == list(range(12))


def test_waiting_is_counted():
    with Loader(pictures(4), recipe(batch=2), WORKER) as loader:
        loader.take()
        assert loader.waited_s > 0


def test_every_nth_item_of_a_sequence():
    parts = [EveryNth("abcdefg", Worker(torch.device("cpu"), rank, 3)) for rank in range(3)]
    assert ["".join(part) for part in parts] == ["adg", "be", "cf"]
    assert parts[0][1:] == ["d", "g"]
