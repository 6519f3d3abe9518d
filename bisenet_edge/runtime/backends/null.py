"""An engine that computes nothing: what the pipeline costs without a network."""

from __future__ import annotations

import numpy as np

from bisenet_edge.runtime.backends.base import Session


class NullSession(Session):
    """Gives a mask of class 0 for every frame. For measuring and testing the pipeline only."""

    backend = "null"

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        mask[:] = 0
