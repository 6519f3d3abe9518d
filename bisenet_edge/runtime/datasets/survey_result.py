"""What a survey of a data set found: counts, sizes, classes, faults."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from bisenet_edge.errors import BisenetEdgeError
from bisenet_edge.labels import IGNORE_INDEX, LabelSet
from bisenet_edge.runtime.datasets.faults import Fault, FileFaultError


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


def _json_number(value: float) -> Optional[float]:
    return None if np.isnan(value) else value
