"""Everything that can be said of a data set before training on it: counts, sizes, classes, faults.

Every picture and label is read once, by the code that reads them in training; what that code raises is
counted by kind here, so that one pass tells all.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from bisenet_edge.dataset import Dataset
from bisenet_edge.errors import BisenetEdgeError, DatasetError
from bisenet_edge.labels import IGNORE_INDEX, LabelSet
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.datasets.faults import Fault, FileFaultError
from bisenet_edge.runtime.datasets.files import FileDataset
from bisenet_edge.runtime.datasets.opening import scan, splits_of
from bisenet_edge.runtime.datasets.reading import in_threads


@dataclass
class Problem:
    """All faults of one kind: how many files, and the first one's error."""

    fault: Fault
    count: int
    first: BisenetEdgeError

    @property
    def file(self) -> str:
        """The first file; "" where the fault is not one of a file."""
        return str(self.first.path) if isinstance(self.first, FileFaultError) else ""


@dataclass
class SplitSurvey:
    """One split.

    Attributes:
        pictures, labels: files on disk, with or without the other.
        code: how the label files are read; "" for drawn pictures.
        sizes: "WxH" -> number of pictures.
        pixels: int64 [256], pixels per train id, 255 = void.
        shown: int64 [256], pictures that show a train id.
    """

    split: str
    labels_of: LabelSet
    pictures: int
    labels: int
    code: str
    sizes: Counter[str] = field(default_factory=Counter)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    shown: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))

    @property
    def read(self) -> int:
        """Pictures whose label could be read."""
        return sum(self.sizes.values())

    @property
    def void_share(self) -> float:
        """Share of void pixels in 0..1; nan when nothing was read."""
        total = self.pixels.sum()
        return float(self.pixels[IGNORE_INDEX] / total) if total else float("nan")

    def class_share(self, train_id: int) -> float:
        """Share of a class in the labelled pixels, 0..1; nan when there are none."""
        total = self.pixels[:IGNORE_INDEX].sum()
        return float(self.pixels[train_id] / total) if total else float("nan")

    def never(self) -> Tuple[str, ...]:
        """The classes that no pixel has."""
        return tuple(name for i, name in enumerate(self.labels_of.names) if not self.pixels[i])

    def to_json(self) -> Dict[str, Any]:
        classes = [
            {
                "name": name,
                "pixels": int(self.pixels[i]),
                "share": _json_number(self.class_share(i)),
                "pictures": int(self.shown[i]),
            }
            for i, name in enumerate(self.labels_of.names)
        ]
        return {
            "split": self.split,
            "pictures": self.pictures,
            "labels": self.labels,
            "read": self.read,
            "label_files": self.code,
            "sizes": dict(self.sizes.most_common()),
            "void_pixels": int(self.pixels[IGNORE_INDEX]),
            "void_share": _json_number(self.void_share),
            "classes": classes,
            "classes_never": list(self.never()),
        }


@dataclass
class Survey:
    """A whole data set, as `bisenet-edge data check` tells it."""

    uri: str
    splits: List[SplitSurvey] = field(default_factory=list)
    problems: List[Problem] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def pictures_per_s(self) -> float:
        """How fast pictures and labels were read."""
        return sum(s.read for s in self.splits) / self.seconds if self.seconds else float("nan")

    def add(self, fault: Fault, error: BisenetEdgeError, count: int = 1) -> None:
        """Count a fault; the first of its kind is kept."""
        for problem in self.problems:
            if problem.fault is fault:
                problem.count += count
                return
        self.problems.append(Problem(fault, count, error))

    def to_json(self) -> Dict[str, Any]:
        return {
            "data": self.uri,
            "passed": not self.problems,
            "label_set": self.splits[0].labels_of.to_json() if self.splits else None,
            "splits": [split.to_json() for split in self.splits],
            "problems": [
                {
                    "kind": p.fault.name.lower(),
                    "count": p.count,
                    "file": p.file,
                    "what": p.first.what,
                    "got": p.first.got,
                    "expected": p.first.expected,
                    "next": p.first.fix,
                }
                for p in self.problems
            ],
            "notes": self.notes,
            "pictures_per_s": _json_number(round(self.pictures_per_s, 1)),
        }


@dataclass(frozen=True)
class _Look:
    """What one picture and its label tell: "WxH", int64 [256] pixels per train id, SHA-256 of the picture."""

    size: str
    counts: np.ndarray
    digest: bytes


