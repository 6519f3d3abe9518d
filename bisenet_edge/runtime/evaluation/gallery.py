"""The pictures on which a network does best and worst, drawn small: frame, label, mask and errors."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Tuple

import cv2
import numpy as np

from bisenet_edge.dataset import Sample
from bisenet_edge.errors import SinkError
from bisenet_edge.labels import IGNORE_INDEX, LabelSet
from bisenet_edge.metrics import Confusion
from bisenet_edge.resources import replace_when_written

SHOWN = 4
PANEL_WIDTH, PANEL_HEIGHT = 280, 280
"""At most, of each of the four panels, in pixels."""
GAP = 4
JPEG_QUALITY = 85  # 30 to 60 KB a picture
WRONG = (40, 40, 235)
FOLDER = "pictures"


@dataclass(frozen=True)
class Shown:
    """One picture: its name, the mIoU of its mask over the classes that occur in it, and a JPEG."""

    miou: float
    index: int
    name: str
    jpeg: bytes

    @property
    def rank(self) -> Tuple[float, int]:
        return self.miou, self.index


@dataclass
class Gallery:
    """Keeps the `SHOWN` best and worst pictures of an evaluation, none in both; half a MB at most.

    Attributes:
        labels: classes and colours.
        kept: the worst first; no more than twice `SHOWN`.
    """

    labels: LabelSet
    kept: List[Shown] = field(default_factory=list)

    def offer(self, index: int, sample: Sample, mask: np.ndarray, confusion: Confusion) -> None:
        """Take a picture, if it is among the best or worst so far; one without a labelled pixel is not."""
        miou = confusion.miou()
        place = bisect([shown.rank for shown in self.kept], (miou, index))
        if np.isnan(miou) or (len(self.kept) == 2 * SHOWN and place == SHOWN):
            return
        self.kept.insert(place, Shown(miou, index, sample.name, self._draw(sample, mask)))
        if len(self.kept) > 2 * SHOWN:
            del self.kept[SHOWN]  # the one in the middle

    @property
    def worst(self) -> List[Shown]:
        """The worst first: half of a few pictures."""
        return self.kept[: (len(self.kept) + 1) // 2]

    @property
    def best(self) -> List[Shown]:
        """The best first."""
        return self.kept[(len(self.kept) + 1) // 2 :][::-1]

    def _draw(self, sample: Sample, mask: np.ndarray) -> bytes:
        """Two rows: frame and label, mask and errors; a JPEG."""
        height, width = mask.shape
        shrink = min(1.0, PANEL_WIDTH / width, PANEL_HEIGHT / height)
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA)
        label, small = (
            cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST) for ids in (sample.label, mask)
        )
        colours = self.labels.bgr_table()
        panels = [image, colours[label], colours[small], _errors(image, label, small)]
        rows = [_beside(panels[:2], 1), _beside(panels[2:], 1)]
        _, encoded = cv2.imencode(".jpg", _beside(rows, 0), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
        return encoded.tobytes()

    def write(self, folder: Path, kind: str) -> Dict[str, List[Dict[str, Any]]]:
        """Write the pictures into `folder`/pictures, in place of older ones of this `kind`.

        Returns:
            the report's "frames": {"best" | "worst": [{"name", "miou": 0..1, "file": relative to folder}]}.

        Raises:
            SinkError: they cannot be written.
        """
        place = folder / FOLDER
        try:
            for old in place.glob(f"{kind}-*.jpg"):
                old.unlink()
        except OSError as error:
            raise SinkError("cannot replace a picture", got=f"{place}: {error.strerror}") from error
        frames: Dict[str, List[Dict[str, Any]]] = {"best": [], "worst": []}
        for end, pictures in (("best", self.best), ("worst", self.worst)):
            for number, shown in enumerate(pictures):
                file = f"{FOLDER}/{kind}-{end}-{number}.jpg"
                with replace_when_written(folder / file) as temporary:
                    temporary.write_bytes(shown.jpeg)
                frames[end].append({"name": shown.name, "miou": round(shown.miou, 6), "file": file})
        return frames


def _errors(image: np.ndarray, label: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture in pale grey, wrong pixels in red, what has no label in black."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    drawn = cv2.cvtColor((grey // 2 + 110).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    known = label != IGNORE_INDEX
    drawn[known & (label != mask)] = WRONG
    drawn[~known] = 0
    return drawn


def _beside(panels: List[np.ndarray], axis: int) -> np.ndarray:
    first, second = panels
    shape = list(first.shape)
    shape[axis] = GAP
    return np.concatenate([first, np.full(shape, 255, np.uint8), second], axis)
