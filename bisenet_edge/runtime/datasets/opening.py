"""From a data set's URI to one of its splits."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

from bisenet_edge.dataset import Dataset
from bisenet_edge.errors import UsageError, unknown_name
from bisenet_edge.frame import Size
from bisenet_edge.runtime.datasets import camvid, cityscapes, coco_stuff, folder
from bisenet_edge.runtime.datasets.files import FileDataset
from bisenet_edge.runtime.uris import parse_int, parse_options

SPLITS = ("train", "val", "test")
_OPTIONS: Dict[str, Dict[str, str]] = {
    "camvid": {},
    "cityscapes": cityscapes.OPTIONS,
    "coco-stuff": {},
    "folder": {},
    "synthetic": {"seed": "0", "count": "", "size": "480x360"},
}
SCHEMES = tuple(_OPTIONS)
URI_FORMS = "cityscapes:PATH, camvid:PATH, coco-stuff:PATH, folder:PATH or synthetic:"
SYNTHETIC_COUNTS = {"train": 400, "val": 100}


def open_dataset(uri: str, split: str) -> Dataset:
    """Open one split of a data set.

    Args:
        uri: `cityscapes:PATH[?labels=ids|trainids]`, `camvid:PATH`, `coco-stuff:PATH`, `folder:PATH` or
            `synthetic:[?count=100&seed=0&size=480x360]`.
        split: "train" or "val", or "test" where its labels are published.

    Raises:
        UsageError: an unknown scheme, split or option.
        DatasetError: no such split, no pictures, or pictures without labels.
    """
    dataset = scan(uri, split)
    if isinstance(dataset, FileDataset):
        dataset.listing.refuse_gaps()
    return dataset


def scan(uri: str, split: str) -> Dataset:
    """As `open_dataset`, but pictures without labels and the like are left in `FileDataset.listing`.

    Raises:
        UsageError, DatasetError: as `open_dataset`, but for those.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    scheme, root, options = _parse(uri)
    if scheme == "camvid":
        return camvid.open_split(uri, root, split)
    if scheme == "cityscapes":
        return cityscapes.open_split(uri, root, split, options["labels"])
    if scheme == "coco-stuff":
        return coco_stuff.open_split(uri, root, split)
    if scheme == "folder":
        return folder.open_split(uri, root, split)
    return _open_synthetic(uri, options, split)


def splits_of(uri: str) -> Tuple[str, ...]:
    """The splits that a data set has or should have: train, val, and test where it is there with labels.

    Raises:
        UsageError: an unknown scheme or option.
    """
    scheme, root, _ = _parse(uri)
    if scheme == "camvid":
        return camvid.splits(root)
    if scheme == "folder":
        return folder.splits(root)
    return ("train", "val")


def _parse(uri: str) -> Tuple[str, Path, Dict[str, str]]:
    """Scheme, folder and options of a URI."""
    scheme, colon, rest = uri.partition(":")
    if not colon:
        raise UsageError(
            "cannot read a data set URI",
            got=repr(uri),
            expected=URI_FORMS,
            fix=f"for a folder of images/ and labels/: folder:{uri}",
        )
    if scheme not in SCHEMES:
        raise unknown_name("data set", scheme, SCHEMES)
    path, _, query = rest.partition("?")
    known = _OPTIONS[scheme]
    if query and not known:
        raise UsageError(
            f"'{scheme}:' takes no options",
            got=f"?{query}",
            expected=f"{scheme}:PATH",
            fix=f"{scheme}:{path}",
        )
    if not path and scheme != "synthetic":
        raise UsageError("a data set URI has no path", got=repr(uri), expected=f"{scheme}:PATH")
    return scheme, Path(path).expanduser(), parse_options(query, known, uri)


def _open_synthetic(uri: str, options: Dict[str, str], split: str) -> Dataset:
    from bisenet_edge.runtime.streets import SyntheticDataset

    count = parse_int(options["count"] or str(SYNTHETIC_COUNTS.get(split, 0)), "count", uri)
    seed = parse_int(options["seed"], "seed", uri)
    dataset: Dataset = SyntheticDataset(split, count, Size.parse(options["size"]), seed)
    return dataset
