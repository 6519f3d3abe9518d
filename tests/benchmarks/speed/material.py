"""What all contestants of one network and size share: weights, frames, graphs, masks to agree with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bisenet_edge.frame import Size

ABOUT = "material.json"


@dataclass(frozen=True)
class Material:
    """A folder of files, made by `making.make`.

    Attributes:
        folder: contestants may put files of their own there.
        model: name of the network.
        size: of its input.
        classes: C.
        trained: the weights are a trained checkpoint's, not random.
    """

    folder: Path
    model: str
    size: Size
    classes: int
    trained: bool

    @classmethod
    def open(cls, folder: Path) -> Material:
        """Read what `save` wrote."""
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return cls(folder, about["model"], Size.parse(about["size"]), about["classes"], about["trained"])

    def save(self, **more: object) -> None:
        """Write the description; last, so that a folder with one is whole."""
        about = {
            "model": self.model,
            "size": str(self.size),
            "classes": self.classes,
            "trained": self.trained,
            **more,
        }
        (self.folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    @property
    def checkpoint(self) -> Path:
        """The weights, as the toolkit's checkpoint."""
        return self.folder / "weights.safetensors"

    @property
    def artifact(self) -> Path:
        """Our artifact: FP32 and INT8 graphs of the same weights."""
        return self.folder / "artifact"

    def plain(self, output: str) -> Path:
        """The plain ONNX export: float "image" [1, 3, H, W], normalised -> "logits" (an eighth of the size),
        "full" (full-size logits) or "mask" (argmax in the graph).
        """
        return self.folder / f"plain.{output}.onnx"

    @property
    def clip(self) -> Path:
        """A video of the network's size."""
        return self.folder / "clip.mp4"

    def frames(self) -> np.ndarray:
        """Camera frames, uint8 [N, H, W, 3], BGR."""
        return np.load(self.folder / "frames.npy")

    def calibration(self) -> np.ndarray:
        """Other frames, for whoever calibrates: uint8 [N, H, W, 3]."""
        return np.load(self.folder / "calibration.npy")

    def reference(self) -> np.ndarray:
        """Masks of `frames` by torch in FP32: uint8 [N, H, W]."""
        return np.load(self.folder / "reference.npy")
