"""What TensorRT's ONNX parser accepts, and an ONNX graph as the rest of the double asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

MOST_OPSET = {(8, 5): 17, (8, 6): 17, (10, 3): 20, (10, 13): 23, (10, 16): 24, (11, 0): 25, (11, 4): 25}
"""Newest opset that the parser takes, by release."""

LAYER_TYPES = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min"), "ELEMENTWISE"),
    **dict.fromkeys(("Sigmoid", "Relu", "Clip"), "ACTIVATION"),
    **dict.fromkeys(("Sqrt", "Exp", "Neg"), "UNARY"),
    **dict.fromkeys(("MaxPool", "AveragePool"), "POOLING"),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), "REDUCE"),
    **dict.fromkeys(("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"), "SHUFFLE"),
    **dict.fromkeys(("Slice", "Pad"), "SLICE"),
    "Conv": "CONVOLUTION",
    "ConvTranspose": "DECONVOLUTION",
    "Cast": "CAST",
    "Concat": "CONCATENATION",
    "Resize": "RESIZE",
    "ArgMax": "TOPK",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
    "Identity": "IDENTITY",
    "Constant": "CONSTANT",
    "MatMul": "MATRIX_MULTIPLY",
    "Gemm": "MATRIX_MULTIPLY",
    "Softmax": "SOFTMAX",
}
"""Operators that the double knows, with the layer each becomes."""

NO_PLUGIN = (
    'Assertion failed: creator && "Plugin not found, are the plugin name, version, and namespace correct?"'
)
KINDS = {
    TensorProto.FLOAT: "float",
    TensorProto.FLOAT16: "half",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
}


@dataclass(frozen=True)
class Trouble:
    """Why the parser gave up: a member of `ErrorCode`, words, and the node (-1: the whole model)."""

    code: str
    words: str
    node: int = -1
    name: str = ""
    operator: str = ""


class Graph:
    """An ONNX model and the questions that parser and optimiser ask of it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.model = onnx.load_from_string(content)
        self.nodes = list(self.model.graph.node)
        self.constants = {t.name: t for t in self.model.graph.initializer}
        self.producers = {output: node for node in self.nodes for output in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        known = set(self.constants)
        self.inputs = [i for i in self.model.graph.input if i.name not in known]
        self.outputs = list(self.model.graph.output)

    @property
    def opset(self) -> int:
        return max((o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")), default=0)

    @cached_property
    def infos(self) -> dict[str, onnx.ValueInfoProto]:
        whole = onnx.shape_inference.infer_shapes(self.model)
        return {i.name: i for i in (*whole.graph.value_info, *whole.graph.input, *whole.graph.output)}

    def kind(self, tensor: str) -> str:
        """Element type of a tensor: "float", "half", "int8", ..."""
        if tensor in self.constants:
            return KINDS.get(self.constants[tensor].data_type, "float")
        return KINDS.get(self.infos[tensor].type.tensor_type.elem_type, "float")

    def shape(self, tensor: str) -> list[int]:
        if tensor in self.constants:
            return list(self.constants[tensor].dims)
        return [d.dim_value or -1 for d in self.infos[tensor].type.tensor_type.shape.dim]

    def constant(self, tensor: str) -> np.ndarray:
        return numpy_helper.to_array(self.constants[tensor])

    @property
    def has_quantizers(self) -> bool:
        return any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in self.nodes)

    @property
    def has_half(self) -> bool:
        return any(self.kind(output) == "half" for node in self.nodes for output in node.output)


def find_troubles(graph: Graph, release: tuple[int, ...]) -> list[Trouble]:
    """Why the parser of this release refuses the model; the older ones stop at the first reason."""
    most = MOST_OPSET[release[:2]]
    if graph.opset > most:
        words = f"Assertion failed: opset {graph.opset} is not supported (newest: opset {most})"
        return [Trouble("UNSUPPORTED_GRAPH", words)]
    found = []
    for index, node in enumerate(graph.nodes):
        trouble = _trouble_of(graph, node)
        if trouble:
            found.append(Trouble(*trouble, index, node.name, node.op_type))
            if release < (10,):
                return found
    for info in (*graph.inputs, *graph.outputs):
        if info.type.tensor_type.elem_type == TensorProto.UINT8 and not _cast_beside(graph, info.name):
            words = f"Assertion failed: UINT8 network I/O {info.name} must stand beside a Cast"
            found.append(Trouble("UNSUPPORTED_NODE_DATATYPE" if release >= (10,) else "INVALID_NODE", words))
    return found


def _cast_beside(graph: Graph, tensor: str) -> bool:
    neighbours = list(graph.consumers.get(tensor, []))
    if tensor in graph.producers:
        neighbours.append(graph.producers[tensor])
    return all(node.op_type == "Cast" for node in neighbours)


def _trouble_of(graph: Graph, node: onnx.NodeProto) -> tuple[str, str] | None:
    if (
        node.op_type == "Cast"
        and graph.kind(node.output[0]) == "uint8"
        and graph.kind(node.input[0]) not in ("float", "half")
    ):
        # The 8.5 importer asserts it; NvInfer.h of later versions says that no integer becomes UINT8.
        return "UNSUPPORTED_NODE", "Assertion failed: a cast to UINT8 must come from FLOAT or HALF"
    if node.op_type not in LAYER_TYPES or node.domain not in ("", "ai.onnx"):
        return "UNSUPPORTED_NODE", NO_PLUGIN
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        if len(node.input) > 2 and node.input[2] in graph.constants:
            zero = graph.constant(node.input[2])
            if zero.any():
                return (
                    "INVALID_NODE",
                    "Assertion failed: shiftIsAllZeros(zeroPoint) && "
                    '"TRT only supports symmetric quantization - zeroPt must be all zeros"',
                )
            if zero.dtype != np.int8:
                return "INVALID_NODE", f'Assertion failed: "Only INT8 is supported, not {zero.dtype}"'
        elif node.op_type == "QuantizeLinear":
            return "INVALID_NODE", 'Assertion failed: "without a zero point ONNX quantizes to UINT8"'
    return None
