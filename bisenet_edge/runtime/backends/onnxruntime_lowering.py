"""Re-express a Q/DQ graph for the integer kernels of ONNX Runtime, when it is loaded.

TensorRT wants INT8 with zero point 0 everywhere. ONNX Runtime makes one integer kernel of a convolution,
its ReLU and the quantizers around it only where the ReLU is the lower end of the codes and the output is
quantized; as the file stands it fuses half of the convolutions, and INT8 is slower than FP32. Here every
quantizer becomes uint8 with the scale it has: zero point 0 where the tensor is never negative, 128
elsewhere. These are the same numbers on the same grid, and a clamp at code 127 keeps the saturation.

The clamp costs 4 % of the time. Without it codes reach 255, and where the file's ranges are exceeded the
masks become others: on a network whose tensors saturate in 0.1 to 1 % of their values 95.9 % of the pixels
were those of the reference, with it 99.9 %; on the shipped network and CamVid 98.3 and 98.4 %. A grid of 255
steps over the file's range would clamp for nothing, but it is another grid: 97.9 %.

Three things do change, and all less than quantizing does (mIoU within 0.1 points):

- A convolution that feeds a residual sum is quantized, over the part that the sum can use.
- So is one that feeds a sigmoid, over the part where the sigmoid is not flat.
- Biases are rounded to INT32 multiples of input scale x weight scale.

Full-size logits cost a fifth of the time, so the graph ends at `logits`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

import numpy as np

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.backends.onnxruntime_input import take_pixels

QMAX_INT8, QMIN_INT8, QMAX_UINT8 = 127, -128, 255
LOGITS = "logits"
NON_NEGATIVE = ("Relu", "Sigmoid")
PASSES_ON = ("MaxPool", "GlobalAveragePool", "Resize", "QuantizeLinear", "DequantizeLinear")
PASSES_ON_IF_ALL = ("Concat", "Add", "Mul")
COMMUTES = ("MaxPool", "Concat")
"""Quantizing before these gives the same codes as behind them."""
FLAT_SIGMOID = 5.55
"""Where a sigmoid is within half a step (1/127) of 0 or 1."""
ZERO, MIDDLE = "uint8_zero", "uint8_middle"
INT32_END = 2**31 - 1


def lower(path: Path) -> bytes:
    """Read a model file and re-express it.

    Args:
        path: "int8" or "fp32" model of an artifact; without quantizers only its end is cut off.

    Returns:
        an ONNX model: frame uint8 -> logits float32 [1, C, H/8, W/8]. The frame is [1, H, W, 3], or what
        `onnxruntime_input.take_pixels` makes of it.

    Raises:
        BackendError: the `onnx` package is missing, or the file is no graph made by export.
    """
    graph = _Graph(path)
    _cut_at_logits(graph)
    _use_unsigned_codes(graph)
    take_pixels(graph)
    _quantize_before(graph)
    _quantize_branches(graph)
    _clamp(graph)
    _round_biases(graph)
    return graph.serialize()


def ending_in_logits(path: Path) -> bytes:
    """Read a model file and cut its end off; nothing else is changed.

    Returns:
        an ONNX model: frame uint8 [1, H, W, 3] -> logits [1, C, h, w].

    Raises:
        BackendError: as `lower`.
    """
    graph = _Graph(path)
    _cut_at_logits(graph)
    return graph.serialize()


class _Graph:
    """An ONNX graph that is being edited.

    Attributes:
        nodes: in topological order.
        constants: initializers by name, as arrays.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnx
            from google.protobuf.message import DecodeError
        except ModuleNotFoundError as error:
            raise BackendError(
                "ONNX Runtime needs the package 'onnx' to edit a graph before it runs it",
                got=f"no module '{error.name}'",
                fix="pip install onnx   (or, for masks, --backend reference: the graph as it stands, slow)",
            ) from error
        self.onnx = onnx
        try:
            self.model = onnx.load_model_from_string(path.read_bytes())
        except DecodeError as error:
            raise BackendError("ONNX Runtime refuses a model", got=f"{path}: {error}") from error
        if not self.model.graph.node:
            raise BackendError("ONNX Runtime refuses a model", got=f"{path}: no graph in it")
        self.nodes: List[Any] = list(self.model.graph.node)
        self.constants: Dict[str, np.ndarray] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer
        }

    def producers(self) -> Dict[str, Any]:
        return {output: node for node in self.nodes for output in node.output}

    def consumers(self, name: str) -> List[Any]:
        return [node for node in self.nodes if name in node.input]

    def constant(self, name: str, value: np.ndarray) -> str:
        if name not in self.constants:
            self.constants[name] = value
            self.model.graph.initializer.append(self.onnx.numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: List[str], output: str, **attributes: int) -> Any:
        return self.onnx.helper.make_node(kind, inputs, [output], name=f"{output}_{kind}", **attributes)

    def insert_behind(self, name: str, added: List[Any]) -> None:
        """Insert nodes right behind the one that gives tensor `name`."""
        at = next(index for index, node in enumerate(self.nodes) if name in node.output)
        self.nodes[at + 1 : at + 1] = added

    def quantize(self, name: str, scale: str, zero_point: str, consumer: Any) -> None:
        """Put a quantizer and a dequantizer between tensor `name` and one of its consumers."""
        codes, values = f"{name}_{consumer.name}_codes", f"{name}_{consumer.name}_values"
        self.insert_behind(
            name,
            [
                self.node("QuantizeLinear", [name, scale, zero_point], codes),
                self.node("DequantizeLinear", [codes, scale, zero_point], values),
            ],
        )
        consumer.input[:] = [values if source == name else source for source in consumer.input]

    def serialize(self) -> bytes:
        graph = self.model.graph
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        for field, content in ((graph.node, self.nodes), (graph.initializer, kept), (graph.value_info, [])):
            del field[:]
            field.extend(content)
        return bytes(self.model.SerializeToString())


