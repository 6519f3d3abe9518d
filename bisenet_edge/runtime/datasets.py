"""Data sets by URI: `camvid:PATH`, `folder:PATH`, `synthetic:`.

Reading is strict: a picture without a label, a label value that the classes do not have or a file
that cannot be decoded is an error that names the file, never a silently shorter data set.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple
from urllib.parse import parse_qsl

import cv2
import numpy as np

from bisenet_edge.config import read_toml
from bisenet_edge.dataset import Dataset, Sample
from bisenet_edge.errors import ConfigError, DatasetError, UsageError, unknown_name
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID, IGNORE_INDEX, LabelSet

SPLITS = ("train", "val")
SCHEMES = ("camvid", "folder", "synthetic")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
CAMVID_VOID = 11
EVERY_NTH_IS_VAL = 5  # of a folder without splits of its own, in the order of the names
SYNTHETIC_DEFAULTS = {"seed": "0", "count": "", "size": "480x360"}
SYNTHETIC_COUNTS = {"train": 400, "val": 100}


@dataclass(frozen=True)
class FileDataset:
    """Pictures and label PNGs on disk, paired by file stem.

    Attributes:
        pairs: (image path, label path), sorted by stem.
        void: label file values that mean "ignore", mapped to 255 on reading.
    """

    uri: str
    split: str
    labels: LabelSet
    pairs: Tuple[Tuple[Path, Path], ...]
    void: Tuple[int, ...] = (IGNORE_INDEX,)

    def __len__(self) -> int:
        return len(self.pairs)

    def names(self) -> Tuple[str, ...]:
        return tuple(image_path.stem for image_path, _ in self.pairs)

    def label(self, index: int) -> np.ndarray:
        return self._read_label(self.pairs[index][1])

    def __getitem__(self, index: int) -> Sample:
        image_path, label_path = self.pairs[index]
        image = read_image(image_path)
        label = self._read_label(label_path)
        if image.shape[:2] != label.shape:
            raise DatasetError(
                "a picture and its label differ in size",
                got=f"{image_path}: {image.shape[:2]}, label {label.shape} (height, width)",
                expected="the same size",
            )
        return Sample(image_path.stem, image, label)

    def _read_label(self, path: Path) -> np.ndarray:
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if label is None:
            raise DatasetError(
                "cannot decode a label image", got=str(path), expected="an 8-bit PNG of class ids"
            )
        if label.ndim != 2 or label.dtype != np.uint8:
            raise DatasetError(
                "a label image is not a map of class ids",
                got=f"{path}: {label.dtype} {list(label.shape)}",
                expected="8 bits, one channel, each value a class id (not colours)",
            )
        table = np.full(256, -1, np.int16)
        table[: len(self.labels)] = np.arange(len(self.labels))
        table[list(self.void)] = IGNORE_INDEX
        mapped = table[label]
        if mapped.min() < 0:
            bad = sorted(int(v) for v in np.unique(label[mapped < 0]))
            raise DatasetError(
                "a label image has values outside the classes",
                got=f"{path}: value {', '.join(map(str, bad[:5]))}",
                expected=f"0..{len(self.labels) - 1}, or {'/'.join(map(str, self.void))} for void",
                fix="check that the label files are class ids of this data set",
            )
        return mapped.astype(np.uint8)


def read_image(path: Path) -> np.ndarray:
    """Read a colour picture as uint8 [H, W, 3], BGR.

    Raises:
        DatasetError: the file is missing or cannot be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        state = "cannot be decoded" if path.exists() else "does not exist"
        raise DatasetError(f"a picture {state}", got=str(path), expected="a JPEG, PNG or BMP file")
    return np.asarray(image)


