"""Image sizes and camera frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping, Optional, Tuple

import numpy as np

from bisenet_edge.errors import UsageError

MIN_SIDE = 32
MAX_SIDE = 8192


@dataclass(frozen=True, order=True)
class Size:
    """An image size in pixels, written `WxH` ("640x360"), as cameras and screens write it."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if not (MIN_SIDE <= self.width <= MAX_SIDE and MIN_SIDE <= self.height <= MAX_SIDE):
            raise UsageError(
                "image size out of range",
                got=f"{self.width}x{self.height}",
                expected=f"each side from {MIN_SIDE} to {MAX_SIDE} pixels",
                fix="for example 640x360",
            )

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read "640x360".

        Raises:
            UsageError: not of the form WxH, or a side outside 32..8192.
        """
        match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text.strip())
        if not match:
            raise UsageError(
                "cannot read an image size",
                got=repr(text),
                expected="WIDTHxHEIGHT in pixels",
                fix="for example 640x360",
            )
        return cls(int(match.group(1)), int(match.group(2)))

    @property
    def hw(self) -> Tuple[int, int]:
        """(height, width), the order of array shapes."""
        return self.height, self.width

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass
class Frame:
    """One picture on its way through the pipeline.

    Attributes:
        image: uint8 [H, W, 3], BGR, as OpenCV delivers it.
        index: position in the source, counted from 0; dropped frames leave gaps.
        captured_ns: `time.monotonic_ns()` when the frame came into being (capture, not arrival,
            where the source knows the difference).
        stages_ms: milliseconds that this frame spent in each stage ("decode", "infer"), where measured.
    """

    image: np.ndarray
    index: int
    captured_ns: int
    stages_ms: Optional[Mapping[str, float]] = None
