"""Pictures of one size for a video, whatever the source does."""

from __future__ import annotations

import numpy as np

from bisenet_edge.frame import Size
from bisenet_edge.runtime.fit import Fit


def video_size(image: np.ndarray) -> Size:
    """The size of a video that begins with `image`: H.264 takes even sides only."""
    height, width = image.shape[:2]
    return Size(width - width % 2, height - height % 2)


def at_video_size(image: np.ndarray, size: Size) -> np.ndarray:
    """A picture (uint8 [h, w, 3]) cut to even sides or, if it has another size, scaled to fit and padded."""
    height, width = image.shape[:2]
    if (height - height % 2, width - width % 2) == size.hw:
        return np.ascontiguousarray(image[: size.height, : size.width])
    fit = Fit((height, width), size)
    return fit.apply(image, fit.new_input())
