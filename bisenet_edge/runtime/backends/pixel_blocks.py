"""Squares of 2x2 pixels as one pixel of four times the channels ("space to depth"), for first convolutions.

A convolution of 3 channels leaves most of a matrix unit empty: a row of a 7x7 kernel is 21 numbers wide, and
AMX takes 64 at a time. With stride 2, the same sums are those of a 4x4 kernel with stride 1 over squares of
pixels: 4 rows of 48 numbers instead of 7 of 21. What a kernel gains by it are zeros, so nothing is rounded
differently.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import cv2
import numpy as np

BLOCK = 2
"""Side of a square, and the stride that it takes up."""
CHANNELS = 3
MIDDLE = 128
"""The pixel that is 0 after normalisation."""


class FirstConvolution:
    """A convolution with stride 2 of a frame whose sides are even.

    Args:
        kernel_hw: size of its kernel.
        pads_begin: what it pads above and to the left.
        input_hw, output_hw: of its planes.

    Attributes:
        kernel: size of the kernel over squares.
        before, after: what that one pads; with stride 1 it gives `output_hw`.
    """

    def __init__(
        self,
        kernel_hw: Sequence[int],
        pads_begin: Sequence[int],
        input_hw: Sequence[int],
        output_hw: Sequence[int],
    ) -> None:
        self._pads = pads_begin
        self.before: List[int] = [-(-pad // BLOCK) for pad in pads_begin]
        last = [(size - 1 - pad) // BLOCK for size, pad in zip(kernel_hw, pads_begin)]
        self.kernel: List[int] = [begin + end + 1 for begin, end in zip(self.before, last)]
        self.after: List[int] = [
            out - size // BLOCK + end for out, size, end in zip(output_hw, input_hw, last)
        ]

    @property
    def possible(self) -> bool:
        """Whether there is such a kernel: one that would leave pixels out at the end is not written."""
        return min(self.after) >= 0 and min(self.kernel) > 0

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """The kernel over squares: [O, 3, k, k] to [O, 12, *kernel], of the same type.

        A tap at offset u from the output's first pixel falls into square u // 2, there on pixel u % 2.
        """
        outputs, channels, height, width = weights.shape
        taps = np.zeros((outputs, BLOCK, BLOCK, channels, *self.kernel), weights.dtype)
        for y in range(height):
            for x in range(width):
                down, right = y - self._pads[0], x - self._pads[1]
                at = down // BLOCK + self.before[0], right // BLOCK + self.before[1]
                taps[:, down % BLOCK, right % BLOCK, :, at[0], at[1]] = weights[:, :, y, x]
        return taps.reshape(outputs, -1, *self.kernel)


def shape_of_blocks(height: int, width: int) -> Tuple[int, int, int]:
    """Shape of a frame in squares; `height` and `width` are even."""
    return height // BLOCK, width // BLOCK, CHANNELS * BLOCK * BLOCK


class FrameWriter:
    """Writes frames into the input of a network.

    Args:
        pixels: uint8 [H, W, 3] or [H/2, W/2, 12], where frames are written to.
        signed: as INT8, pixel - 128, instead of the pixels: the highest bit is turned over.
    """

    def __init__(self, pixels: np.ndarray, *, signed: bool) -> None:
        height, width, channels = pixels.shape
        self._blocks = channels != CHANNELS
        scale = BLOCK if self._blocks else 1
        self._hw = height * scale, width * scale
        self._signed = signed
        self._pixels = pixels
        self._padded: Optional[np.ndarray] = None

    def write(self, frame: np.ndarray) -> None:
        """Copy a frame, uint8 [h, w, 3], not larger than the input; what it does not fill is 128."""
        if frame.shape[:2] != self._hw or not frame.flags.c_contiguous:
            frame = self._pad(frame)
        if self._blocks:
            # Two pixels side by side are 6 bytes, three numbers of 16 bits; those of two rows are merged.
            height, width = self._pixels.shape[:2]
            rows = frame.reshape(-1).view(np.uint16).reshape(height, BLOCK, width, CHANNELS)
            cv2.merge([rows[:, 0], rows[:, 1]], dst=self._pixels.view(np.uint16))
            frame = self._pixels
        if self._signed:
            np.bitwise_xor(frame, np.uint8(MIDDLE), out=self._pixels)
        elif not self._blocks:
            self._pixels[:] = frame

    def _pad(self, frame: np.ndarray) -> np.ndarray:
        if self._padded is None:
            self._padded = np.full((*self._hw, CHANNELS), MIDDLE, np.uint8)
        self._padded[: frame.shape[0], : frame.shape[1]] = frame
        return self._padded
