"""Calibration pictures: which ones, from where, and proof of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bisenet_edge.config import read_toml
from bisenet_edge.dataset import Sample
from bisenet_edge.errors import CalibrationError
from bisenet_edge.frame import Size
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.datasets import open_dataset, sample_sha256
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.toolchain.tensors import pad_to_stride


@dataclass(frozen=True)
class CalibrationRecipe:
    """Which pictures calibrate the ranges.

    Attributes:
        data: data set URI; always its train split, so that no validation picture is ever used.
        count: how many pictures.
        seed: of the random choice.
        images: the names that the choice must give, when the recipe lists them; empty = unchecked.
    """

    data: str
    count: int = 64
    seed: int = 0
    images: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> CalibrationRecipe:
        """Read a recipe from TOML.

        Raises:
            ConfigError, UsageError: unknown key, missing key or wrong type.
        """
        required = {"data": str, "count": int, "seed": int}
        value = read_toml(path, required, {"images": list, "comment": str})
        value.pop("comment", None)
        return cls(**{**value, "images": tuple(value.get("images", ()))})

    def with_data(self, data: str) -> CalibrationRecipe:
        """The same count and seed on another data set."""
        return replace(self, data=data, images=())


@dataclass(frozen=True)
class CalibrationFrames:
    """The pictures, ready for the network.

    Attributes:
        frames: uint8 [H', W', 3] BGR each, of the network's size padded to multiples of 8.
        provenance: data, split, count, seed and per picture its name and SHA-256.
    """

    frames: list[np.ndarray]
    provenance: dict[str, Any]


def choose(length: int, count: int, seed: int) -> list[int]:
    """`count` different positions out of `length`, drawn by `seed`, in rising order."""
    order = np.random.default_rng(seed).permutation(length)
    return sorted(int(i) for i in order[:count])


def load(recipe: CalibrationRecipe, size: Size, progress: Progress = quiet) -> CalibrationFrames:
    """Choose and read the calibration pictures.

    Raises:
        CalibrationError: fewer pictures than asked for, or others than the recipe lists.
        DatasetError: the data set cannot be read.
    """
    dataset = open_dataset(recipe.data, "train")
    if recipe.count < 1 or recipe.count > len(dataset):
        raise CalibrationError(
            "cannot calibrate with this many images",
            got=f"{recipe.count} of {len(dataset)} in {recipe.data} train",
            expected=f"1 to {len(dataset)}",
        )
    samples: list[Sample] = []
    for done, index in enumerate(choose(len(dataset), recipe.count, recipe.seed), 1):
        samples.append(dataset[index])
        progress("reading calibration images", done, recipe.count)
    names = tuple(sample.name for sample in samples)
    if recipe.images and names != recipe.images:
        raise CalibrationError(
            "the data set does not give the images that the calibration recipe lists",
            got=", ".join(names[:3]) + ", ...",
            expected=", ".join(recipe.images[:3]) + ", ...",
            fix="use the data set the recipe was written for, or another recipe",
        )
    provenance = {
        "data": recipe.data,
        "split": "train",
        "count": recipe.count,
        "seed": recipe.seed,
        "images": [{"name": s.name, "sha256": sample_sha256(s)} for s in samples],
    }
    return CalibrationFrames([network_frame(s.image, size) for s in samples], provenance)


def network_frame(image: np.ndarray, size: Size) -> np.ndarray:
    """A picture as the network's graph sees it: fitted to `size`, then padded to multiples of 8."""
    fit = Fit((image.shape[0], image.shape[1]), size)
    return pad_to_stride(np.array(fit.apply(image, fit.new_input())))
