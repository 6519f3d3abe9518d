"""What a data set is, without saying where it comes from (`runtime.datasets` opens the real ones)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Tuple

import numpy as np

from bisenet_edge.labels import LabelSet


@dataclass(frozen=True)
class Sample:
    """A labelled picture.

    Attributes:
        name: unique within its split; a file stem or a seed.
        image: uint8 [H, W, 3], BGR.
        label: uint8 [H, W], train ids; 255 = ignored.
    """

    name: str
    image: np.ndarray
    label: np.ndarray


class Dataset(Protocol):
    """A finite, ordered, labelled set of pictures: one split of one data set."""

    @property
    def uri(self) -> str:
        """How the user named it ("camvid:/data/camvid")."""
        ...

    @property
    def split(self) -> str:
        """One of "train", "val" and "test"."""
        ...

    @property
    def labels(self) -> LabelSet:
        """Its classes."""
        ...

    def __len__(self) -> int: ...

    def names(self) -> Tuple[str, ...]:
        """The names of all its pictures, in order, without reading one."""
        ...

    def label(self, index: int) -> np.ndarray:
        """Read one label alone, uint8 [H, W]; raises as `__getitem__`."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Read one picture and its label.

        Raises:
            DatasetError: the file is missing or corrupt, or a label value is out of range.
            IndexError: `index` is outside 0..len-1, so that a plain `for` loop ends.
        """
        ...