def _cut_at_logits(graph: _Graph) -> None:
    producers = graph.producers()
    if LOGITS not in producers:
        raise BackendError(
            "a model has no tensor named 'logits'",
            expected="a graph made by bisenet-edge export",
            fix="export it again",
        )
    wanted: Set[str] = set()
    ahead = [LOGITS]
    while ahead:
        node = producers.get(ahead.pop())
        if node is not None and node.output[0] not in wanted:
            wanted.add(node.output[0])
            ahead.extend(node.input)
    graph.nodes = [node for node in graph.nodes if node.output[0] in wanted]
    output = graph.onnx.helper.make_tensor_value_info(LOGITS, graph.onnx.TensorProto.FLOAT, None)
    del graph.model.graph.output[:]
    graph.model.graph.output.append(output)


def _use_unsigned_codes(graph: _Graph) -> None:
    """Activations only: weights stay INT8, one scale per channel."""
    graph.constant(ZERO, np.array(0, np.uint8))
    graph.constant(MIDDLE, np.array(-QMIN_INT8, np.uint8))
    known = {name: bool((value >= 0).all()) for name, value in graph.constants.items()}
    for node in graph.nodes:
        non_negative = _non_negative(node, known)
        known.update(dict.fromkeys(node.output, non_negative))
        if node.op_type == "QuantizeLinear" and node.input[0] not in graph.constants:
            node.input[2] = ZERO if non_negative else MIDDLE
            for dequantizer in graph.consumers(node.output[0]):
                dequantizer.input[2] = node.input[2]


def _dequantized(producers: Dict[str, Any], name: str) -> bool:
    return name in producers and producers[name].op_type == "DequantizeLinear"


def _non_negative(node: Any, known: Dict[str, bool]) -> bool:
    if node.op_type in PASSES_ON:
        return known.get(node.input[0], False)
    if node.op_type in PASSES_ON_IF_ALL:
        return all(known.get(name, False) for name in node.input)
    return node.op_type in NON_NEGATIVE


def _quantize_before(graph: _Graph) -> None:
    """Quantize the inputs of a max pooling or a concat too, where they are outputs of convolutions."""
    producers = graph.producers()
    for quantizer in [node for node in graph.nodes if node.op_type == "QuantizeLinear"]:
        node = producers.get(quantizer.input[0])
        if node is not None and _moves_in_front(graph, node):
            for name in list(node.input):
                graph.quantize(name, quantizer.input[1], quantizer.input[2], node)


