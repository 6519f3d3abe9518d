"""Class probabilities of a picture, averaged over scales, mirror images and windows.

For each view the logits are interpolated (bilinear, half-pixel, as the exported graph does) at the pixels of
the picture itself, and softmaxed there; the mean over all views is the score. Averaging probabilities, not
logits, is what the usual evaluators of BiSeNet do (CoinCheung/BiSeNet `MscEvalV0`, mmsegmentation; the
authors' TorchSeg sums exp(log-softmax) over scales). Interpolating at the picture's pixels instead of
up-sampling each scaled picture first keeps memory at one array [C, H, W] and a few of a window's part of it.
"""

from __future__ import annotations

from typing import Callable, Optional, Tuple

import numpy as np

from bisenet_edge.frame import Size
from bisenet_edge.runtime.evaluation.method import Method
from bisenet_edge.runtime.evaluation.views import Span, spans
from bisenet_edge.runtime.fit import PAD_VALUE, Fit, scale_picture

LogitsOf = Callable[[np.ndarray], Tuple[np.ndarray, int]]
"""A network: frame (uint8 [H, W, 3], BGR) -> (logits: float32 [C, h, w], valid until the next call; how many
pixels of the frame one of them is wide)."""


class Scorer:
    """Scores pictures of any size.

    Args:
        logits_of: the network.
        classes: C.
        method: the views.
        window: the one size that the network takes; None: it takes any, and sees a picture whole.
    """

    def __init__(
        self, logits_of: LogitsOf, classes: int, method: Method, window: Optional[Size] = None
    ) -> None:
        self.logits_of = logits_of
        self.classes = classes
        self.method = method
        self.window = window
        self._frame = None if window is None else np.empty((*window.hw, 3), np.uint8)

    def mask(self, image: np.ndarray) -> np.ndarray:
        """The likeliest class of each pixel of a picture (uint8 [H, W, 3], BGR): uint8 [H, W]."""
        return winners(self.scores(image))

    def scores(self, image: np.ndarray) -> np.ndarray:
        """Probability of each class, float32 [C, H, W], of a picture (uint8 [H, W, 3], BGR).

        Raises:
            whatever the network raises.
        """
        total = np.zeros((self.classes, *image.shape[:2]), np.float32)
        for scale in self.method.scales:
            self._add(image, scale, total)
        return total

    def _add(self, image: np.ndarray, scale: float, total: np.ndarray) -> None:
        own_hw = image.shape[0], image.shape[1]
        scaled = scale_picture(image, self._scaled_hw(own_hw, scale))
        window_hw = (None, None) if self.window is None else self.window.hw
        rows, columns = (
            spans(own, length, window, self.method.overlap)
            for own, length, window in zip(own_hw, scaled.shape, window_hw)
        )
        mirrored = (False, True) if self.method.flip else (False,)
        share = np.float32(1 / (len(self.method.scales) * len(mirrored)))
        for row in rows:
            for column in columns:
                part = scaled[row.start : row.start + row.length, column.start : column.start + column.length]
                weights = share * row.weights[:, None] * column.weights
                for mirror in mirrored:
                    scores = self._part_scores(part, row, column, mirror)
                    scores *= weights
                    total[:, row.pixels, column.pixels] += scores

    def _scaled_hw(self, own_hw: Tuple[int, int], scale: float) -> Tuple[int, int]:
        height, width = own_hw
        if self.window is not None and self.method.slide is None:
            height, width = Fit(own_hw, self.window).inner_hw
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _part_scores(self, part: np.ndarray, row: Span, column: Span, mirror: bool) -> np.ndarray:
        """Probabilities in one window, float32 [C, row.pixels, column.pixels]."""
        # The picture is mirrored, not the window: the padding stays right and below.
        frame = self._padded(part[:, ::-1] if mirror else part)
        logits, stride = self.logits_of(frame)
        across = column.length - column.positions if mirror else column.positions
        return _softmax(_interpolate(logits, row.positions / stride, across / stride))

    def _padded(self, part: np.ndarray) -> np.ndarray:
        if self._frame is None or self._frame.shape == part.shape:
            return np.ascontiguousarray(part)
        height, width = part.shape[:2]
        self._frame[:] = PAD_VALUE
        self._frame[:height, :width] = part
        return self._frame


def winners(scores: np.ndarray) -> np.ndarray:
    """Index of the largest of `scores` (float32 [C, H, W]), the first among equals: uint8 [H, W]."""
    # Class by class over whole planes: numpy's argmax over the first axis is ten times as slow.
    best = scores[0].copy()
    found = np.zeros(best.shape, np.uint8)
    for index in range(1, len(scores)):
        found[scores[index] > best] = index
        np.maximum(best, scores[index], out=best)
    return found


def _interpolate(logits: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Logits ([C, h, w]) at rows `down` and columns `across`, in units of logits: float32 [C, n, m]."""
    logits = np.asarray(logits, np.float32)
    # Columns first, on the small array: what is gathered at full size are then whole rows.
    return _along(_along(logits, across, 2), down, 1)


def _along(values: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    last = values.shape[axis] - 1
    at = np.clip(positions - 0.5, 0, last)  # beyond the outermost centres the edge repeats
    lower = at.astype(np.int64)
    weights = (at - lower).astype(np.float32)
    low = values.take(lower, axis)
    high = values.take(np.minimum(lower + 1, last), axis)
    high -= low
    high *= weights if axis == 2 else weights[:, None]
    low += high
    return low


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Over the first axis, in place."""
    logits -= logits.max(0)
    np.exp(logits, out=logits)
    logits /= logits.sum(0)
    return logits
