"""Full-size class mask from smaller logits, exactly as bilinear up-sampling and argmax would give it.

Bilinear interpolation mixes the four logits around a pixel with weights that are the same for every
class and add up to one. So where all four corners of a cell have the same winner, that class wins in
the whole cell, and the cell is filled. Only cells on class borders (5 to 20 per cent of a street) are
interpolated. Ties apart, the result equals the graph's own Resize (half-pixel) and ArgMax.

Cells are spanned by the centres of neighbouring logits, so with logits at 1/8 cell (i, j) covers the pixels
8i-4..8i+3 and 8j-4..8j+3; at the rim the missing neighbours repeat the edge, which is what Resize does there.
"""

from __future__ import annotations

from typing import Tuple

import cv2
import numpy as np

CELLS_AT_ONCE = 256
"""What is interpolated at a time stays in a core's cache. And above 1024 cells OpenBLAS takes several threads
for a product this small, and waits for them 100 times as long as it takes when the cores are busy."""


def _corner_weights(stride: int) -> np.ndarray:
    """float32 [4, s * s]: weight of the corners (top left, top right, bottom left, bottom right) in each of
    a cell's s x s pixels.
    """
    along = (np.arange(stride) + 0.5) / stride
    lower, upper = 1 - along, along
    corners = [np.outer(v, h) for v in (lower, upper) for h in (lower, upper)]
    return np.stack([c.ravel() for c in corners]).astype(np.float32)


class CellArgmax:
    """Turns logits into masks of one size; buffers are kept between calls.

    Args:
        num_classes: C.
        logits_hw: (h, w) of the logits.
        mask_hw: (H, W) of the mask, H <= s h and W <= s w; the rest is cropped off.
        stride: s, how much smaller the logits are than the mask: even, or 1, where nothing is interpolated.
    """

    def __init__(
        self, num_classes: int, logits_hw: Tuple[int, int], mask_hw: Tuple[int, int], stride: int = 8
    ) -> None:
        height, width = logits_hw
        self.num_classes = num_classes
        self.stride = stride
        self.logits_hw = logits_hw
        self.mask_hw = mask_hw
        self._winners = np.empty((height, width), np.uint8)
        self._best = np.empty((height, width), np.float32)
        self._better = np.empty((height, width), np.uint8)
        self._class_image = [np.full((height, width), c, np.uint8) for c in range(num_classes)]
        if stride == 1:
            return
        self._weights = np.ascontiguousarray(_corner_weights(stride).T)
        self._class_cells = [
            np.full((stride * stride, CELLS_AT_ONCE), c, np.uint8) for c in range(num_classes)
        ]
        # One cell more than logits in each direction, in blocks of s x s pixels.
        self._full = np.empty(((height + 1) * stride, (width + 1) * stride), np.uint8)
        self._rows = self._full.reshape(height + 1, stride, -1)
        self._blocks = self._full.reshape(height + 1, stride, width + 1, stride)

    def __call__(self, logits: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Write the mask of `logits` (float32 [C, h, w]) into `out` (uint8 [H, W]); returns `out`."""
        winners = self._argmax(logits)
        height, width = self.mask_hw
        if self.stride == 1:
            out[:] = winners[:height, :width]
            return out
        padded = cv2.copyMakeBorder(winners, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        corners = (padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:])
        # A row of pixels once, then copied: 20 us where cv2.resize takes 66.
        self._rows[:] = np.repeat(corners[0], self.stride, axis=1)[:, None]
        mixed = (corners[0] != corners[1]) | (corners[0] != corners[2]) | (corners[0] != corners[3])
        rows, columns = np.nonzero(mixed)
        for start in range(0, len(rows), CELLS_AT_ONCE):
            some = slice(start, start + CELLS_AT_ONCE)
            self._blocks[rows[some], :, columns[some]] = self._interpolate(logits, rows[some], columns[some])
        half = self.stride // 2
        out[:] = self._full[half : half + height, half : half + width]
        return out

    def _argmax(self, logits: np.ndarray) -> np.ndarray:
        # Class by class over whole planes: numpy's argmax over the first axis is ten times as slow.
        self._best[:] = logits[0]
        self._winners[:] = 0
        for index in range(1, self.num_classes):
            plane = logits[index]
            cv2.compare(plane, self._best, cv2.CMP_GT, dst=self._better)
            cv2.max(plane, self._best, dst=self._best)
            cv2.copyTo(self._class_image[index], self._better, dst=self._winners)
        return self._winners

    def _interpolate(self, logits: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Masks of the cells (rows, columns): uint8 [n, s, s]."""
        height, width = self.logits_hw
        top, bottom = np.maximum(rows - 1, 0), np.minimum(rows, height - 1)
        left, right = np.maximum(columns - 1, 0), np.minimum(columns, width - 1)
        corners = np.stack(
            [top * width + left, top * width + right, bottom * width + left, bottom * width + right]
        )
        values = np.take(logits.reshape(self.num_classes, -1), corners, axis=1)  # [C, 4, n]
        planes = np.matmul(self._weights, values)  # [C, s * s, n]
        best, winners = planes[0], np.zeros(planes.shape[1:], np.uint8)
        for index in range(1, self.num_classes):
            better = cv2.compare(planes[index], best, cv2.CMP_GT)
            cv2.max(planes[index], best, dst=best)
            cv2.copyTo(self._class_cells[index][:, : len(rows)], better, dst=winners)
        return winners.T.reshape(-1, self.stride, self.stride)