def open_dataset(uri: str, split: str) -> Dataset:
    """Open one split of a data set.

    Args:
        uri: `camvid:PATH`, `folder:PATH` or `synthetic:[?count=100&seed=0&size=480x360]`.
        split: "train" or "val".

    Raises:
        UsageError: an unknown scheme, split or option.
        DatasetError: no pictures, or pictures without labels.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    scheme, colon, rest = uri.partition(":")
    if not colon:
        raise UsageError(
            "cannot read a data set URI",
            got=repr(uri),
            expected="camvid:PATH, folder:PATH or synthetic:",
            fix=f"for a folder of images/ and labels/: folder:{uri}",
        )
    if scheme == "camvid":
        return _open_camvid(uri, Path(rest).expanduser(), split)
    if scheme == "folder":
        return _open_folder(uri, Path(rest).expanduser(), split)
    if scheme == "synthetic":
        return _open_synthetic(uri, rest, split)
    raise unknown_name("data set", scheme, SCHEMES)


def sample_sha256(sample: Sample) -> str:
    """SHA-256 of the decoded picture (bytes of the uint8 BGR array), the same for any container format."""
    return hashlib.sha256(np.ascontiguousarray(sample.image).tobytes()).hexdigest()


def _pairs(images: Path, labels: Path) -> Tuple[Tuple[Path, Path], ...]:
    for folder in (images, labels):
        if not folder.is_dir():
            raise DatasetError("a data set folder does not exist", got=str(folder), expected="a folder")
    pictures = sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not pictures:
        raise DatasetError("a data set has no pictures", got=str(images), expected="JPEG, PNG or BMP files")
    pairs: List[Tuple[Path, Path]] = [(p, labels / f"{p.stem}.png") for p in pictures]
    missing = [p.name for p, label in pairs if not label.is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(pairs)} pictures have no label",
            got=f"{images / missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            expected=f"a label image {labels / (Path(missing[0]).stem + '.png')}",
        )
    return tuple(pairs)


def _open_camvid(uri: str, root: Path, split: str) -> FileDataset:
    # train/images + train/labels, or the SegNet tutorial's train + trainannot.
    if (root / split / "images").is_dir():
        pairs = _pairs(root / split / "images", root / split / "labels")
    elif (root / f"{split}annot").is_dir():
        pairs = _pairs(root / split, root / f"{split}annot")
    else:
        raise DatasetError(
            f"no CamVid '{split}' split here",
            got=str(root),
            expected=f"{split}/images and {split}/labels, or the SegNet layout {split} and {split}annot",
        )
    return FileDataset(uri, split, CAMVID, pairs, void=(CAMVID_VOID, IGNORE_INDEX))


def _open_folder(uri: str, root: Path, split: str) -> FileDataset:
    # ROOT/labels.toml with ROOT/{train,val}/{images,labels}, or ROOT/{images,labels} and we split.
    labels = read_labels_toml(root / "labels.toml")
    if any((root / name).is_dir() for name in SPLITS):
        return FileDataset(uri, split, labels, _pairs(root / split / "images", root / split / "labels"))
    pairs = _pairs(root / "images", root / "labels")
    if len(pairs) < EVERY_NTH_IS_VAL:
        raise DatasetError(
            "too few pictures to split into train and val",
            got=f"{len(pairs)} in {root / 'images'}",
            expected=f"at least {EVERY_NTH_IS_VAL}, or folders train/ and val/ with images/ and labels/ each",
        )
    chosen = [pair for i, pair in enumerate(pairs, 1) if (i % EVERY_NTH_IS_VAL == 0) == (split == "val")]
    return FileDataset(uri, split, labels, tuple(chosen))


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


def _open_synthetic(uri: str, rest: str, split: str) -> Dataset:
    from bisenet_edge.runtime.streets import SyntheticDataset

    options = parse_options(rest.lstrip("/").lstrip("?"), SYNTHETIC_DEFAULTS, uri)
    count = parse_int(options["count"] or str(SYNTHETIC_COUNTS[split]), "count", uri)
    seed = parse_int(options["seed"], "seed", uri)
    dataset: Dataset = SyntheticDataset(split, count, Size.parse(options["size"]), seed)
    return dataset


def parse_options(query: str, defaults: Dict[str, str], uri: str) -> Dict[str, str]:
    """Read `a=1&b=2` over `defaults`.

    Raises:
        UsageError: an option that `defaults` does not name.
    """
    options = dict(defaults)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in defaults:
            raise unknown_name(f"option in '{uri}'", key, defaults)
        options[key] = value
    return options


def parse_int(text: str, name: str, uri: str) -> int:
    """Read a count or seed from a URI.

    Raises:
        UsageError: not a whole number from 0 up.
    """
    if not text.isdecimal():  # isdigit is true of "²", which int() refuses
        raise UsageError(f"cannot read '{name}' in '{uri}'", got=repr(text), expected="a whole number")
    return int(text)
