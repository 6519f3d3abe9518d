"""How fast a network can be on a board at best, from vendors' peak figures: an estimate, no measurement.

A layer takes at least the time of its operations at the peak rate, and at least the time of its bytes at the
peak bandwidth (Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model", 2009). No
board reaches its peaks; what is measured will be slower, often several times. Figures that no source gives
(`deploy/boards`) are left out and named, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from bisenet_edge.boards import Board, PowerMode

LABEL = "ESTIMATE from vendor peak rates, not measured"


@dataclass(frozen=True)
class LayerCost:
    """What one layer computes and moves for one frame.

    Attributes:
        name: where it stands in the network.
        kind: ONNX operator.
        operations: two per multiply-add; 0 for what does not multiply.
        int8: it computes in INT8, else in FP16.
        bytes_moved: weights, inputs and outputs, each once.
    """

    name: str
    kind: str
    operations: int
    int8: bool
    bytes_moved: int


@dataclass(frozen=True)
class LayerTime:
    """Lower bounds of one layer's time; None = the board's rate is not known."""

    layer: LayerCost
    compute_ms: Optional[float]
    memory_ms: Optional[float]

    @property
    def at_least_ms(self) -> float:
        """The larger of what is known."""
        return max(self.compute_ms or 0.0, self.memory_ms or 0.0)


@dataclass(frozen=True)
class Estimate:
    """Lower bounds of a network's time in one power mode.

    Attributes:
        mode: name of the power mode.
        precision: "int8" (FP16 where a layer is not quantized) or "fp16".
        layers: in the order of the graph.
        notes: what is left out or too optimistic.
    """

    mode: str
    precision: str
    layers: Tuple[LayerTime, ...]
    notes: Tuple[str, ...]

    @property
    def compute_ms(self) -> Optional[float]:
        """All operations whose rate is known; None when no rate is."""
        return _sum([layer.compute_ms for layer in self.layers if layer.layer.operations])

    @property
    def memory_ms(self) -> Optional[float]:
        """All bytes; None when the bandwidth is not known."""
        return _sum([layer.memory_ms for layer in self.layers])

    @property
    def whole_ms(self) -> float:
        """If computing and moving overlapped perfectly over the whole network."""
        return max(self.compute_ms or 0.0, self.memory_ms or 0.0)

    @property
    def by_layer_ms(self) -> float:
        """If they overlapped within each layer, one layer after the other."""
        return sum(layer.at_least_ms for layer in self.layers)

    def to_json(self) -> Dict[str, Any]:
        return {
            "label": LABEL,
            "mode": self.mode,
            "precision": self.precision,
            "compute_ms": self.compute_ms,
            "memory_ms": self.memory_ms,
            "whole_ms": self.whole_ms,
            "by_layer_ms": self.by_layer_ms,
            "gigaoperations": sum(layer.layer.operations for layer in self.layers) / 1e9,
            "megabytes": sum(layer.layer.bytes_moved for layer in self.layers) / 1e6,
            "notes": list(self.notes),
            "layers": [
                {**vars(time.layer), "compute_ms": time.compute_ms, "memory_ms": time.memory_ms}
                for time in self.layers
            ],
        }


def estimates(board: Board, precision: str, layers: Sequence[LayerCost]) -> List[Estimate]:
    """One estimate for each power mode of a board that tells its bandwidth or the rate of the precision.

    Args:
        board: where to.
        precision: "int8" or "fp16".
        layers: of the graph in that precision.

    Returns:
        empty when the board tells nothing, or when "fp16" is asked for and its rate is not known.
    """
    found = []
    for mode in board.modes:
        rates = {True: _int8_rate(mode), False: _scaled(mode.fp16_dense_tflops, 1e12)}
        bandwidth = _scaled(mode.memory_bandwidth_gb_s, 1e9)
        if (precision == "fp16" and rates[False] is None) or (rates[True] is None and bandwidth is None):
            continue
        times = tuple(
            LayerTime(layer, _ms(layer.operations, rates[layer.int8]), _ms(layer.bytes_moved, bandwidth))
            for layer in layers
        )
        found.append(Estimate(mode.name, precision, times, _notes(mode, layers, rates)))
    return found


def _int8_rate(mode: PowerMode) -> Optional[float]:
    """Operations per second of the GPU; of GPU and DLAs where the GPU's own are not known."""
    return _scaled(mode.gpu_int8_dense_tops or mode.int8_dense_tops, 1e12)


def _notes(
    mode: PowerMode, layers: Sequence[LayerCost], rates: Dict[bool, Optional[float]]
) -> Tuple[str, ...]:
    notes = []
    quantized = [layer for layer in layers if layer.int8]
    floating = [layer for layer in layers if layer.operations and not layer.int8]
    if quantized and rates[True] is None:
        notes.append("the dense INT8 rate of this board is not known: memory traffic alone")
    elif quantized and mode.tops_include_dla and mode.gpu_int8_dense_tops is None:
        notes.append("the INT8 rate counts the DLAs, which are not used: the GPU alone is slower")
    if floating and rates[False] is None:
        notes.append(
            f"the FP16 rate is not known: the operations of {len(floating)} layers that are not in INT8 are "
            "left out"
        )
    if mode.memory_bandwidth_gb_s is None:
        notes.append("the memory bandwidth is not known: operations alone")
    return tuple(notes)


def _scaled(value: Optional[float], factor: float) -> Optional[float]:
    return None if value is None else value * factor


def _ms(amount: int, per_s: Optional[float]) -> Optional[float]:
    if not amount:
        return 0.0
    return None if per_s is None else 1e3 * amount / per_s


def _sum(values: Sequence[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
