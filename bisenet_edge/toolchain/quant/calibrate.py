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
    modules = quantizers(quantized)
    for name, histogram in histograms.items():
        modules[name].amax.fill_(amax_of(histogram, observer))


def set_active(quantized: fx.GraphModule, active: bool) -> None:
    """Switch all rounding on or off, of activations and of weights."""
    for quantizer in quantizers(quantized).values():
        quantizer.active = active
    for convolution in quant_convs(quantized).values():
        convolution.active = active


def ranges(quantized: fx.GraphModule, histograms: dict[str, Histogram]) -> dict[str, dict[str, float]]:
    """Per tensor: the range that was chosen (`amax`), the largest value seen (`largest`), and the share
    of values beyond the range (`saturated`, 0..1).
    """
    table = {}
    for name, quantizer in quantizers(quantized).items():
        histogram = histograms.get(name)
        amax = float(quantizer.amax)
        if histogram is None or histogram.largest == 0:
            table[name] = {"amax": amax, "largest": amax, "saturated": 0.0}
            continue
        # Bins that lie beyond the range as a whole: by their centres, "max" would saturate too.
        beyond = histogram.counts[math.ceil(amax / histogram.limit * BINS) :].sum()
        beyond = beyond / max(1, histogram.counts.sum())
        table[name] = {"amax": amax, "largest": histogram.largest, "saturated": float(beyond)}
    return table
