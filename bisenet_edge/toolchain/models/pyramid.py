"""Averages over regions of a feature map, in operators that ONNX and every engine have."""

from __future__ import annotations

from torch import Tensor, fx, nn
from torch.nn import functional as F

from bisenet_edge.toolchain.models.network import upsample

BINS = (6, 3, 2, 1)


def average_grid(x: Tensor, bins: int) -> Tensor:
    """Averages over a grid of windows of one size; [N, C, h, w] -> [N, C, min(bins, h), min(bins, w)].

    Where `bins` does not divide a side, the windows overlap, as in the authors' network (whose own windows at
    33x65 these are, but for 3 bins: there they overlap more). Windows of one size are what ONNX and TensorRT
    have; torch's adaptive pooling has windows of several sizes.
    """
    sides = int(x.shape[2]), int(x.shape[3])
    counts = [min(bins, side) for side in sides]
    strides = [side // count for side, count in zip(sides, counts)]
    windows = [side - (count - 1) * stride for side, count, stride in zip(sides, counts, strides)]
    return F.avg_pool2d(x, windows, strides)


# Its windows depend on a shape, which torch.fx cannot look at: one node in the graph, not what is inside.
fx.wrap("average_grid")


class PyramidPooling(nn.Module):
    """Adds averages over 6x6, 3x3, 2x2 and 1x1 regions (ICNet, section 3.2); keeps shape [N, C, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        total = x
        for bins in BINS:
            total = total + upsample(average_grid(x, bins), x)
        return total
