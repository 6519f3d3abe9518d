"""Pictures and label files on disk, paired by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Container, Dict, List, Mapping, Tuple

import cv2
import numpy as np

from bisenet_edge.dataset import Sample
from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.datasets.faults import Fault, FileFaultError
from bisenet_edge.runtime.datasets.label_files import LabelCode

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_LABEL_SUFFIXES = (*IMAGE_SUFFIXES, ".tif", ".tiff")  # all but PNG are told as what they are when read


@dataclass(frozen=True)
class Pair:
    """A picture and its label file; `name` is unique within the split."""

    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Listing:
    """What a split has on disk, before a file is read.

    Attributes:
        pairs: pictures with labels, in the order of their names.
        faults: pictures without a label and the like, one per kind.
        notes: what a reader may want to know: a picture in no split, fewer pictures than were published.
    """

    pairs: Tuple[Pair, ...]
    faults: Tuple[FileFaultError, ...] = ()
    notes: Tuple[str, ...] = ()

    def refuse_gaps(self) -> None:
        """Raise the first fault that would make the data set silently shorter or ambiguous."""
        for fault in self.faults:
            if fault.fault is not Fault.NO_PICTURE:
                raise fault


@dataclass(frozen=True)
class FileDataset:
    """Pictures and label files on disk; implements `bisenet_edge.dataset.Dataset`.

    Attributes:
        code: how the label files are read.
    """

    uri: str
    split: str
    labels: LabelSet
    listing: Listing
    code: LabelCode

    def __len__(self) -> int:
        return len(self.listing.pairs)

    def names(self) -> Tuple[str, ...]:
        return tuple(pair.name for pair in self.listing.pairs)

    def label(self, index: int) -> np.ndarray:
        return self.code.read(self.listing.pairs[index].label)

    def __getitem__(self, index: int) -> Sample:
        pair = self.listing.pairs[index]
        image = read_image(pair.image)
        label = self.code.read(pair.label)
        if image.shape[:2] != label.shape:
            raise FileFaultError(
                Fault.OTHER_SIZE,
                pair.label,
                "a picture and its label differ in size",
                got=f"{pair.image}: {image.shape[:2]}, {pair.label}: {label.shape} (height, width)",
                expected="the same size",
                fix="label the picture as it is seen; the turn that its camera noted (EXIF) is applied"
                if image.shape[1::-1] == label.shape
                else "export the label at the size of the picture",
            )
        return Sample(pair.name, image, label)


def read_image(path: Path) -> np.ndarray:
    """Read a colour picture as uint8 [H, W, 3], BGR.

    Raises:
        FileFaultError: the file is missing, cut off or cannot be decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _broken_picture(path, "does not exist" if not path.exists() else "cannot be read") from error
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None or _is_cut_off(data):
        raise _broken_picture(path, "cannot be decoded")
    return np.asarray(image)


def _is_cut_off(data: bytes) -> bool:
    # OpenCV 4 fills what is missing of a JPEG with grey and tells nobody. Within pixel data the end marker
    # cannot occur, so it stands after the last start of scan in every whole file.
    return data.startswith(b"\xff\xd8\xff") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _broken_picture(path: Path, state: str) -> FileFaultError:
    return FileFaultError(
        Fault.BROKEN_PICTURE,
        path,
        f"a picture {state}",
        got=str(path),
        expected="a whole JPEG, PNG or BMP file",
        fix="copy or download the file again",
    )


def sample_sha256(sample: Sample) -> str:
    """SHA-256 of the decoded picture (bytes of the uint8 BGR array), the same for any container format."""
    return hashlib.sha256(np.ascontiguousarray(sample.image).tobytes()).hexdigest()


@dataclass(frozen=True)
class Found:
    """Pictures and label files before they are paired.

    Attributes:
        pictures: (name, path), in order.
        labels: label file by name.
        expected: by the name of a picture, where its label should be.
    """

    pictures: Tuple[Tuple[str, Path], ...]
    labels: Mapping[str, Path]
    expected: Mapping[str, Path]

    def only(self, names: Container[str]) -> Found:
        """Those of some names."""
        pictures = tuple((name, path) for name, path in self.pictures if name in names)
        return Found(pictures, {n: p for n, p in self.labels.items() if n in names}, self.expected)


def find_in_folders(images: Path, labels: Path, label_ending: str = "") -> Found:
    """The pictures of one folder and the label files of another: `a.jpg` and `a{label_ending}.png`.

    Raises:
        DatasetError: a folder does not exist, or has no pictures.
    """
    for folder in (images, labels):
        if not folder.is_dir():
            raise DatasetError("a data set folder does not exist", got=str(folder), expected="a folder")
    pictures = sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not pictures:
        raise DatasetError("a data set has no pictures", got=str(images), expected="JPEG, PNG or BMP files")
    files: Dict[str, Path] = {}
    for path in sorted(labels.iterdir(), key=lambda p: (p.suffix.lower() == ".png", p.name)):
        if path.suffix.lower() in _LABEL_SUFFIXES and path.stem.endswith(label_ending):
            files[path.stem[: len(path.stem) - len(label_ending)]] = path  # a PNG comes last, and wins
    expected = {picture.stem: labels / f"{picture.stem}{label_ending}.png" for picture in pictures}
    return Found(tuple((picture.stem, picture) for picture in pictures), files, expected)


def pair_up(found: Found) -> Listing:
    """Pair pictures and label files by name."""
    pairs: List[Pair] = []
    missing: List[Tuple[str, Path]] = []
    twins: List[Tuple[Path, Path]] = []
    seen: Dict[str, Path] = {}
    for name, path in found.pictures:
        if name in seen:
            twins.append((seen[name], path))
        elif name in found.labels:
            pairs.append(Pair(name, path, found.labels[name]))
        else:
            missing.append((name, path))
        seen.setdefault(name, path)
    orphans = sorted(path for name, path in found.labels.items() if name not in seen)
    faults: List[FileFaultError] = []
    if missing:
        faults.append(_no_label(missing, len(seen), found.expected))
    if twins:
        first, second = twins[0]
        faults.append(
            FileFaultError(
                Fault.SAME_NAME,
                second,
                "two pictures have one name, and so one label",
                got=f"{first} and {second}{_more(len(twins))}",
                expected="names that differ without their suffix",
                fix="rename or remove one of them",
                count=len(twins),
            )
        )
    if orphans:
        faults.append(
            FileFaultError(
                Fault.NO_PICTURE,
                orphans[0],
                "a label has no picture",
                got=f"{orphans[0]}{_more(len(orphans))}",
                expected="a picture of the same name",
                fix="bring the picture back, or remove the label",
                count=len(orphans),
            )
        )
    return Listing(tuple(pairs), tuple(faults))


def _no_label(missing: List[Tuple[str, Path]], total: int, expected: Mapping[str, Path]) -> FileFaultError:
    name, path = missing[0]
    return FileFaultError(
        Fault.NO_LABEL,
        path,
        f"{len(missing)} of {total} pictures have no label",
        got=f"{path}{_more(len(missing))}",
        expected=f"a label image {expected[name]}",
        fix="add the label, or remove the picture",
        count=len(missing),
    )


def _more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""


def count_note(found: int, published: int, what: str) -> Tuple[str, ...]:
    """A note when a split has not as many pictures as were published."""
    if found == published:
        return ()
    return (f"{what} has {published} pictures as published; here are {found}",)
