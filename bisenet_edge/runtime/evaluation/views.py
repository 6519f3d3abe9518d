"""Where the windows of a network lie on a scaled picture, and which pixels of the picture each one covers.

All of it is separable, so one axis is described at a time. Positions are centres of pixels: pixel i of a
picture covers i..i+1 and lies at i + 0.5, whatever the picture is scaled to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Tuple

import numpy as np


@dataclass(frozen=True)
class Span:
    """One window along one axis.

    Attributes:
        start: first pixel of the scaled picture in the window.
        length: how many of its pixels are in the window; what the window has beyond is padding.
        pixels: those of the picture (at its own size) whose centres are in the window.
        positions: where they are, in pixels of the window, float64 [len(pixels)].
        weights: one over the number of windows that each of them is in, float32 [len(pixels)].
    """

    start: int
    length: int
    pixels: slice
    positions: np.ndarray
    weights: np.ndarray


def starts(length: int, window: int, overlap: float) -> List[int]:
    """First pixels of the windows that cover `length` pixels; the last one ends where the picture does."""
    if length <= window:
        return [0]
    step = max(1, round(window * (1 - overlap)))
    count = -(-(length - window) // step) + 1
    return [min(index * step, length - window) for index in range(count)]


def spans(own: int, scaled: int, window: Optional[int], overlap: float) -> List[Span]:
    """The windows along one axis.

    Args:
        own: length of the picture, in pixels.
        scaled: its length after scaling.
        window: length of the network's input; None: it takes any.
        overlap: share of a window that the next one covers again.
    """
    size = scaled if window is None else window
    centres = (np.arange(own) + 0.5) * (scaled / own)
    found: List[Tuple[int, int, slice]] = []
    covered = np.zeros(own, np.int64)
    for start in starts(scaled, size, overlap):
        length = min(size, scaled - start)
        first, end = np.searchsorted(centres, (start, start + length))
        covered[first:end] += 1
        found.append((start, length, slice(int(first), int(end))))
    return [
        Span(start, length, pixels, centres[pixels] - start, (1 / covered[pixels]).astype(np.float32))
        for start, length, pixels in found
        if pixels.start < pixels.stop  # a picture scaled up manifold may have no centre in a window
    ]
