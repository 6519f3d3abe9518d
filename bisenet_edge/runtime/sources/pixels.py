"""Four-channel pictures, as a Jetson's converter delivers them, into the caller's three-channel buffers."""

from __future__ import annotations

from typing import Optional, Tuple

import cv2
import numpy as np


def bgr_from_bgrx(data: object, size_hw: Tuple[int, int], out: Optional[np.ndarray]) -> np.ndarray:
    """Drop the fourth channel.

    Args:
        data: a buffer of height * width * 4 bytes, rows without padding.
        size_hw: (height, width).
        out: uint8 [height, width, 3] to write into; a new one is made where it does not fit.

    Returns:
        uint8 [height, width, 3]: `out` where it fits.
    """
    bgrx = np.frombuffer(data, np.uint8).reshape(*size_hw, 4)  # type: ignore[call-overload]
    return np.asarray(cv2.cvtColor(bgrx, cv2.COLOR_BGRA2BGR, dst=buffer_for(size_hw, out)))


def buffer_for(size_hw: Tuple[int, int], out: Optional[np.ndarray]) -> np.ndarray:
    """`out` where a picture of this size fits in exactly, else a new uint8 [height, width, 3]."""
    shape = (*size_hw, 3)
    fits = out is not None and out.shape == shape and out.dtype == np.uint8 and out.flags.c_contiguous
    return out if fits and out is not None else np.empty(shape, np.uint8)
