"""What every contestant is: a network loaded into some engine the way its users would."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from ..material import Material

LEAST_SAME = {"fp32": 0.999, "bf16": 0.97, "int8": 0.90}
"""Precision -> share of the pixels that must be those of torch in FP32. Rounding flips pixels on class
borders only (4 % in INT8 before anything is tuned); who is below has computed something else."""

Outcome = float | tuple[float, dict[str, float]] | None
"""Of one sample: None = time the call; or milliseconds per frame, perhaps with other figures."""


class Contestant(ABC):
    """One way from frame to mask. Made in a process of its own.

    Attributes:
        title: for the tables.
        precision: what it claims to compute in.
        packages: that it needs beside the product's own.
        heavy: preparing takes minutes per size: takes part at 640x360 with all threads only, unless named.
    """

    title = ""
    precision = "fp32"
    packages: tuple[str, ...] = ()
    heavy = False

    def __init__(self, material: Material, threads: int) -> None:
        self.material = material
        self.threads = threads

    def prepare(self) -> None:
        """Make the files it needs in `material.folder`, unless they are there. Not timed."""

    @abstractmethod
    def load(self) -> None:
        """Load the network. Not timed here."""

    def jobs(self) -> dict[str, Callable[[int], Outcome]]:
        """Job -> work on sample number n, timed. Called after `load`."""
        frames = self.material.frames()
        inputs = [self.ready(frame) for frame in frames]
        count = len(frames)

        def network(number: int) -> None:
            self.network(inputs[number % count])

        def mask(number: int) -> None:
            self.mask(frames[number % count])

        return {"network": network, "mask": mask}

    def ready(self, frame: np.ndarray) -> Any:
        """What `network` takes, made of a frame; not timed with it."""
        return frame

    @abstractmethod
    def network(self, ready: Any) -> object:
        """The network alone: to logits at an eighth of the size."""

    @abstractmethod
    def mask(self, frame: np.ndarray) -> np.ndarray:
        """Camera frame (uint8 [H, W, 3] BGR) -> mask (uint8 [H, W], train ids)."""


def usual_input(frame: np.ndarray) -> np.ndarray:
    """Preprocessing as most people write it: float32 [1, 3, H, W], normalised."""
    image = (frame.astype(np.float32) - 128.0) / 64.0
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def usual_mask(logits: np.ndarray) -> np.ndarray:
    """Post-processing as most people write it: argmax of full-size logits [1, C, H, W]."""
    return np.argmax(logits, axis=1)[0].astype(np.uint8)
