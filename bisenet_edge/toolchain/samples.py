"""The pictures of several data sets as one sequence that never needs more memory than it may."""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Sequence
from typing import overload

from bisenet_edge.dataset import Dataset, Sample
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.datasets.reading import in_threads

MEMORY_BUDGET_MB = 4096
"""What decoded pictures may fill (2^20 bytes), train and val together: CamVid at 960x720 needs 1230, and
Cityscapes 27800. What does not fit is read from its file each time."""


class Samples(Sequence[Sample]):
    """Labelled pictures by position; may be indexed from several threads.

    A picture stays in memory from its first use while there is room, and nothing is thrown out: every epoch
    visits every picture once in another order, so what was used longest ago is as likely to be next as any.

    Args:
        datasets: whose pictures, one after the other.
        budget_mb: what the pictures kept may fill (2^20 bytes).
    """

    def __init__(self, datasets: Sequence[Dataset], budget_mb: float = MEMORY_BUDGET_MB) -> None:
        self._datasets = tuple(datasets)
        self._ends = list(itertools.accumulate(len(dataset) for dataset in self._datasets))
        self._budget = int(budget_mb * 2**20)
        self._kept: dict[int, Sample] = {}
        self._bytes = 0
        self._full = False
        self._lock = threading.Lock()

    @property
    def kept_mb(self) -> float:
        """What the pictures kept fill (2^20 bytes)."""
        return self._bytes / 2**20

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Read one picture and its label, or several.

        Raises:
            DatasetError: the file is missing or corrupt, or a label value is out of range.
            IndexError: `index` is outside of the sequence.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= position < len(self):
            raise IndexError(f"index {index} outside 0..{len(self) - 1}")
        sample = self._kept.get(position)
        return sample if sample is not None else self._keep(position, self._read(position))

    def fill(self, progress: Progress = quiet, *, to_the_end: bool = False) -> None:
        """Read ahead while there is room.

        Args:
            progress: called after each picture.
            to_the_end: read the others too, so that a file that cannot be read is found now.

        Raises:
            DatasetError: as `__getitem__`.
        """
        done = 0
        for done, _ in enumerate(in_threads(self.__getitem__, len(self)), 1):
            progress(self._step, done, len(self))
            if self._full and not to_the_end:
                break
        if done < len(self):
            progress(self._step, len(self), len(self))

    @property
    def _step(self) -> str:
        return "reading " + ", ".join(f"{dataset.uri} {dataset.split}" for dataset in self._datasets)

    def _read(self, position: int) -> Sample:
        part = bisect.bisect_right(self._ends, position)
        start = self._ends[part - 1] if part else 0
        return self._datasets[part][position - start]

    def _keep(self, position: int, sample: Sample) -> Sample:
        size = sample.image.nbytes + sample.label.nbytes
        with self._lock:
            if position not in self._kept and not self._full:
                self._full = self._bytes + size > self._budget
                if not self._full:
                    self._kept[position] = sample
                    self._bytes += size
        return sample
