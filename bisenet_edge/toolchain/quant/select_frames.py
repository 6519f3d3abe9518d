"""Calibration pictures: chosen so that every class is covered, read, and checked against their recipe.

A picture *shows* a class when at least 0.1 % of its pixels are of it. (A share, not a number of pixels: the
network sees every picture at its own size, whatever the picture's.)
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bisenet_edge.dataset import Dataset
from bisenet_edge.errors import CalibrationError, ConfigError, SinkError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.resources import replace_when_written
from bisenet_edge.runtime.datasets import FileDataset, open_dataset, sample_sha256
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.toolchain.quant.calibration_recipe import CalibrationRecipe, Coverage, ListedImage
from bisenet_edge.toolchain.tensors import pad_to_stride

SHOWS = 0.001
"""Share of a picture's pixels from which on it shows a class."""

PART_PER_CLASS = 8
"""One picture in so many is to show a class, whatever the class."""


@dataclass(frozen=True)
class CalibrationFrames:
    """The pictures, ready for the network.

    Attributes:
        frames: uint8 [H', W', 3] BGR each, of the network's size padded to multiples of 8.
        provenance: data, split, count, seed, per picture its name and SHA-256, per class its coverage, and
            the name of the recipe's file when there is one.
    """

    frames: list[np.ndarray]
    provenance: dict[str, Any]