def _moves_in_front(graph: _Graph, node: Any) -> bool:
    """Whether a node may work on codes: nothing else reads its values (as unpooling would)."""
    readers = graph.consumers(node.output[0])
    return node.op_type in COMMUTES and all(reader.op_type == "QuantizeLinear" for reader in readers)


def _clamp(graph: _Graph) -> None:
    """Keep the codes of the file's quantizers below 128."""
    producers = graph.producers()
    limit = graph.constant("uint8_limit", np.array(QMAX_INT8, np.uint8))
    for quantizer in [n for n in graph.nodes if n.op_type == "QuantizeLinear" and n.input[2] == ZERO]:
        node = producers.get(quantizer.input[0])
        if node is not None and _moves_in_front(graph, node):
            continue  # its inputs are clamped
        codes = quantizer.output[0]
        quantizer.output[0] = f"{codes}_unclamped"
        graph.insert_behind(
            quantizer.output[0], [graph.node("Clip", [quantizer.output[0], "", limit], codes)]
        )


def _quantize_branches(graph: _Graph) -> None:
    """Quantize what the file leaves in floating point of the outputs of quantized convolutions."""
    producers = graph.producers()
    for node in [node for node in graph.nodes if node.op_type == "Conv"]:
        output = node.output[0]
        if not all(_dequantized(producers, name) for name in node.input[:2]):
            continue  # a block that was kept in floating point
        consumers = graph.consumers(output)
        if len(consumers) != 1:
            continue
        if consumers[0].op_type == "Sigmoid":
            low, high = -FLAT_SIGMOID, FLAT_SIGMOID
        elif consumers[0].op_type == "Add":
            low, high = _of_use_to_the_sum(graph, producers, output, consumers[0])
        else:
            continue
        if low < high:
            step = (high - low) / QMAX_UINT8
            scale = graph.constant(f"{output}_scale", np.array(step, np.float32))
            zero_point = graph.constant(f"{output}_zero", np.array(round(-low / step), np.uint8))
            graph.quantize(output, scale, zero_point, consumers[0])


def _of_use_to_the_sum(
    graph: _Graph, producers: Dict[str, Any], name: str, addition: Any
) -> Tuple[float, float]:
    """What part of a summand's range can move a code of the quantized sum; (0, 0) where that is not known.

    Beyond it the sum is at an end of its range whatever the other summand is.
    """
    other = producers.get(next((source for source in addition.input if source != name), ""))
    behind = graph.consumers(addition.output[0])
    if behind and behind[0].op_type == "Relu":
        behind = graph.consumers(behind[0].output[0])
    quantized = [node for node in behind if node.op_type == "QuantizeLinear"]
    if other is None or other.op_type != "DequantizeLinear" or not quantized:
        return 0.0, 0.0
    other_low, other_high = _range(graph, other)
    sum_low, sum_high = _range(graph, quantized[0])
    return sum_low - other_high, sum_high - other_low


def _range(graph: _Graph, node: Any) -> Tuple[float, float]:
    """Least and largest value of a quantizer or dequantizer in the file's INT8."""
    scale = float(graph.constants[node.input[1]])
    return (0.0 if node.input[2] == ZERO else QMIN_INT8 * scale), QMAX_INT8 * scale


def _round_biases(graph: _Graph) -> None:
    producers = graph.producers()
    for node in [node for node in graph.nodes if node.op_type == "Conv" and len(node.input) > 2]:
        operands = node.input[:2]
        if node.output[0] == LOGITS or not all(_dequantized(producers, name) for name in operands):
            continue
        scales = [graph.constants[producers[name].input[1]] for name in operands]
        bias = f"{node.output[0]}_bias"  # exporters let convolutions share equal ones; their scales differ
        step = np.asarray(scales[0] * scales[1], np.float32)
        codes = np.rint(graph.constants[node.input[2]].astype(np.float64) / step)
        if np.abs(codes).max() > INT32_END:
            continue  # a channel that is all but dead: this convolution stays in floating point
        inputs = [
            graph.constant(f"{bias}_codes", codes.astype(np.int32)),
            graph.constant(f"{bias}_scale", step),
            graph.constant(f"{bias}_zero", np.zeros(step.shape, np.int32)),
        ]
        graph.nodes.insert(0, graph.node("DequantizeLinear", inputs, f"{bias}_values", axis=0))
        node.input[2] = f"{bias}_values"
