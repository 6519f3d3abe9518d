"""Cityscapes (Cordts et al. 2016), fine annotations, 19 classes: `cityscapes:PATH[?labels=ids|trainids]`.

Ids, train ids and file names are those of `cityscapesscripts/helpers/labels.py` of mcordts/cityscapesScripts.
Where both forms are there, the label ids are used, which everybody downloads: `_gtFine_labelTrainIds.png` is
made on the user's machine by a script whose table is meant to be edited.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

from bisenet_edge.errors import DatasetError, unknown_name
from bisenet_edge.labels import CITYSCAPES, IGNORE_INDEX
from bisenet_edge.runtime.datasets.files import FileDataset, Found, Listing, count_note, pair_up
from bisenet_edge.runtime.datasets.label_files import LabelCode, mapped_ids, plain_ids

OPTIONS = {"labels": ""}
FORMS = {"ids": "_gtFine_labelIds.png", "trainids": "_gtFine_labelTrainIds.png"}
PUBLISHED = {"train": 2975, "val": 500}
_IMAGE_ENDING = "_leftImg8bit.png"
_LAST_ID = 33
_TRAIN_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13,
    27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip


def id_mapping() -> Dict[int, int]:
    """Train id or 255 of each id that `_gtFine_labelIds.png` may hold, 0..33."""
    return {i: _TRAIN_IDS.get(i, IGNORE_INDEX) for i in range(_LAST_ID + 1)}


def splits() -> Tuple[str, ...]:
    """The splits with labels."""
    return ("train", "val")


def open_split(uri: str, root: Path, split: str, form: str) -> FileDataset:
    """leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png with gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png.

    Args:
        form: which label files: "ids", "trainids", or "" for ids where there are any.

    Raises:
        DatasetError: the test split, a folder that is missing, or no pictures.
        UsageError: an unknown form.
    """
    if form not in ("", *FORMS):
        raise unknown_name(f"value of 'labels' in '{uri}'", form, FORMS)
    if split == "test":
        raise DatasetError(
            "Cityscapes publishes no labels of its test split",
            got=uri,
            expected="train or val; test is scored by the benchmark's server",
            fix="use --split val",
        )
    images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
    for folder, package in ((images, "leftImg8bit_trainvaltest.zip"), (labels, "gtFine_trainvaltest.zip")):
        if not folder.is_dir():
            raise DatasetError(
                f"no Cityscapes '{split}' split here",
                got=f"{folder} does not exist",
                expected="PATH with leftImg8bit/ and gtFine/, each with train/CITY/ and val/CITY/",
                fix=f"unpack {package} into {root}",
            )
    pictures = sorted(images.glob(f"*/*{_IMAGE_ENDING}"))
    if not pictures:
        raise DatasetError(
            "a data set has no pictures", got=str(images), expected=f"CITY/NAME{_IMAGE_ENDING} files"
        )
    form = form or ("ids" if any(labels.glob(f"*/*{FORMS['ids']}")) else "trainids")
    found = _listing(pictures, labels, FORMS[form])
    notes = (*found.notes, *count_note(len(found.pairs), PUBLISHED[split], f"Cityscapes {split}"))
    return FileDataset(uri, split, CITYSCAPES, Listing(found.pairs, found.faults, notes), _code(form))


def _listing(pictures: List[Path], labels: Path, ending: str) -> Listing:
    named = [(path.name[: -len(_IMAGE_ENDING)], path) for path in pictures]
    files = {path.name[: -len(ending)]: path for path in labels.glob(f"*/*{ending}")}
    expected = {name: labels / path.parent.name / f"{name}{ending}" for name, path in named}
    return pair_up(Found(tuple(named), files, expected))


def _code(form: str) -> LabelCode:
    if form == "trainids":
        ids = plain_ids(len(CITYSCAPES))
        return mapped_ids(
            f"train ids of *{FORMS[form]}, 255 = void",
            dict(ids.pairs),
            ids.expected,
            "make the train ids with the 19 classes of cityscapesScripts, or use ?labels=ids",
        )
    return mapped_ids(
        f"label ids of *{FORMS[form]}, mapped to the 19 train ids",
        id_mapping(),
        f"0..{_LAST_ID}",
        "take *_gtFine_labelIds.png as published; for files of train ids use ?labels=trainids",
    )
