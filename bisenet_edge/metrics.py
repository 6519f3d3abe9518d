"""Segmentation accuracy: confusion matrix, IoU per class, mIoU, pixel agreement.

A class that is absent from labels and predictions has IoU nan and is left out of the mean; it is
never rescued with a "+1" in a denominator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bisenet_edge.labels import IGNORE_INDEX


@dataclass(frozen=True)
class Confusion:
    """Pixel counts, int64 [C, C]: rows are labels, columns predictions. Add two to merge them."""

    counts: np.ndarray

    @classmethod
    def empty(cls, num_classes: int) -> Confusion:
        return cls(np.zeros((num_classes, num_classes), np.int64))

    @classmethod
    def of(cls, label: np.ndarray, mask: np.ndarray, num_classes: int) -> Confusion:
        """Count one image.

        Args:
            label: integer [H, W], train ids; 255 is ignored.
            mask: integer [H, W], predicted train ids, all below `num_classes`.
        """
        known = label != IGNORE_INDEX
        pairs = label[known].astype(np.int64) * num_classes + mask[known]
        counts = np.bincount(pairs, minlength=num_classes * num_classes)
        return cls(counts.reshape(num_classes, num_classes))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.counts + other.counts)

    def iou(self) -> np.ndarray:
        """Intersection over union per class, float64 [C], in 0..1; nan where the class is absent."""
        hit = np.diag(self.counts)
        return _share(hit, self.counts.sum(0) + self.counts.sum(1) - hit)

    def miou(self) -> float:
        """Mean IoU over the classes that occur, in 0..1; nan when nothing was counted."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    def recall(self) -> np.ndarray:
        """Share of a class's pixels that were found, float64 [C], in 0..1; nan where the labels lack it."""
        return _share(np.diag(self.counts), self.counts.sum(1))

    def precision(self) -> np.ndarray:
        """Share of what was taken for a class that is it, float64 [C], in 0..1; nan where nothing was."""
        return _share(np.diag(self.counts), self.counts.sum(0))

    def pixel_accuracy(self) -> float:
        """Share of labelled pixels that are right, in 0..1; nan when nothing was counted."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Share of pixels in which two masks of one shape are equal, in 0..1."""
    if first.shape != second.shape:
        raise ValueError(f"masks differ in shape: {first.shape} and {second.shape}")
    return float(np.mean(first == second))
