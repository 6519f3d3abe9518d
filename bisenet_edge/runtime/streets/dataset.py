"""Streets as a data set: every index is another street."""

from __future__ import annotations

from typing import Tuple

import numpy as np

from bisenet_edge.dataset import Sample
from bisenet_edge.errors import DatasetError, unknown_name
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID, LabelSet
from bisenet_edge.runtime.streets.scene import Scene
from bisenet_edge.runtime.streets.style import generator

_SPLITS = {"train": 0, "val": 1}
_LONGEST_S = 300.0
MAX_COUNT = 1 << 24


class SyntheticDataset:
    """Pictures of generated streets with exact labels; implements `bisenet_edge.dataset.Dataset`.

    Train and val never share a street, whatever their seeds: train streets have even numbers, val odd ones.

    Args:
        split: "train" or "val".
        count: number of pictures.
        size: of each picture.
        seed: another seed gives other streets.

    Raises:
        UsageError: unknown split.
        DatasetError: `count` or `seed` out of range.
    """

    def __init__(self, split: str, count: int, size: Size, seed: int = 0) -> None:
        if split not in _SPLITS:
            raise unknown_name("split", str(split), _SPLITS)
        if not 1 <= count <= MAX_COUNT:
            raise DatasetError(
                "a synthetic data set needs pictures",
                got=f"count {count}",
                expected=f"1 to {MAX_COUNT}",
                fix="for example synthetic:?count=400",
            )
        if seed < 0:
            raise DatasetError("a seed cannot be negative", got=str(seed), expected="0 or above", fix="use 0")
        self.uri = f"synthetic:?count={count}&seed={seed}&size={size}"
        self.split = split
        self.labels: LabelSet = CAMVID
        self._count = int(count)
        self._size = size
        self._seed = int(seed)

    def __len__(self) -> int:
        return self._count

    def scene_seed(self, index: int) -> int:
        """The street of a picture."""
        return (self._seed * MAX_COUNT + index) * 2 + _SPLITS[self.split]

    def names(self) -> Tuple[str, ...]:
        return tuple(self._name(index) for index in range(self._count))

    def _name(self, index: int) -> str:
        return f"synthetic-{self.split}-{self._seed}-{index:06d}"

    def label(self, index: int) -> np.ndarray:
        return self[index].label  # picture and label are drawn at once (canvas)

    def __getitem__(self, index: int) -> Sample:
        """Draw one picture: uint8 [H, W, 3] BGR and uint8 [H, W] train ids.

        Raises:
            IndexError: `index` is outside 0..len-1.
        """
        if not 0 <= index < self._count:
            raise IndexError(f"index {index} outside 0..{self._count - 1}")
        street = self.scene_seed(int(index))
        time_s = float(np.round(generator(street, 7).uniform(0.0, _LONGEST_S), 3))
        image, label = Scene(street, self._size).render(time_s)
        return Sample(self._name(index), image, label)
