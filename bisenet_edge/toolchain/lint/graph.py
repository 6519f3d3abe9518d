"""A read-only view of an ONNX graph: who makes and who reads a tensor, and what its quantizers say.

Nodes are named by where they stand in the network, because the exporter's names (`/core/conv_24/Conv`) say
nothing: a convolution by its module path, read off its weights (`arm32.conv.conv`), everything else by
the operators since the last convolution (`arm32.conv.conv > Relu > Mul`). Only numpy and onnx are imported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

MOST_STEPS = 6
CONVOLUTIONS = ("Conv", "ConvTranspose")
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# TensorRT moves a quantizer past these without changing a value: MaxPool(Q(x)) = Q(MaxPool(x)). (Its parser
# turns a Pad, with zeros in our graphs, into a Slice.)
COMMUTE = ("MaxPool", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Pad", "Identity")
MODULE_PREFIX, WEIGHT_SUFFIX = "core.", ".weight"
INT8, TYPED = "int8", "int8-typed"


@dataclass(frozen=True, eq=False)
class Quantizer:
    """A QuantizeLinear with the DequantizeLinear nodes behind it, or one of these alone on stored codes.

    Attributes:
        node: the QuantizeLinear; for stored codes the DequantizeLinear.
        dequantizers: the DequantizeLinear nodes that read its codes.
        source: name of the tensor that is quantized, or of the stored codes.
        role: "weights" or "bias" of a convolution, else "activation".
        convolution: whose weights or bias it quantizes; None for an activation.
        scale: as stored, of the graph's float type, [] or [channels]; None when it is not a constant.
        zero_point: as stored, same shape; None when there is none.
        code_type: `TensorProto` type of the codes.
        axis: of the channels, where there is one scale per channel.
    """

    node: NodeProto
    dequantizers: tuple[NodeProto, ...]
    source: str
    role: str
    convolution: NodeProto | None
    scale: np.ndarray | None
    zero_point: np.ndarray | None
    code_type: int
    axis: int


class Graph:
    """An ONNX graph with its convolutions and quantizers.

    Args:
        model: neither changed nor copied.
        kept_float: module paths of the convolutions that stay in floating point on purpose.
        flavour: "int8" or "int8-typed"; "" = by the constants: float16 ones are those of "int8-typed".

    Attributes:
        flavour: "int8" (FP32 + Q/DQ) or "int8-typed" (FP16 + Q/DQ, strongly typed).
        nodes: in the order of the file.
        convolutions: Conv and ConvTranspose nodes.
        quantizers: in the order of the file.
    """

    def __init__(self, model: ModelProto, kept_float: Collection[str] = (), flavour: str = "") -> None:
        self.model = model
        halves = any(t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer)
        self.flavour = flavour or (TYPED if halves else INT8)
        self.nodes: list[NodeProto] = list(model.graph.node)
        self._kept_float = frozenset(kept_float)
        self._constants: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t
        self._producers = {name: node for node in self.nodes for name in node.output}
        self._consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self._consumers.setdefault(name, []).append(node)
        self.convolutions = [node for node in self.nodes if node.op_type in CONVOLUTIONS]
        self.quantizers = list(self._find_quantizers())
        self._quantizer_of = {
            node.output[0]: quantizer
            for quantizer in self.quantizers
            for node in (quantizer.node, *quantizer.dequantizers)
        }

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that computes a tensor; None for inputs and constants."""
        node = self._producers.get(tensor)
        return None if node is None or tensor in self._constants else node

    def consumers(self, tensor: str) -> list[NodeProto]:
        """The nodes that read a tensor, each once."""
        return self._consumers.get(tensor, [])

    def readers(self, node: NodeProto) -> list[NodeProto]:
        """The nodes that read what a node computes."""
        return [reader for tensor in node.output for reader in self.consumers(tensor)]

    def value(self, tensor: str) -> np.ndarray | None:
        """A constant's value; None for what is computed."""
        constant = self._constants.get(tensor)
        return None if constant is None else numpy_helper.to_array(constant)

    def operands(self, node: NodeProto) -> list[str]:
        """The inputs of a node that are computed, not constant."""
        return [name for name in node.input if name and name not in self._constants]

    def quantizer_of(self, node: NodeProto) -> Quantizer | None:
        """The quantizer that a QuantizeLinear or DequantizeLinear node belongs to."""
        return self._quantizer_of.get(node.output[0])

    def dequantizer(self, tensor: str) -> NodeProto | None:
        """The DequantizeLinear that a tensor comes from, also past operators that commute with it."""
        node = self.producer(tensor)
        while node is not None and node.op_type in COMMUTE:
            node = self.producer(node.input[0])
        return node if node is not None and node.op_type == DEQUANTIZE else None

    def is_int8(self, convolution: NodeProto) -> bool:
        """Whether input and weights of a convolution are both dequantized tensors."""
        return all(self.dequantizer(name) is not None for name in convolution.input[:2])

    def is_kept(self, node: NodeProto) -> bool:
        """Whether a convolution, or the last one in front of a node, stays in floating point on purpose."""
        convolution = self.upstream(node)[-1]
        return convolution.op_type in CONVOLUTIONS and self._module(convolution) in self._kept_float

    def upstream(self, node: NodeProto) -> list[NodeProto]:
        """A node and those in front of it along their first operands, as far as the last convolution."""
        chain: list[NodeProto] = []
        before: NodeProto | None = node
        while before is not None:
            chain.append(before)
            operands = [] if before.op_type in CONVOLUTIONS else self.operands(before)
            before = self.producer(operands[0]) if operands else None
        return chain

    def path(self, node: NodeProto) -> str:
        """Where a node stands in the network: "arm32.conv.conv", "arm32.conv.conv > Relu > Mul"."""
        quantizer = self.quantizer_of(node)
        if quantizer is not None and quantizer.convolution is not None:
            return f"{quantizer.role} of {self._module(quantizer.convolution)}"
        first, *others = reversed(self.upstream(node))
        steps = [n.op_type for n in others if n is node or n.op_type not in (QUANTIZE, DEQUANTIZE)]
        if len(steps) > MOST_STEPS:  # a chain of residual adds: its two ends say where it is
            steps = [*steps[: MOST_STEPS // 2], "...", *steps[-MOST_STEPS // 2 :]]
        if first.op_type in CONVOLUTIONS:
            return " > ".join([self._module(first), *steps])
        return " > ".join([*self.operands(first)[:1], first.op_type, *steps])

    def name(self, node: NodeProto) -> str:
        """Path and name of a node, so that it is recognised and also found in the file."""
        return f"{self.path(node)} ({node.name or node.output[0]})"

    def _module(self, convolution: NodeProto) -> str:
        tensor = convolution.input[1]
        node = self.producer(tensor)
        while node is not None and node.op_type in (QUANTIZE, DEQUANTIZE):
            tensor = node.input[0]
            node = self.producer(tensor)
        if not tensor.endswith(WEIGHT_SUFFIX):
            return str(convolution.name or convolution.output[0])
        return tensor.removeprefix(MODULE_PREFIX).removesuffix(WEIGHT_SUFFIX)

    def _find_quantizers(self) -> Iterator[Quantizer]:
        for node in self.nodes:
            if node.op_type == QUANTIZE:
                behind = tuple(n for n in self.readers(node) if n.op_type == DEQUANTIZE)
                yield self._quantizer(node, behind)
            elif node.op_type == DEQUANTIZE and node.input[0] in self._constants:
                yield self._quantizer(node, (node,))

    def _quantizer(self, node: NodeProto, dequantizers: tuple[NodeProto, ...]) -> Quantizer:
        role, convolution = self._role(node.input[0], dequantizers)
        zero_point = self.value(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        return Quantizer(
            node=node,
            dequantizers=dequantizers,
            source=node.input[0],
            role=role,
            convolution=convolution,
            scale=self.value(node.input[1]),
            zero_point=zero_point,
            code_type=self._code_type(node),
            axis=attribute(node, "axis", 1),
        )

    def _role(self, source: str, dequantizers: tuple[NodeProto, ...]) -> tuple[str, NodeProto | None]:
        if source in self._constants:
            for dequantizer in dequantizers:
                for reader in self.readers(dequantizer):
                    if reader.op_type in CONVOLUTIONS:
                        is_weight = reader.input[1] == dequantizer.output[0]
                        return "weights" if is_weight else "bias", reader
        return "activation", None

    def _code_type(self, node: NodeProto) -> int:
        stored = node.input[0] if node.op_type == DEQUANTIZE else node.input[2] if len(node.input) > 2 else ""
        if stored in self._constants:
            return int(self._constants[stored].data_type)
        # Without a zero point ONNX means uint8, unless the node says otherwise (opset 21).
        return attribute(node, "output_dtype", TensorProto.UINT8) or TensorProto.UINT8


def attribute(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute of a node."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)
