"""COCO-Stuff (Caesar, Uijlings, Ferrari 2018) on all 164 thousand pictures: `coco-stuff:PATH`.

The pixel maps `stuffthingmaps_trainval2017.zip` hold the id of nightrome/cocostuff `labels.txt` less 1:
things 0..90, stuff 91..181, and 255 where nothing was labelled. BiSeNet (section 4.1) counts "91 stuff
classes and 1 class 'unlabeled'", 92 outputs, as the data set's Stuff Segmentation Challenge did: a thing is
what is not stuff. So all that is not stuff is the class "unlabeled" here, and no pixel is ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Optional, Tuple

from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import COCO_STUFF
from bisenet_edge.runtime.datasets.files import FileDataset, Listing, count_note, find_in_folders, pair_up
from bisenet_edge.runtime.datasets.label_files import mapped_ids

PUBLISHED = {"train": 118287, "val": 5000}
FIRST_STUFF, LAST_STUFF, UNLABELLED = 91, 181, 255
_IMAGE_FOLDERS = ("images", ".")
_LABEL_FOLDERS = ("annotations", "stuffthingmaps", "stuffthingmaps_trainval2017", ".")


def id_mapping() -> Dict[int, int]:
    """Train id of each value that a pixel map may hold: 0..181 and 255."""
    unlabelled = COCO_STUFF.names.index("unlabeled")
    mapping = dict.fromkeys((*range(FIRST_STUFF), UNLABELLED), unlabelled)
    mapping.update({i: i - FIRST_STUFF for i in range(FIRST_STUFF, LAST_STUFF + 1)})
    return mapping


def splits() -> Tuple[str, ...]:
    """The splits with labels."""
    return ("train", "val")


def open_split(uri: str, root: Path, split: str) -> FileDataset:
    """images/{train,val}2017/*.jpg with annotations/{train,val}2017/*.png, as the authors unpack them.

    `train2017/` without `images/`, and `stuffthingmaps/` for `annotations/`, are found too.

    Raises:
        DatasetError: the test split, a folder that is missing, or no pictures.
    """
    if split == "test":
        raise DatasetError(
            "COCO-Stuff publishes no labels of its test split",
            got=uri,
            expected="train or val",
            fix="use --split val",
        )
    year = f"{split}2017"
    images = _first(root, _IMAGE_FOLDERS, year, "*.jpg")
    labels = _first(root, _LABEL_FOLDERS, year, "*.png")
    for folder, kind, package in (
        (images, "images", f"{year}.zip"),
        (labels, "annotations", "stuffthingmaps_trainval2017.zip"),
    ):
        if folder is None:
            raise DatasetError(
                f"no COCO-Stuff '{split}' split here",
                got=f"{root / kind / year} does not exist or is empty",
                expected=f"PATH with images/{year}/*.jpg and annotations/{year}/*.png",
                fix=f"unpack {package} into {root / kind}",
            )
    assert images is not None
    assert labels is not None
    found = pair_up(find_in_folders(images, labels))
    notes = count_note(len(found.pairs), PUBLISHED[split], f"COCO-Stuff {split}")
    code = mapped_ids(
        "ids of stuffthingmaps, 91..181 = stuff, all else = unlabeled",
        id_mapping(),
        f"0..{LAST_STUFF}, or {UNLABELLED}",
        "take the pixel maps of stuffthingmaps_trainval2017.zip; those of the stuff challenge are numbered "
        "otherwise",
    )
    return FileDataset(uri, split, COCO_STUFF, Listing(found.pairs, found.faults, notes), code)


def _first(root: Path, parents: Tuple[str, ...], year: str, pattern: str) -> Optional[Path]:
    """The first ROOT/PARENT/YEAR that has such files: pictures and pixel maps may share a folder's name."""
    for parent in parents:
        folder = root / parent / year
        if folder.is_dir() and next(folder.glob(pattern), None) is not None:
            return folder
    return None
