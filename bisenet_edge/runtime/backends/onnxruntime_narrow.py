"""Give convolutions with few outputs as many as ONNX Runtime's integer kernel asks for.

Below 16 outputs (a vector of 512 bits holds 16 sums) it copies the picture into a matrix first: the 8 outputs
of Xception39's first convolution cost more than 16 do. What is added are zeros, read by weights that are zero.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import numpy as np

LEAST_OUTPUTS = 16
CHANNEL_BY_CHANNEL = ("Relu", "MaxPool", "Clip", "QuantizeLinear", "DequantizeLinear")


def widen(graph: Any) -> int:
    """Widen what is narrow and read by convolutions alone; in place.

    Args:
        graph: an `onnxruntime_lowering` graph.

    Returns:
        how many convolutions were widened.
    """
    widened = 0
    for node in [node for node in graph.nodes if node.op_type == "Conv"]:
        outputs = _outputs(graph, node)
        if outputs is None or outputs >= LEAST_OUTPUTS or not _quantized_with_bias(graph, node):
            continue
        readers = _readers(graph, node.output[0])
        if readers is None or not all(_whole(reader) and _outputs(graph, reader) for reader in readers):
            continue
        added = LEAST_OUTPUTS - outputs
        weights = _constant_behind(graph, node.input[1])
        for reader in weights:
            for place, value in enumerate(reader.input):
                if value in graph.constants:
                    _pad(graph, reader, place, (0, added))
        _pad(graph, node, 2, (0, added))
        for reader in readers:
            first = _constant_behind(graph, reader.input[1])[-1]
            _pad(graph, first, 0, (1, added))
        widened += 1
    return widened


def _whole(node: Any) -> bool:
    """Whether every output of a convolution reads every input."""
    return all(attribute.i == 1 for attribute in node.attribute if attribute.name == "group")


def _outputs(graph: Any, node: Any) -> Optional[int]:
    """How many outputs a convolution has; None where its weights are no constant of its own."""
    chain = _constant_behind(graph, node.input[1])
    if not chain or any(len(graph.consumers(link.output[0])) != 1 for link in chain):
        return None
    return int(graph.constants[chain[-1].input[0]].shape[0])


def _quantized_with_bias(graph: Any, node: Any) -> bool:
    return _whole(node) and len(node.input) > 2 and node.input[2] in graph.constants


def _constant_behind(graph: Any, name: str) -> List[Any]:
    """The (de)quantizers from tensor `name` back to a constant; empty where there are none."""
    producers = graph.producers()
    chain: List[Any] = []
    while name not in graph.constants:
        node = producers.get(name)
        if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            return []
        chain.append(node)
        name = node.input[0]
    return chain


def _readers(graph: Any, name: str) -> Optional[List[Any]]:
    """The convolutions that read a tensor, channel by channel changed or not; None where others do too."""
    found: List[Any] = []
    for node in graph.consumers(name):
        if node.op_type == "Conv" and node.input[0] == name:
            found.append(node)
            continue
        behind = _readers(graph, node.output[0]) if node.op_type in CHANNEL_BY_CHANNEL else None
        if behind is None:
            return None
        found.extend(behind)
    return found or None


def _pad(graph: Any, node: Any, place: int, axis_added: Tuple[int, int]) -> None:
    """Let a node read its constant at `place` with more channels: zeros, or scales like the last one."""
    axis, added = axis_added
    name = node.input[place]
    value = graph.constants[name]
    if value.ndim == 0:
        return  # one scale for all
    width = [(0, added if index == axis else 0) for index in range(value.ndim)]
    scales = place == 1
    padded = np.pad(value, width, mode="edge") if scales else np.pad(value, width)
    node.input[place] = graph.constant(f"{name}_{axis}_wider", padded)
