"""What each layer of an exported graph computes and moves, for the roofline. Needs numpy and onnx only.

Counted as a good engine would run it, so that the time that follows is a lower bound: what works element by
element (activations, quantizers, an addition or a product) is fused with the layer in front of it; every
other operator reads its operands once and writes its result once. A quantized tensor has one byte per value,
any other two (FP16 beside INT8). Biases and scales are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import onnx
from onnx import ModelProto, NodeProto

from bisenet_edge.errors import ArtifactError
from bisenet_edge.runtime.profile.roofline import LayerCost
from bisenet_edge.toolchain.lint.graph import CONVOLUTIONS, DEQUANTIZE, QUANTIZE, Graph

FUSED = (
    QUANTIZE, DEQUANTIZE, "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "Identity", "Cast",
    "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "BatchNormalization", "Dropout",
)  # fmt: skip
POINTWISE = ("Add", "Sub", "Mul", "Div", "Equal", "Where")
KEEPS_CODES = ("MaxPool", "Slice", "Pad")  # INT8 in, INT8 out
UNCOUNTED = ("MatMul", "Gemm", "Einsum", "LSTM", "GRU")
FLOAT_BYTES = 2


@dataclass
class _Stored:
    """A tensor that is written to memory: by which layer, how many values, in how many bytes each."""

    layer: int
    values: int
    width: int = 0


@dataclass
class _Layer:
    node: NodeProto
    operations: int
    int8: bool
    weight_bytes: int
    reads: dict[str, int] = field(default_factory=dict)


def layer_costs(model: ModelProto) -> list[LayerCost]:
    """Count a graph with the contract of this project, layer by layer, in its order.

    Args:
        model: "int8" (Q/DQ) or "fp32" flavour; the latter is counted as FP16.

    Raises:
        ArtifactError: an operator whose operations cannot be counted, or shapes that cannot be inferred.
    """
    count = _Count(model)
    for node in count.graph.nodes:
        count.add(node)
    return count.finish()


class _Count:
    def __init__(self, model: ModelProto) -> None:
        self.graph = Graph(model)
        self.shapes = _shapes(model)
        self.layers: list[_Layer] = []
        # Tensor -> the stored tensor that it is made of, and whether it is read as INT8 codes.
        self.origin: dict[str, tuple[str, bool]] = {}
        self.stored: dict[str, _Stored] = {}
        self.outputs = [output.name for output in model.graph.output]
        for tensor in model.graph.input:
            self.origin[tensor.name] = tensor.name, True  # uint8
            self.stored[tensor.name] = _Stored(-1, self._values(tensor.name))

    def add(self, node: NodeProto) -> None:
        operands = [name for name in node.input if name in self.origin]
        output = node.output[0]
        if not operands:  # constants, and what is made of them
            return
        if node.op_type in FUSED or (node.op_type in POINTWISE and len(operands) == 1):
            source, codes = self.origin[operands[0]]
            self.origin[output] = source, codes or node.op_type == QUANTIZE
        elif node.op_type in POINTWISE:
            self._fuse(operands, output)
        else:
            self._new_layer(node, operands)

    def _fuse(self, operands: list[str], output: str) -> None:
        """An addition or product of two tensors: done by the layer that makes the later one."""
        last = max(operands, key=lambda name: self.stored[self.origin[name][0]].layer)
        number = self.stored[self.origin[last][0]].layer
        for name in operands:
            if name != last:
                self._read(number, name)
        self.stored[output] = _Stored(number, self._values(output))
        self.origin[output] = output, False

    def _new_layer(self, node: NodeProto, operands: list[str]) -> None:
        if node.op_type in UNCOUNTED:
            raise ArtifactError(
                "the operations of this graph cannot be counted",
                got=f"{node.op_type} {self.graph.name(node)}",
            )
        operations, int8, weights = 0, False, 0
        if node.op_type in CONVOLUTIONS:
            weight = self.shapes[node.input[1]]
            side = node.output[0] if node.op_type == "Conv" else node.input[0]
            operations = 2 * self._values(side) * prod(weight[1:])
            int8 = self.graph.is_int8(node)
            weights = prod(weight) * (1 if int8 else FLOAT_BYTES)
        self.layers.append(_Layer(node, operations, int8, weights))
        number, output = len(self.layers) - 1, node.output[0]
        for name in operands:
            self._read(number, name)
        codes = node.op_type in KEEPS_CODES and self.origin[operands[0]][1]
        self.stored[output] = _Stored(number, self._values(output))
        self.origin[output] = output, codes

    def _read(self, number: int, name: str) -> None:
        source, codes = self.origin[name]
        width = 1 if codes else FLOAT_BYTES
        stored = self.stored[source]
        stored.width = max(stored.width, width)
        if number >= 0:
            self.layers[number].reads[source] = stored.values * width

    def finish(self) -> list[LayerCost]:
        for name in self.outputs:
            stored = self.stored[self.origin[name][0]]
            stored.width = max(stored.width, 1)  # uint8
        written = [0] * len(self.layers)
        for stored in self.stored.values():
            if stored.layer >= 0:
                written[stored.layer] += stored.values * stored.width
        return [
            LayerCost(
                name=self.graph.path(layer.node),
                kind=layer.node.op_type,
                operations=layer.operations,
                int8=layer.int8,
                bytes_moved=layer.weight_bytes + sum(layer.reads.values()) + written[number],
            )
            for number, layer in enumerate(self.layers)
        ]

    def _values(self, tensor: str) -> int:
        return prod(self.shapes[tensor])


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    """Shape of every tensor; all are static."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    for info in (*inferred.input, *inferred.value_info, *inferred.output):
        sides = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        if min(sides, default=1) < 1:
            raise ArtifactError("a tensor has no fixed shape", got=info.name, fix="export the artifact again")
        shapes[info.name] = sides
    return shapes
