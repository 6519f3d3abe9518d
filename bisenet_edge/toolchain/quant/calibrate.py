"""Post-training quantization: look at real pictures, then fix the range of every tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from bisenet_edge.errors import CalibrationError
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.toolchain.quant.observers import BINS, Histogram, amax_of
from bisenet_edge.toolchain.quant.placement import quant_convs, quantizers

REPORT_BINS = 64


def observe(
    quantized: fx.GraphModule, frames: Sequence[np.ndarray], progress: Progress = quiet
) -> dict[str, Histogram]:
    """Run the float network over calibration frames and count what each quantizer would see.

    Args:
        quantized: from `insert_quantizers`.
        frames: uint8 [H, W, 3] BGR, of the network's size, H and W multiples of 8.
        progress: told after each frame.

    Returns:
        quantizer name -> histogram, without the quantizers whose range is fixed.

    Raises:
        CalibrationError: no frames, or values that are not finite.
    """
    if not len(frames):
        raise CalibrationError(
            "no calibration images", expected="at least one", fix="give --data, or a recipe with count > 0"
        )
    observed = {name: q for name, q in quantizers(quantized).items() if not q.fixed}
    histograms = {name: Histogram.empty() for name in observed}
    set_active(quantized, False)
    handles = [
        module.register_forward_pre_hook(_counter(histograms[name])) for name, module in observed.items()
    ]
    try:
        with torch.inference_mode():
            for done, frame in enumerate(frames, 1):
                quantized(torch.from_numpy(frame)[None].permute(0, 3, 1, 2).float())
                progress("calibrating", done, len(frames))
    finally:
        for handle in handles:
            handle.remove()
        set_active(quantized, True)
    return histograms


def _counter(histogram: Histogram) -> Any:
    def count(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        histogram.add(inputs[0])

    return count


def set_ranges(quantized: fx.GraphModule, histograms: dict[str, Histogram], observer: str) -> None:
    """Fix the range of every quantizer by one observer ("max", "percentile", "entropy", "mse")."""
    for name, quantizer in quantizers(quantized).items():
        # Fewer quantizers than histograms: where blocks stay in floating point.
        if not quantizer.fixed:
            quantizer.amax.fill_(amax_of(histograms[name], observer))


def set_active(quantized: fx.GraphModule, active: bool) -> None:
    """Switch all rounding on or off, of activations and of weights."""
    for quantizer in quantizers(quantized).values():
        quantizer.active = active
    for convolution in quant_convs(quantized).values():
        convolution.active = active


def ranges(quantized: fx.GraphModule, histograms: dict[str, Histogram]) -> dict[str, dict[str, Any]]:
    """Per tensor: the range that was chosen (`amax`) and, where there is a histogram, the largest value seen
    (`largest`), the share of values beyond the range (`saturated`, 0..1), and the magnitudes in 64 bins
    over 0..limit (`histogram`: {"limit", "counts"}).
    """
    table: dict[str, dict[str, Any]] = {}
    for name, quantizer in quantizers(quantized).items():
        histogram = histograms.get(name)
        amax = float(quantizer.amax.detach())
        table[name] = {"amax": amax}
        if histogram is None or histogram.largest == 0:
            continue
        # Bins that lie beyond the range as a whole: by their centres, "max" would saturate too.
        beyond = histogram.counts[math.ceil(amax / histogram.limit * BINS) :].sum()
        coarse = histogram.counts.reshape(REPORT_BINS, -1).sum(1)
        table[name].update(
            largest=histogram.largest,
            saturated=float(beyond / max(1, histogram.counts.sum())),
            histogram={"limit": histogram.limit, "counts": coarse.tolist()},
        )
    return table
