"""How a picture is shown to a network when its accuracy is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from bisenet_edge.errors import UsageError

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""The scales that public evaluations of BiSeNet average over, together with mirrored pictures."""
OVERLAP = 1 / 3
"""Share of a window that the next one covers again: a step of 2/3, as is usual."""
LEAST_SCALE, LARGEST_SCALE = 0.1, 8.0
LARGEST_OVERLAP = 0.9


@dataclass(frozen=True)
class Method:
    """Views of a picture whose class scores are averaged. The default is one view: what a device does.

    A network of one size gets a picture scaled to fit it (`runtime.fit`), or, with `slide`, windows of the
    picture's own size. A scaled picture that is larger than the network is covered by windows as well.

    Attributes:
        scales: of the picture, before the network sees it.
        flip: show the mirrored picture too.
        slide: None, or windows of the network's size go over the picture at its own size, and this share
            of a window, 0..0.9, is covered again by the next one.

    Raises:
        UsageError: no scale, one that occurs twice or is out of range, an overlap out of range.
    """

    scales: Tuple[float, ...] = (1.0,)
    flip: bool = False
    slide: Optional[float] = None

    def __post_init__(self) -> None:
        good = all(LEAST_SCALE <= scale <= LARGEST_SCALE for scale in self.scales)  # nan is in no range
        if not self.scales or not good or len(set(self.scales)) < len(self.scales):
            raise UsageError(
                "these scales cannot be evaluated",
                got=_list(self.scales) or "none",
                expected=f"numbers from {LEAST_SCALE:g} to {LARGEST_SCALE:g}, each once",
                fix=f"for example --scales {_list(SCALES)}",
            )
        if self.slide is not None and not 0 <= self.slide <= LARGEST_OVERLAP:
            raise UsageError(
                "windows cannot overlap like this",
                got=f"{self.slide:g}",
                expected=f"a share of a window, from 0 to {LARGEST_OVERLAP:g}",
                fix="for example --slide 0.33",
            )

    @classmethod
    def parse(cls, scales: str, flip: bool = False, slide: Optional[float] = None) -> Method:
        """A method from the words of a command line: scales as "0.5,1,1.5".

        Raises:
            UsageError: not numbers, or out of range.
        """
        try:
            values = tuple(float(word) for word in scales.split(","))
        except ValueError:
            values = (math.nan,)
        if any(math.isnan(value) for value in values):
            raise UsageError(
                "cannot read scales",
                got=repr(scales),
                expected="numbers with commas between them",
                fix=f"for example --scales {_list(SCALES)}",
            )
        return cls(values, flip, slide)

    @property
    def plain(self) -> bool:
        """Whether it is one view of the fitted picture, of which the mask alone is needed."""
        return self.scales == (1.0,) and not self.flip and self.slide is None

    @property
    def overlap(self) -> float:
        """Share of a window that the next one covers again."""
        return OVERLAP if self.slide is None else self.slide

    def text(self) -> str:
        """In words, for people."""
        words = ["single scale" if self.scales == (1.0,) else f"scales {_list(self.scales, ', ')}"]
        words += ["flip"] if self.flip else []
        words += [] if self.slide is None else [f"windows overlapping by {self.slide:.0%}"]
        return " + ".join(words)

    def to_json(self) -> Dict[str, Any]:
        return {"scales": list(self.scales), "flip": self.flip, "slide": self.slide, "text": self.text()}


def _list(values: Tuple[float, ...], comma: str = ",") -> str:
    return comma.join(f"{value:g}" for value in values)