def survey(uri: str, splits: Optional[Sequence[str]] = None, progress: Progress = quiet) -> Survey:
    """Read a data set from end to end.

    Args:
        uri: as of `open_dataset`.
        splits: which; None = all that it has.
        progress: called after each picture.

    Raises:
        UsageError: an unknown scheme, split or option.
        ConfigError: labels.toml does not say what it should.
        DatasetError: no split can be opened.
    """
    result = Survey(uri)
    seen: Dict[bytes, Tuple[str, Path]] = {}
    started_s = time.monotonic()
    for split in splits or splits_of(uri):
        try:
            dataset = scan(uri, split)
        except DatasetError as error:
            result.add(Fault.NO_SPLIT, error)
            continue
        _survey_split(dataset, result, seen, progress)
    result.seconds = time.monotonic() - started_s
    if not result.splits:
        raise result.problems[0].first
    result.notes += _notes_on_classes(result.splits)
    return result


def _survey_split(
    dataset: Dataset, result: Survey, seen: Dict[bytes, Tuple[str, Path]], progress: Progress
) -> None:
    counted = _counts(dataset)
    result.splits.append(counted)
    if isinstance(dataset, FileDataset):
        result.notes += dataset.listing.notes
        for fault in dataset.listing.faults:
            result.add(fault.fault, fault, fault.count)
    repeated = 0
    for index, look in enumerate(_looks(dataset)):
        progress(f"checking {dataset.split}", index + 1, len(dataset))
        if isinstance(look, list):
            for error in look:
                result.add(error.fault, error)
            continue
        counted.sizes[look.size] += 1
        counted.pixels += look.counts
        counted.shown += look.counts > 0
        path = _path(dataset, index)
        if not look.counts[:IGNORE_INDEX].any():
            result.add(Fault.ALL_VOID, _all_void(dataset, index))
        first = seen.setdefault(look.digest, (dataset.split, path))
        if first[0] != dataset.split:
            result.add(Fault.LEAK, _leak(path, dataset.split, first))
        elif first[1] != path:
            repeated += 1
    if repeated:
        result.notes.append(f"{repeated} pictures of {dataset.split} have the pixels of another one of it")


def _counts(dataset: Dataset) -> SplitSurvey:
    if not isinstance(dataset, FileDataset):
        return SplitSurvey(dataset.split, dataset.labels, len(dataset), len(dataset), "")
    counts = {fault.fault: fault.count for fault in dataset.listing.faults}
    pictures = len(dataset) + counts.get(Fault.NO_LABEL, 0) + counts.get(Fault.SAME_NAME, 0)
    labels = len(dataset) + counts.get(Fault.NO_PICTURE, 0)
    return SplitSurvey(dataset.split, dataset.labels, pictures, labels, dataset.code.told)


def _looks(dataset: Dataset) -> Iterator[Union[_Look, List[FileFaultError]]]:
    return in_threads(lambda index: _look(dataset, index), len(dataset))


def _look(dataset: Dataset, index: int) -> Union[_Look, List[FileFaultError]]:
    try:
        sample = dataset[index]
    except FileFaultError as error:
        faults = [error]
        if error.fault is Fault.BROKEN_PICTURE:
            try:
                dataset.label(index)
            except FileFaultError as another:
                faults.append(another)
        return faults
    height, width = sample.label.shape
    counts = np.bincount(sample.label.ravel(), minlength=256)
    digest = hashlib.sha256(np.ascontiguousarray(sample.image).data).digest()
    return _Look(f"{width}x{height}", counts, digest)


def _path(dataset: Dataset, index: int) -> Path:
    if isinstance(dataset, FileDataset):
        return dataset.listing.pairs[index].image
    return Path(dataset.names()[index])


def _all_void(dataset: Dataset, index: int) -> FileFaultError:
    path = dataset.listing.pairs[index].label if isinstance(dataset, FileDataset) else _path(dataset, index)
    return FileFaultError(
        Fault.ALL_VOID,
        path,
        "a label is void everywhere: it teaches nothing and measures nothing",
        got=str(path),
        expected="at least one pixel of a class",
        fix="label the picture, or remove it and its label",
    )


def _leak(path: Path, split: str, first: Tuple[str, Path]) -> FileFaultError:
    return FileFaultError(
        Fault.LEAK,
        path,
        f"a picture of {split} is in {first[0]} too: what is measured on it is learnt by heart",
        got=f"{path} has the pixels of {first[1]}",
        expected="splits that share no picture",
        fix="remove it from one of them",
    )


def _notes_on_classes(splits: Sequence[SplitSurvey]) -> List[str]:
    notes = []
    for split in splits:
        never = split.never()
        if never and split.read:
            what = "no network can learn them" if split.split == "train" else "they are left out of its mIoU"
            notes.append(f"classes that never occur in {split.split}: {', '.join(never)} ({what})")
    labels = splits[0].labels_of
    if len(labels) > 1 and any(s.read for s in splits) and not any(s.pixels[0] for s in splits):
        notes.append(f"id 0 ('{labels.names[0]}') occurs nowhere: do the ids of the label files start at 1?")
    return notes


def _json_number(value: float) -> Optional[float]:
    return None if np.isnan(value) else value
