"""Your own data: `folder:PATH` with labels.toml, and images and label files of ids."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

from bisenet_edge.config import read_toml
from bisenet_edge.errors import ConfigError, DatasetError
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.datasets.files import FileDataset, find_in_folders, pair_up
from bisenet_edge.runtime.datasets.label_files import plain_ids

EVERY_NTH_IS_VAL = 5  # of a folder without splits of its own, in the order of the names


def splits(root: Path) -> Tuple[str, ...]:
    """The splits that a folder has."""
    return ("train", "val", "test") if (root / "test").is_dir() else ("train", "val")


def open_split(uri: str, root: Path, split: str) -> FileDataset:
    """ROOT/labels.toml with ROOT/{train,val,test}/{images,labels}, or ROOT/{images,labels} and we split.

    Raises:
        DatasetError: no such split, no pictures, or too few to split.
        ConfigError: labels.toml does not say what it should.
    """
    labels = read_labels_toml(root / "labels.toml")
    code = plain_ids(len(labels))
    if any((root / name).is_dir() for name in ("train", "val", "test")):
        listing = pair_up(find_in_folders(root / split / "images", root / split / "labels"))
        return FileDataset(uri, split, labels, listing, code)
    if split == "test":
        raise DatasetError(
            "a folder without splits of its own has no test split",
            got=str(root),
            expected="test/images and test/labels beside train/ and val/",
        )
    whole = find_in_folders(root / "images", root / "labels")
    names = sorted({name for name, _ in whole.pictures})
    if len(names) < EVERY_NTH_IS_VAL:
        raise DatasetError(
            "too few pictures to split into train and val",
            got=f"{len(names)} in {root / 'images'}",
            expected=f"at least {EVERY_NTH_IS_VAL}, or folders train/ and val/ with images/ and labels/ each",
        )
    val = set(names[EVERY_NTH_IS_VAL - 1 :: EVERY_NTH_IS_VAL])
    # A label without a picture belongs to train: it must be told once.
    chosen = val if split == "val" else {*names, *whole.labels} - val
    return FileDataset(uri, split, labels, pair_up(whole.only(chosen)), code)


def read_labels_toml(path: Path) -> LabelSet:
    """Read the classes of a `folder:` data set: `name`, and one `[[class]]` (name, color) per train id.

    Raises:
        DatasetError: the file does not exist.
        ConfigError: it does not say what it should.
    """
    if not path.is_file():
        raise DatasetError(
            "a folder data set has no labels.toml",
            got=str(path),
            expected='name = "mine" and one [[class]] per id: name = "road", color = [128, 64, 128]',
        )
    value = read_toml(path, required={"name": str, "class": list})
    names: List[str] = []
    palette: List[Tuple[int, int, int]] = []
    for entry in value["class"]:
        if not (
            isinstance(entry, dict) and isinstance(entry.get("name"), str) and _is_rgb(entry.get("color"))
        ):
            raise ConfigError(
                f"{path}: a [[class]] is not usable",
                got=str(entry),
                expected='name = "road" and color = [red, green, blue], 0..255',
            )
        names.append(entry["name"])
        red, green, blue = entry["color"]
        palette.append((red, green, blue))
    return LabelSet(value["name"], tuple(names), tuple(palette))


def _is_rgb(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(v, int) and 0 <= v <= 255 for v in value)
    )
