"""Small data sets in the layouts in which the real ones are published."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

HW = (8, 12)
LABELS_TOML = """
name = "mine"
[[class]]
name = "floor"
color = [128, 64, 128]
[[class]]
name = "wall"
color = [0, 0, 255]
[[class]]
name = "door"
color = [0, 255, 0]
"""


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def noise(seed: int, hw: tuple[int, int] = HW) -> np.ndarray:
    """A picture that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3)).astype(np.uint8)


def of_values(*values: int) -> np.ndarray:
    """A label that holds these values."""
    label = np.full(HW, values[0], np.uint8)
    label.flat[: len(values)] = values
    return label


def cityscapes(root: Path, label: np.ndarray | None = None, form: str = "labelIds") -> Path:
    """Two pictures of one city and one of another in train, one in val."""
    label = of_values(7, 8, 11, 26, 0) if label is None else label
    names = {
        "train": ("aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313"),
        "val": ("frankfurt_000000_000294",),
    }
    for split, stems in names.items():
        for stem in stems:
            city = stem.partition("_")[0]
            write(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", noise(hash_of(stem)))
            write(root / "gtFine" / split / city / f"{stem}_gtFine_{form}.png", label)
            # What lies beside them in the published package must not be taken for a label.
            write(root / "gtFine" / split / city / f"{stem}_gtFine_color.png", noise(1))
            write(root / "gtFine" / split / city / f"{stem}_gtFine_instanceIds.png", label.astype(np.uint16))
    return root


def camvid_originals(root: Path, label: np.ndarray, stems: tuple[str, ...]) -> Path:
    for stem in stems:
        write(root / "701_StillsRaw_full" / f"{stem}.png", noise(hash_of(stem)))
        write(root / "LabeledApproved_full" / f"{stem}_L.png", label)
    return root


def coco_stuff(root: Path, label: np.ndarray) -> Path:
    """As the authors' README unpacks it."""
    for split, stems in {"train": ("000000000009", "000000000025"), "val": ("000000000139",)}.items():
        for stem in stems:
            write(root / "images" / f"{split}2017" / f"{stem}.jpg", noise(hash_of(stem)))
            write(root / "annotations" / f"{split}2017" / f"{stem}.png", label)
    return root


def folder(root: Path) -> Path:
    """Your own data: three classes, pictures a, b and c in train, d and e in val."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.toml").write_text(LABELS_TOML)
    for split, stems in {"train": "abc", "val": "de"}.items():
        for stem in stems:
            write(root / split / "images" / f"{stem}.png", noise(ord(stem)))
            write(root / split / "labels" / f"{stem}.png", of_values(0, 1, 2, 255))
    return root


def hash_of(stem: str) -> int:
    return int.from_bytes(stem.encode(), "big") % 2**32
