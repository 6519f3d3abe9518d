"""A short video of a street, and the masks that a device made of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bisenet_edge.frame import Size
from bisenet_edge.runtime.streets import Scene

FRAMES = 4


def write_street(folder: Path, size: str) -> None:
    """Write `FRAMES` frames of the given size ("WxH") as pictures and as a video.

    Masks of two machines are compared on the pictures: FFmpeg turns YUV into BGR with other rounding on x86
    than on aarch64 (up to 3 of 255 per pixel, 0.8 on average), which alone changes 1.2 % of the mask.
    """
    whole = Size.parse(size)
    writer = cv2.VideoWriter(
        str(folder / "street.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (whole.width, whole.height)
    )
    assert writer.isOpened()
    (folder / "frames").mkdir()
    scene = Scene(5, whole)
    for index in range(FRAMES):
        frame = scene.render(index / 2)[0]
        writer.write(frame)
        assert cv2.imwrite(str(folder / "frames" / f"{index}.png"), frame)
    writer.release()


def read_masks(folder: Path, frames: int = FRAMES) -> np.ndarray:
    """All masks of a folder: uint8 [N, H, W]."""
    masks = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.glob("*.png"))])
    assert len(masks) == frames
    # A network that is broken says the same class everywhere.
    assert len(np.unique(masks)) >= 4
    return masks