def choose(presence: np.ndarray, count: int, seed: int) -> list[int]:
    """Choose pictures so that every class is covered.

    The seed draws an order of all pictures. Classes are served in rounds, the rarest first: in round r a
    class that fewer than r chosen pictures show gets the next picture, in that order, that shows it. After
    max(1, count // 8) rounds the rest is filled in the drawn order. So a class is in at least
    min(pictures that show it, count // 8) of the choice, as far as `count` reaches; where it does not, every
    class has had its turn before any has a second one.

    Args:
        presence: bool [images, classes]: which picture shows which class.
        count: how many, at most `images`.
        seed: 0 or above.

    Returns:
        different positions in rising order.
    """
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(presence))]
    available = presence.sum(0)
    rarest_first = np.argsort(available, kind="stable")
    chosen: set[int] = set()
    shown = np.zeros_like(available)
    for least in range(1, max(1, count // PART_PER_CLASS) + 1):
        for c in rarest_first:
            if shown[c] < min(least, available[c]) and len(chosen) < count:
                taken = next(i for i in order if presence[i, c] and i not in chosen)
                chosen.add(taken)
                shown += presence[taken]
    rest = [i for i in order if i not in chosen]
    return sorted([*chosen, *rest[: count - len(chosen)]])


def select(recipe: CalibrationRecipe, progress: Progress = quiet) -> CalibrationRecipe:
    """Choose the pictures of a recipe and list them with hashes and coverage.

    Raises:
        CalibrationError: fewer pictures than asked for, or one that is a validation picture too.
        DatasetError: the train or the val split cannot be read.
    """
    return _settle(replace(recipe, images=(), coverage=()), lambda image: None, progress)


def write_selection(recipe: CalibrationRecipe, path: Path, progress: Progress = quiet) -> CalibrationRecipe:
    """`select`, then write the result to `path`, whole or not at all; an older recipe's comment is kept.

    Raises:
        CalibrationError, DatasetError: as `select`.
        SinkError: `path` cannot be written, or is something else than a calibration recipe.
    """
    if path.exists():
        older = _to_be_replaced(path)
        recipe = replace(recipe, comment=recipe.comment or older.comment)
    with replace_when_written(path) as temporary:
        selected = replace(select(recipe, progress), file=path.name)
        temporary.write_text(selected.to_toml(), encoding="utf-8")
    return selected


def load(
    recipe: CalibrationRecipe,
    size: Size,
    progress: Progress = quiet,
    *,
    measured_on: str = "",
    multiple: int = 8,
) -> CalibrationFrames:
    """Read the pictures that a recipe lists, or choose them first when it lists none.

    Args:
        recipe: which pictures.
        size: of the network's input.
        progress: told of each picture.
        measured_on: another data set whose val split the result will be measured on, if there is one.
        multiple: the network's `input_multiple`, to which pictures are padded as in the exported graph.

    Raises:
        CalibrationError: fewer pictures than asked for, one that is not in the train split or has changed
            since the recipe was written, or one that is a validation picture.
        DatasetError: the train or the val split cannot be read.
    """
    frames: list[np.ndarray] = []
    used = _settle(recipe, lambda image: frames.append(network_frame(image, size, multiple)), progress)
    if measured_on and measured_on != recipe.data:
        _refuse_validation(used.images, replace(used, data=measured_on), progress)
    return CalibrationFrames(frames, used.provenance())


def network_frame(image: np.ndarray, size: Size, multiple: int = 8) -> np.ndarray:
    """A picture as the network's graph sees it: fitted to `size`, both sides then padded to a multiple."""
    fit = Fit((image.shape[0], image.shape[1]), size)
    return pad_to_stride(np.array(fit.apply(image, fit.new_input())), multiple)


def _settle(
    recipe: CalibrationRecipe, visit: Callable[[np.ndarray], None], progress: Progress
) -> CalibrationRecipe:
    """Read every picture once, checked; `visit` is called with each. Gives the recipe with its list."""
    train = open_dataset(recipe.data, "train")
    _check_count(recipe, len(train))
    if recipe.images:
        positions, coverage = _find(recipe, train), recipe.coverage
    else:
        positions, coverage = _choose_of(train, recipe, progress)
    # Streets are drawn, not read, and their pixels differ a little from machine to machine: of 40, all with
    # OpenCV 4.8 instead of 5.0, 36 without AVX. A street is known by its name; the manifest has the hashes of
    # what was drawn. Nor is one in both splits, whatever the seeds (SyntheticDataset).
    from_files = isinstance(train, FileDataset)
    images: list[ListedImage] = []
    for done, position in enumerate(positions, 1):
        sample = train[position]
        images.append(ListedImage(sample.name, sample_sha256(sample)))
        if recipe.images and from_files and images[-1] != recipe.images[done - 1]:
            raise _changed(images[-1], recipe.images[done - 1], recipe)
        visit(sample.image)
        progress("reading calibration images", done, len(positions))
    if from_files:
        _refuse_validation(images, recipe, progress)
    return replace(recipe, images=tuple(images), coverage=coverage)


def _check_count(recipe: CalibrationRecipe, available: int) -> None:
    if recipe.count < 1 or recipe.count > available:
        raise CalibrationError(
            "cannot calibrate with this many images",
            got=f"{recipe.count} of {available} in {recipe.data} train",
            expected=f"1 to {available}",
            fix=f"count {available} or fewer: --count {available}, or in the recipe's file",
        )
    names = {image.name for image in recipe.images}
    if recipe.images and not len(names) == len(recipe.images) == recipe.count:
        raise CalibrationError(
            "a calibration recipe does not list as many images as it says",
            got=f"{len(recipe.images)} images, {len(names)} different names",
            expected=f"count = {recipe.count}",
            fix=f"choose again: {_select_command(recipe)}",
        )


def _choose_of(
    train: Dataset, recipe: CalibrationRecipe, progress: Progress
) -> tuple[list[int], tuple[Coverage, ...]]:
    # Of each label only the counts are kept: Cityscapes' labels are 6 GB, its counts 6 MB.
    counts = np.zeros((len(train), 256), np.int64)
    for position in range(len(train)):
        counts[position] = np.bincount(train.label(position).ravel(), minlength=256)
        progress("reading labels", position + 1, len(train))
    of_classes = counts[:, : len(train.labels)]
    presence = of_classes >= SHOWS * counts.sum(1, keepdims=True)
    positions = choose(presence, recipe.count, recipe.seed)
    return positions, _coverage(of_classes, presence, positions, train.labels)


def _coverage(
    counts: np.ndarray, presence: np.ndarray, positions: list[int], labels: LabelSet
) -> tuple[Coverage, ...]:
    chosen, split = (part.sum(0) / max(1, part.sum()) for part in (counts[positions], counts))
    return tuple(
        Coverage(
            name,
            int(presence[positions, c].sum()),
            int(presence[:, c].sum()),
            round(float(chosen[c]), 6),
            round(float(split[c]), 6),
        )
        for c, name in enumerate(labels.names)
    )


def _find(recipe: CalibrationRecipe, train: Dataset) -> list[int]:
    positions = {name: position for position, name in enumerate(train.names())}
    missing = [image.name for image in recipe.images if image.name not in positions]
    if missing:
        of_val = set(open_dataset(recipe.data, "val").names()).intersection(missing)
        if of_val:
            raise _validation_image(", ".join(sorted(of_val)), recipe)
        raise CalibrationError(
            "the data set does not give the images that the calibration recipe lists",
            got=f"no {missing[0]} in {recipe.data} train"
            + (f", nor {len(missing) - 1} others" if len(missing) > 1 else ""),
            expected=f"{recipe.count} images by name",
            fix="use the data set the recipe was written for, or another recipe",
        )
    return [positions[image.name] for image in recipe.images]


def _changed(found: ListedImage, listed: ListedImage, recipe: CalibrationRecipe) -> CalibrationError:
    return CalibrationError(
        "a calibration image has changed since the recipe was written",
        got=f"{found.name}: sha256 {found.sha256[:16]}...",
        expected=f"sha256 {listed.sha256[:16]}...",
        fix=f"bring the image back, or choose again: {_select_command(recipe)}",
    )


def _refuse_validation(images: Sequence[ListedImage], recipe: CalibrationRecipe, progress: Progress) -> None:
    """Refuse a picture whose pixels are those of a validation picture: a file copied between the splits."""
    val = open_dataset(recipe.data, "val")
    if not isinstance(val, FileDataset):
        return
    chosen = {image.sha256: image.name for image in images}
    for position in range(len(val)):
        sample = val[position]
        name = chosen.get(sample_sha256(sample))
        if name is not None:
            raise _validation_image(f"{name}, the same pixels as {sample.name} of the val split", recipe)
        progress("comparing with validation images", position + 1, len(val))


def _validation_image(got: str, recipe: CalibrationRecipe) -> CalibrationError:
    return CalibrationError(
        "a validation image is in the calibration list",
        got=f"{got} ({recipe.data})",
        expected="images that the accuracy gate never sees",
        fix=f"take it out of one of the splits, then choose again: {_select_command(recipe)}",
    )


def _to_be_replaced(path: Path) -> CalibrationRecipe:
    try:
        return CalibrationRecipe.read(path)
    except (ConfigError, UsageError) as error:
        raise SinkError(
            "something else stands where the recipe should be, and would be replaced",
            got=str(path),
            expected="a new file, or a calibration recipe",
            fix="give --out another file",
        ) from error


def _select_command(recipe: CalibrationRecipe) -> str:
    words = ["--data", recipe.data, "--count", str(recipe.count), "--seed", str(recipe.seed)]
    return shlex.join(["bisenet-edge", "calibrate", "select", *words])
