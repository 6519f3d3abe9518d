from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bisenet_edge.dataset import Sample
from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import CAMVID
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.samples import Samples
from bisenet_edge.toolchain.train_data import load_data

SIDE = 512
MB_EACH = SIDE * SIDE * 4 / 2**20  # 1 MB: three bytes of colour and one of label


class Counted:
    """A data set in memory that counts how often each picture is read; the one at `broken` cannot be."""

    labels = CAMVID
    split = "train"

    def __init__(self, uri: str, count: int, broken: int = -1) -> None:
        self.uri, self.count, self.broken = uri, count, broken
        self.reads = [0] * count
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        with self._lock:
            self.reads[index] += 1
        if index == self.broken:
            raise DatasetError("broken", got=self.uri)
        value = np.full((SIDE, SIDE), index, np.uint8)
        return Sample(f"{self.uri} {index}", np.repeat(value[..., None], 3, axis=2), value)


def names(samples):
    return [samples[i].name for i in range(len(samples))]


def test_two_data_sets_are_one_sequence():
    samples = Samples([Counted("a", 2), Counted("b", 3)])
    assert len(samples) == 5
    assert names(samples) == ["a 0", "a 1", "b 0", "b 1", "b 2"]
    assert [s.name for s in samples] == names(samples)
    assert samples[-1].name == "b 2"
    assert [s.name for s in samples[1:3]] == ["a 1", "b 0"]
    assert samples[np.int64(2)].name == "b 0"
    for index in (5, -6):
        with pytest.raises(IndexError):
            samples[index]


def test_what_fits_is_read_once():
    data = Counted("a", 4)
    samples = Samples([data], budget_mb=4 * MB_EACH)
    samples.fill()
    for _ in range(3):
        names(samples)
    assert data.reads == [1] * 4
    assert samples.kept_mb == 4 * MB_EACH


def test_memory_is_bounded_and_the_rest_is_read_each_time():
    data = Counted("a", 40)
    samples = Samples([data], budget_mb=3.5 * MB_EACH)
    for _ in range(3):
        names(samples)
    assert samples.kept_mb == 3 * MB_EACH
    assert sorted(data.reads) == [1] * 3 + [3] * 37


def test_many_threads_get_the_right_pictures_within_the_budget():
    data = Counted("a", 30)
    samples = Samples([data], budget_mb=10 * MB_EACH)
    order = [int(i) for i in np.random.default_rng(0).integers(0, 30, 600)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda i: samples[i], order))
    assert [sample.name for sample in got] == [f"a {i}" for i in order]
    assert all((sample.label == i).all() for sample, i in zip(got, order))
    assert samples.kept_mb == 10 * MB_EACH


def test_filling_stops_when_the_memory_is_full(monkeypatch):
    monkeypatch.setattr("bisenet_edge.runtime.datasets.reading.usable_cores", lambda: 2)
    data, told = Counted("a", 1000), []
    samples = Samples([data], budget_mb=2 * MB_EACH)
    samples.fill(lambda *step: told.append(step))
    assert sum(data.reads) < 100
    assert samples.kept_mb == 2 * MB_EACH
    assert told[-1] == ("reading a train", 1000, 1000)


def test_a_file_that_cannot_be_read_is_found_behind_what_fits():
    samples = Samples([Counted("a", 200, broken=199)], budget_mb=MB_EACH)
    with pytest.raises(DatasetError, match="broken"):
        samples.fill(to_the_end=True)


def recipe_of(*uris: str) -> Recipe:
    return Recipe("bisenet-xception39", uris, crop="64x64")


def test_training_data_keep_within_one_budget():
    budget_mb = 3 * 64 * 48 * 4 / 2**20
    recipe = recipe_of("synthetic:?count=2&size=64x48", "synthetic:?count=4&size=64x48&seed=1")
    data = load_data(recipe, budget_mb=budget_mb)
    assert len(data.train) == 6
    assert len(data.val) == 2
    assert data.train.kept_mb + data.val.kept_mb <= budget_mb
    assert data.train[5].name == "synthetic-train-1-000003"
    assert data.train[5].image.shape == (48, 64, 3)
