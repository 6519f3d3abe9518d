"""Questions about a quantized graph that several rules ask: what is behind a tensor, and who explains it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from onnx import NodeProto

from bisenet_edge.toolchain.lint.graph import COMMUTE, CONVOLUTIONS, DEQUANTIZE, QUANTIZE, Graph, Quantizer

ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu")  # fused into the convolution or add in front of them
ELEMENTWISE = ("Add", "Mul")
# Run in INT8 when a quantizer stands behind them.
PASS_ON = (*COMMUTE, "AveragePool", "GlobalAveragePool", "ReduceMean", "Resize", "Concat", "Split")


def convolution_behind(graph: Graph, tensor: str, past: tuple[str, ...] = ()) -> NodeProto | None:
    """The convolution whose raw output a tensor is, also past batch normalisation and operators in `past`."""
    node = graph.producer(tensor)
    while node is not None and node.op_type in ("BatchNormalization", *past):
        node = graph.producer(node.input[0])
    return node if node is not None and node.op_type in CONVOLUTIONS else None


def quantizer_behind(graph: Graph, tensor: str) -> Quantizer | None:
    """The quantizer that a tensor comes from, also past operators that commute with it."""
    node = graph.dequantizer(tensor)
    return None if node is None else graph.quantizer_of(node)


def split_from(graph: Graph, quantizer: Quantizer) -> list[NodeProto]:
    """The activations that a quantizer cuts off from a convolution or add in front of them."""
    before = graph.producer(quantizer.source)
    if before is None or before.op_type not in (*CONVOLUTIONS, "BatchNormalization", "Add"):
        return []
    readers = (reader for node in quantizer.dequantizers for reader in graph.readers(node))
    return [reader for reader in readers if reader.op_type in ACTIVATIONS]


def on_logits(graph: Graph) -> list[Quantizer]:
    """Quantizers that make the logits or stand behind them."""
    producer = graph.producer("logits")
    made = graph.quantizer_of(producer) if producer is not None and producer.op_type == DEQUANTIZE else None
    found = [made] if made is not None else []
    nodes = list(graph.consumers("logits"))
    while nodes:
        node = nodes.pop()
        quantizer = graph.quantizer_of(node) if node.op_type == QUANTIZE else None
        if quantizer is not None and quantizer not in found:
            found.append(quantizer)
        nodes += graph.readers(node)
    return found


def activation_dequantizers(graph: Graph) -> Iterator[NodeProto]:
    """Those whose readers no other rule explains."""
    behind_logits = on_logits(graph)
    for quantizer in graph.quantizers:
        explained = quantizer in behind_logits or split_from(graph, quantizer)
        if quantizer.role == "activation" and not explained:
            yield from quantizer.dequantizers


@dataclass
class Reach:
    """What stands behind a tensor, up to the next INT8.

    Attributes:
        floats: operators that run in floating point.
        exits: quantizers behind those.
        int8: something else reads the tensor: a convolution, or an operator that runs in INT8.
    """

    floats: list[NodeProto] = field(default_factory=list)
    exits: list[NodeProto] = field(default_factory=list)
    int8: bool = False


def reach(graph: Graph, start: NodeProto) -> Reach:
    """What reads the output of `start`, a dequantizer or a convolution that runs in floating point."""
    found, seen = Reach(), set()
    behind_float = start.op_type in CONVOLUTIONS
    todo = [(node, behind_float) for node in graph.readers(start)]
    while todo:
        node, behind_float = todo.pop(0)
        if (node.output[0], behind_float) in seen:
            continue
        seen.add((node.output[0], behind_float))
        if node.op_type == QUANTIZE and behind_float:
            found.exits.append(node)
        elif node.op_type in (*CONVOLUTIONS, QUANTIZE, "BatchNormalization") or (
            node.op_type in ELEMENTWISE and len(graph.operands(node)) == 2 and not behind_float
        ):
            found.int8 = True  # or a fault that its own rule tells
        else:
            if node.op_type not in PASS_ON:
                found.floats.append(node)
                behind_float = True
            todo += [(reader, behind_float) for reader in graph.readers(node)]
    return found
