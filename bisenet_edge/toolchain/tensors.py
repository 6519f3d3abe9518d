"""Between pictures and tensors: what training, calibration and evaluation share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def pad_to_stride(image: np.ndarray, stride: int = 8) -> np.ndarray:
    """Pad right and bottom with the mean to multiples of `stride`; [..., H, W, 3] -> [..., H', W', 3]."""
    pad_h, pad_w = -image.shape[-3] % stride, -image.shape[-2] % stride
    widths = [(0, 0)] * (image.ndim - 3) + [(0, pad_h), (0, pad_w), (0, 0)]
    return np.pad(image, widths, constant_values=128) if pad_h or pad_w else image


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [N, H, W, 3] BGR -> float [N, 3, H, W] in channels_last memory, values unchanged."""
    return to_planes(torch.from_numpy(images).to(device))


def to_planes(images: Tensor) -> Tensor:
    """As `to_input`, of a tensor that is on its device already."""
    return images.permute(0, 3, 1, 2).float()


def logits_to_mask(logits: Tensor, hw: tuple[int, ...], stride: int = 8) -> Tensor:
    """Logits [N, C, h, w] -> uint8 masks [N, H, W]: the tail that every exported graph ends in.

    Args:
        logits: of the padded picture, [N, C, h, w].
        hw: of the picture itself.
        stride: how much smaller the logits are than the padded picture.
    """
    height, width = hw
    full = logits.float()
    if stride > 1:
        padded = (logits.shape[2] * stride, logits.shape[3] * stride)
        full = F.interpolate(full, size=padded, mode="bilinear", align_corners=False)
    return full[:, :, :height, :width].argmax(1).to(torch.uint8)
