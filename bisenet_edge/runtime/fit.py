"""Bring a picture of any size to the network's size, and its mask back.

The aspect ratio is kept: a network trained on undistorted streets loses accuracy when they are
stretched, and the loss is silent. The picture is scaled to fit and padded right and bottom with 128,
which is 0 after normalisation, i.e. what the network's own convolutions pad with.
"""

from __future__ import annotations

from typing import Optional, Tuple

import cv2
import numpy as np

from bisenet_edge.frame import Size

PAD_VALUE = 128


class Fit:
    """Maps pictures of one source size onto the network's input.

    Attributes:
        source_hw: (height, width) of the pictures.
        inner_hw: (height, width) that the picture takes up in the network's input, top left.
    """

    def __init__(self, source_hw: Tuple[int, int], network: Size) -> None:
        self.source_hw = source_hw
        self.network = network
        scale = min(network.height / source_hw[0], network.width / source_hw[1])
        self.inner_hw = (
            min(network.height, max(1, round(source_hw[0] * scale))),
            min(network.width, max(1, round(source_hw[1] * scale))),
        )

    def new_input(self) -> np.ndarray:
        """A padded buffer for `apply`: uint8 [H, W, 3]."""
        return np.full((*self.network.hw, 3), PAD_VALUE, np.uint8)

    def apply(self, image: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scale `image` (uint8 [h, w, 3]) into the top left of `out` (from `new_input`); returns `out`.

        A picture that has the network's size already is returned as it is, without a copy.
        """
        height, width = self.inner_hw
        if self.source_hw == self.network.hw:
            return image
        if self.source_hw == self.inner_hw:
            out[:height, :width] = image
            return out
        scale_picture(image, self.inner_hw, out[:height, :width])
        return out

    def crop(self, mask: np.ndarray) -> np.ndarray:
        """The part of a mask (uint8 [H, W]) that shows the picture; a view, uint8 [inner h, inner w]."""
        return mask[: self.inner_hw[0], : self.inner_hw[1]]

    def undo(self, mask: np.ndarray, out: Optional[np.ndarray] = None) -> np.ndarray:
        """A mask (uint8 [H, W]) at the picture's own size: uint8 [source h, source w], nearest neighbour."""
        inner = self.crop(mask)
        if self.inner_hw == self.source_hw:
            return inner
        height, width = self.source_hw
        return np.asarray(cv2.resize(inner, (width, height), dst=out, interpolation=cv2.INTER_NEAREST_EXACT))


def scale_picture(image: np.ndarray, hw: Tuple[int, int], out: Optional[np.ndarray] = None) -> np.ndarray:
    """A picture (uint8 [h, w, 3]) at another size, the same on every machine; itself where it has that size.

    Args:
        image: what to scale.
        hw: (height, width) of the result.
        out: uint8 [*hw, 3] to write to when it has another size.
    """
    if image.shape[:2] == hw:
        return image
    # INTER_LINEAR differs between x86 and ARM by one in a quarter of the pixels; _EXACT does not.
    # Strong reduction aliases with bilinear sampling; INTER_AREA averages, and is exact on both.
    method = cv2.INTER_AREA if image.shape[0] >= 2 * hw[0] else cv2.INTER_LINEAR_EXACT
    return np.asarray(cv2.resize(image, (hw[1], hw[0]), dst=out, interpolation=method))
