"""How TensorRT's optimiser fuses what the parser has given it.

The fusions are those that decide whether INT8 pays: a convolution takes the quantizers of its two inputs,
what follows it (a constant factor, a residual add, a ReLU) and the quantizer of its output; a convolution
without them runs in floating point, and a quantizer that nothing takes is a layer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx
from tensorrt_graph import Graph

POINTWISE = {"Add", "Sub", "Mul", "Div", "Sigmoid", "Relu", "Clip", "Sqrt", "Exp", "Max", "Min", "Neg"}


@dataclass
class Layer:
    """One layer of an engine.

    Attributes:
        name: of the fused nodes, joined with " + ".
        kind: what it does: "conv", "quantize", "dequantize", "pointwise", "reformat", "copy", or the
            operator.
        nodes: names of the ONNX nodes in it.
        inputs, outputs: names of tensors.
        dtypes: "float", "half", "int8", ... of every input, then of every output.
        layouts: "linear", "chw32" or "hwc8", likewise.
        origin: of a reformat layer: "QDQ", "REFORMAT", "CONCAT", "IDENTITY".
        conv: the ONNX node of a convolution.
        copies: reformatted input -> the tensor it is a copy of.
    """

    name: str
    kind: str
    nodes: list[str]
    inputs: list[str]
    outputs: list[str]
    dtypes: list[str] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)
    origin: str = ""
    conv: onnx.NodeProto | None = None
    copies: dict[str, str] = field(default_factory=dict)


class Fuser:
    """Turns a graph into layers, as the optimiser would.

    Args:
        graph: a parsed model.
        half: weakly typed: whether floating point may become FP16; None: strongly typed, types as in the
            graph.
        release: of TensorRT.
    """

    def __init__(self, graph: Graph, half: bool | None, release: tuple[int, ...]) -> None:
        self.graph = graph
        self.half = half
        self.release = release
        self.taken: set[str] = set()
        self.layers: list[Layer] = []

    def dtype(self, tensor: str) -> str:
        kind = self.graph.kind(tensor)
        if kind == "int64" and self.release < (10,):  # there is none: the parser turns it into INT32
            return "int32"
        if self.half is None or kind not in ("float", "half"):
            return kind
        return "half" if self.half else "float"

    def run(self) -> list[Layer]:
        for node in self.graph.nodes:
            if node.output[0] not in self.taken:
                self._add(node)
        self._drop_unread()
        self._sort()
        self._choose_formats()
        return self._with_reformats()

    def _drop_unread(self) -> None:
        """Leave out the dequantizers whose tensor only quantized convolutions took."""
        read = {name for layer in self.layers for name in layer.inputs}
        read |= {output.name for output in self.graph.outputs}
        self.layers = [
            layer for layer in self.layers if layer.kind != "dequantize" or read & set(layer.outputs)
        ]

    def _sort(self) -> None:
        """Put every layer behind those whose tensors it reads: a fused residual may be made late."""
        waiting, sorted_layers = list(self.layers), []
        while waiting:
            missing = {output for layer in waiting for output in layer.outputs}
            layer = next(item for item in waiting if not missing & set(item.inputs))
            waiting.remove(layer)
            sorted_layers.append(layer)
        self.layers = sorted_layers

    def _add(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant" or self._is_weight(node):
            return
        if node.op_type in ("Conv", "ConvTranspose"):
            self._convolution(node)
        elif node.op_type == "QuantizeLinear":
            self._single(node, "quantize", "QDQ")
        elif node.op_type == "DequantizeLinear":
            self._single(node, "dequantize", "QDQ")
        elif node.op_type in POINTWISE:
            self._pointwise(node)
        elif node.op_type == "Concat":
            self._concat(node)
        else:
            self._single(node, node.op_type, "IDENTITY" if node.op_type in ("Cast", "Identity") else "")

    def _is_weight(self, node: onnx.NodeProto) -> bool:
        # The quantizers of a constant are folded into the layer that takes it.
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            return False
        source = node.input[0]
        if source in self.graph.producers and node.op_type == "DequantizeLinear":
            source = self.graph.producers[source].input[0]
        return source in self.graph.constants

    def _single(self, node: onnx.NodeProto, kind: str, origin: str = "") -> None:
        inputs = [i for i in node.input if i and i not in self.graph.constants]
        if kind in ("quantize", "dequantize"):
            inputs = inputs[:1]
        self._emit(Layer(node.name, kind, [node.name], inputs, [node.output[0]], origin=origin))

    def _emit(self, layer: Layer) -> None:
        self.layers.append(layer)
        self.taken.update(layer.outputs)

    def _quantized(self, conv: onnx.NodeProto) -> bool:
        return all(
            name in self.graph.producers and self.graph.producers[name].op_type == "DequantizeLinear"
            for name in conv.input[:2]
        )

    def _before_dequantize(self, tensor: str) -> str:
        producer = self.graph.producers.get(tensor)
        if producer is not None and producer.op_type == "DequantizeLinear":
            return producer.input[0]
        return tensor

    def _convolution(self, conv: onnx.NodeProto) -> None:
        quantized = self._quantized(conv)
        nodes, names = [conv.name], [conv.name]
        inputs = [self._before_dequantize(conv.input[0]) if quantized else conv.input[0]]
        if quantized:
            weight = self.graph.producers[conv.input[1]].input[0]
            names.insert(0, weight)
            if weight in self.graph.producers:
                quantizer = self.graph.producers[weight]
                names[:1] = [quantizer.input[0], quantizer.name]
                nodes.insert(0, quantizer.name)
        tail = conv.output[0]
        while True:
            users = self.graph.consumers.get(tail, [])
            if len(users) != 1 or tail in {o.name for o in self.graph.outputs}:
                break
            user = users[0]
            others = [i for i in user.input if i and i != tail]
            residual = user.op_type == "Add" and len(others) == 1 and others[0] not in self.graph.constants
            if (
                residual
                and quantized == self._is_dequantized(others[0])
                and not self._made_from(others[0], conv.output[0])
            ):
                inputs.append(self._before_dequantize(others[0]) if quantized else others[0])
            elif user.op_type == "Mul" and all(i in self.graph.constants for i in others):
                pass
            elif residual or user.op_type != "Relu":
                if quantized and user.op_type == "QuantizeLinear":
                    self.taken.add(user.output[0])
                    nodes.append(user.name)
                    tail = user.output[0]
                break
            self.taken.add(user.output[0])
            names.append(user.name)
            nodes.append(user.name)
            tail = user.output[0]
        self._emit(Layer(" + ".join(names), "conv", nodes, inputs, [tail], conv=conv))

    def _is_dequantized(self, tensor: str) -> bool:
        return self._before_dequantize(tensor) != tensor

    def _made_from(self, tensor: str, source: str) -> bool:
        """Whether `source` is needed to compute `tensor`."""
        waiting, seen = [tensor], set()
        while waiting:
            name = waiting.pop()
            if name == source:
                return True
            if name in self.graph.producers and name not in seen:
                seen.add(name)
                waiting.extend(self.graph.producers[name].input)
        return False

    def _pointwise(self, node: onnx.NodeProto) -> None:
        chain, tail = [node], node.output[0]
        while True:
            users = self.graph.consumers.get(tail, [])
            if len(users) != 1 or users[0].op_type not in POINTWISE:
                break
            if any(not self._available(i) for i in users[0].input if i and i != tail):
                break
            chain.append(users[0])
            tail = users[0].output[0]
        made = {output for n in chain for output in n.output}
        inputs = [i for n in chain for i in n.input if i and i not in made and i not in self.graph.constants]
        name = self._pointwise_name([n.name for n in chain])
        self.taken.update(made)
        self._emit(Layer(name, "pointwise", [n.name for n in chain], list(dict.fromkeys(inputs)), [tail]))

    def _available(self, tensor: str) -> bool:
        graph = self.graph
        return tensor in graph.constants or tensor in self.taken or tensor in {i.name for i in graph.inputs}

    def _pointwise_name(self, names: list[str]) -> str:
        if self.release >= (10, 13):
            return f"__myl_{''.join(n.rsplit('/', 1)[-1] for n in names)}_myl{len(self.layers)}_0"
        name = names[0]
        for other in names[1:]:
            name = f"PWN({name}, {other})"
        return name if name.startswith("PWN(") else f"PWN({name})"

    def _concat(self, node: onnx.NodeProto) -> None:
        # Every input is copied to its place.
        for name in node.input:
            layer = Layer(f"{name} copy", "copy", [node.name], [name], [node.output[0]], origin="CONCAT")
            self._emit(layer)

    def _choose_formats(self) -> None:
        for layer in self.layers:
            tensors = [*layer.inputs, *layer.outputs]
            layer.dtypes = [self.dtype(t) for t in tensors]
            if layer.kind == "conv":
                layer.layouts = [self._conv_layout(t) for t in tensors]
            elif layer.kind in ("quantize", "copy"):
                layer.layouts = ["any"] * len(layer.inputs) + [self._wished(layer.outputs[0])]
            elif layer.kind in ("dequantize", "pointwise"):
                layer.layouts = ["any"] * len(layer.inputs) + ["linear"]
            else:
                layer.layouts = ["linear"] * len(tensors)

    def _wished(self, tensor: str) -> str:
        """Layout that the convolutions behind a tensor want it in."""
        direct = self.graph.consumers.get(tensor, [])
        behind = [tensor, *(user.output[0] for user in direct if user.op_type == "DequantizeLinear")]
        users = [user for name in behind for user in self.graph.consumers.get(name, [])]
        return self._conv_layout(tensor) if any(user.op_type == "Conv" for user in users) else "linear"

    def _conv_layout(self, tensor: str) -> str:
        shape = self.graph.shape(tensor)
        if len(shape) != 4 or shape[1] <= 4:
            return "linear"
        return {"int8": "chw32", "half": "hwc8"}.get(self.dtype(tensor), "linear")

    def _with_reformats(self) -> list[Layer]:
        written: dict[str, tuple[str, str]] = {
            i.name: (self.dtype(i.name), "linear") for i in self.graph.inputs
        }
        result = []
        for layer in self.layers:
            for position, tensor in enumerate(layer.inputs):
                has = written.get(tensor, (layer.dtypes[position], "linear"))
                if layer.layouts[position] == "any":
                    layer.layouts[position] = has[1]
                wants = (layer.dtypes[position], layer.layouts[position])
                if has != wants:
                    copy = f"Reformatted Input Tensor {position} to {layer.name}"
                    name = f"Reformatting CopyNode for Input Tensor {position} to {layer.name}"
                    pairs = [list(pair) for pair in zip(has, wants)]
                    result.append(Layer(name, "reformat", [], [tensor], [copy], *pairs, origin="REFORMAT"))
                    layer.inputs[position] = copy
                    layer.copies[copy] = tensor
            result.append(layer)
            for tensor, dtype, layout in zip(
                layer.outputs, layer.dtypes[len(layer.inputs) :], layer.layouts[len(layer.inputs) :]
            ):
                written[tensor] = (dtype, layout)
        return result
