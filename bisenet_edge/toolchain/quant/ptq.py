"""Post-training quantization: one network, one set of calibration pictures, several ways to choose ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import fx

from bisenet_edge.progress import Progress, quiet
from bisenet_edge.toolchain.quant.bias_correction import correct_biases
from bisenet_edge.toolchain.quant.calibrate import observe, set_ranges
from bisenet_edge.toolchain.quant.equalize import equalize
from bisenet_edge.toolchain.quant.fold import collapse_pairs
from bisenet_edge.toolchain.quant.noise import quieter_when_dense
from bisenet_edge.toolchain.quant.observers import Histogram
from bisenet_edge.toolchain.quant.placement import insert_quantizers

COLLAPSE = ("auto", "never")
EQUALIZATION, BIAS_CORRECTION = "equalization", "bias correction"
# Means over whole feature maps settle with a few pictures; the frames' activations are held in memory.
BIAS_PICTURES = 16


@dataclass(frozen=True)
class Scheme:
    """How a network is quantized.

    Attributes:
        observer: how ranges are chosen: "max", "percentile", "entropy" or "mse".
        corrections: any of "equalization" and "bias correction".
        keep_float: names of the convolutions that stay in floating point.
    """

    observer: str
    corrections: tuple[str, ...] = ()
    keep_float: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Quantized:
    """A network in INT8.

    Attributes:
        network: with fake quantizers, ranges fixed; float BGR [1, 3, H, W] -> logits [1, C, H/8, W/8].
        scheme: how it was quantized.
        collapsed: names of the pointwise convolutions whose depthwise pair was merged into them.
        method: "ptq", or "qat" after fine-tuning.
        histograms: what its quantizers saw on the calibration pictures; empty when that is not known.
    """

    network: fx.GraphModule
    scheme: Scheme
    collapsed: tuple[str, ...]
    method: str = "ptq"
    histograms: dict[str, Histogram] = field(default_factory=dict)


@dataclass
class PostTraining:
    """Quantizes one network in several schemes; what schemes share is computed once.

    Attributes:
        folded: from `fold`; it is not changed.
        frames: calibration frames, uint8 [H, W, 3] BGR, sides multiples of 8.
        collapse: "auto" merges a depthwise + pointwise pair where that was measured to lower the
            quantization noise; "never" leaves all pairs.
        progress: told while pictures are looked at.
    """

    folded: fx.GraphModule
    frames: Sequence[np.ndarray]
    collapse: str = "auto"
    progress: Progress = quiet
    _merged: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _graphs: dict[tuple[tuple[str, ...], bool], _Observed] = field(default_factory=dict)

    def quantize(self, scheme: Scheme) -> Quantized:
        """Quantize in one scheme.

        Raises:
            CalibrationError: no frames, or values that are not finite.
            UsageError: unknown observer.
        """
        merged = self._merged_pairs(scheme.observer)
        observed = self._observed(merged, EQUALIZATION in scheme.corrections)
        network = insert_quantizers(observed.graph, scheme.keep_float)
        set_ranges(network, observed.histograms, scheme.observer)
        if BIAS_CORRECTION in scheme.corrections:
            correct_biases(network, self.frames[:BIAS_PICTURES], self.progress)
        return Quantized(network, scheme, merged, histograms=observed.histograms)

    def _merged_pairs(self, observer: str) -> tuple[str, ...]:
        if self.collapse == "never":
            return ()
        if observer not in self._merged:
            self._merged[observer] = tuple(sorted(quieter_when_dense(self.folded, self.frames, observer)))
        return self._merged[observer]

    def _observed(self, merged: tuple[str, ...], equalized: bool) -> _Observed:
        if (merged, equalized) not in self._graphs:
            graph = collapse_pairs(self.folded, merged.__contains__)
            if equalized:
                graph = equalize(graph, self.frames, self.progress).network
            histograms = observe(insert_quantizers(graph), self.frames, self.progress)
            self._graphs[merged, equalized] = _Observed(graph, histograms)
        return self._graphs[merged, equalized]


@dataclass(frozen=True)
class _Observed:
    """A float graph and what its quantizers would see on the calibration frames."""

    graph: fx.GraphModule
    histograms: dict[str, Histogram]
