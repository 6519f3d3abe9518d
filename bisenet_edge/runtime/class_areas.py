"""How much of a mask each class covers."""

from __future__ import annotations

from typing import Dict

import cv2
import numpy as np

from bisenet_edge.labels import LabelSet


def class_areas(mask: np.ndarray, labels: LabelSet) -> Dict[str, float]:
    """Share of the pixels by class name, 0..1; classes that are absent have 0.

    Args:
        mask: uint8 [h, w], train ids.
        labels: C classes.
    """
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()
    return {name: float(count) / mask.size for name, count in zip(labels.names, counts)}
