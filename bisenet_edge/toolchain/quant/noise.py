"""Which depthwise + pointwise pairs are better merged before quantization: measured, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, fx
from torch.nn import functional as F

from bisenet_edge.toolchain.quant.calibrate import observe, set_active, set_ranges
from bisenet_edge.toolchain.quant.fake_quant import QuantConv2d, Quantizer
from bisenet_edge.toolchain.quant.fold import conv_of, dense_of, pairs
from bisenet_edge.toolchain.quant.placement import insert_quantizers

# The comparison is of noise powers summed over whole feature maps; a few pictures settle it.
PICTURES = 8


def quieter_when_dense(folded: fx.GraphModule, frames: Sequence[np.ndarray], observer: str) -> set[str]:
    """Names of the pointwise convolutions whose pair makes less noise as one dense INT8 convolution.

    For each pair the output in INT8 as two convolutions (rounding between them) and as one is compared
    with the float output, on the pair's true inputs.

    Args:
        folded: from `fold`.
        frames: calibration frames, uint8 [H, W, 3] BGR; the first 8 are used.
        observer: for the ranges.
    """
    if not pairs(folded):
        return set()
    few = frames[:PICTURES]
    quantized = insert_quantizers(folded)
    set_ranges(quantized, observe(quantized, few), observer)
    set_active(quantized, False)
    comparisons = [_Comparison(quantized, first, second) for first, second in _paired(folded, quantized)]
    with torch.inference_mode():
        for frame in few:
            quantized(torch.from_numpy(frame)[None].permute(0, 3, 1, 2).float())
    for comparison in comparisons:
        comparison.handle.remove()
    return {c.name for c in comparisons if c.dense_noise < c.pair_noise}


def _paired(folded: fx.GraphModule, quantized: fx.GraphModule) -> list[tuple[fx.Node, fx.Node]]:
    by_name = {node.name: node for node in quantized.graph.nodes}
    return [(by_name[first.name], by_name[second.name]) for first, second in pairs(folded)]


class _Comparison:
    """Sums the noise of one pair in both forms while the float network runs."""

    def __init__(self, quantized: fx.GraphModule, first: fx.Node, second: fx.Node) -> None:
        depthwise, pointwise = conv_of(quantized, first), conv_of(quantized, second)
        before = quantized.get_submodule(str(first.all_input_nodes[0].target))
        between = quantized.get_submodule(str(second.all_input_nodes[0].target))
        assert isinstance(depthwise, QuantConv2d) and isinstance(pointwise, QuantConv2d)
        assert isinstance(before, Quantizer) and isinstance(between, Quantizer)
        self.name = str(second.target)
        self.depthwise, self.pointwise = depthwise, pointwise
        self.before, self.between = before, between
        self.dense = QuantConv2d(dense_of(depthwise, pointwise))
        self.pair_noise = self.dense_noise = 0.0
        self.handle = depthwise.register_forward_pre_hook(self._measure)

    def _measure(self, module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        dense = self.dense
        exact = F.conv2d(x, dense.weight, None, dense.stride, dense.padding)
        rounded = _round(x, self.before)
        one = F.conv2d(rounded, dense.quantized_weight(), None, dense.stride, dense.padding)
        middle = F.conv2d(
            rounded,
            self.depthwise.quantized_weight(),
            None,
            self.depthwise.stride,
            self.depthwise.padding,
            1,
            self.depthwise.groups,
        )
        two = F.conv2d(_round(middle, self.between), self.pointwise.quantized_weight())
        self.dense_noise += float(((one - exact) ** 2).sum())
        self.pair_noise += float(((two - exact) ** 2).sum())


def _round(x: Tensor, quantizer: Quantizer) -> Tensor:
    quantizer.active = True
    try:
        out: Tensor = quantizer(x)
        return out
    finally:
        quantizer.active = False
