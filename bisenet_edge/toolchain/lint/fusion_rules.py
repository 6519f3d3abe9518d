"""Rules about where quantizers stand: what TensorRT fuses, and what it must convert in between."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto

from bisenet_edge.toolchain.lint.finding import ERROR, WARNING, Fault, Rule
from bisenet_edge.toolchain.lint.graph import QUANTIZE, Graph, Quantizer
from bisenet_edge.toolchain.lint.structure import (
    ACTIVATIONS,
    activation_dequantizers,
    convolution_behind,
    on_logits,
    quantizer_behind,
    reach,
    split_from,
)


def convolution_float(graph: Graph) -> Iterator[Fault]:
    for node in _float_convolutions(graph):
        if not _has_input(graph, node) and not _has_weights(graph, node):
            yield Fault(
                graph.name(node),
                f"neither its input ({_origin(graph, node)}) nor its weights are quantized: it runs in "
                f"floating point{_borders(graph, node)}",
                "Q/DQ on both; what is float on purpose stands in the manifest, calibration.keep_float",
            )


def input_float(graph: Graph) -> Iterator[Fault]:
    for node in _float_convolutions(graph):
        if not _has_input(graph, node) and _has_weights(graph, node):
            yield Fault(
                graph.name(node),
                f"its input ({_origin(graph, node)}) has no quantizer, so it runs in floating point "
                f"although its weights are INT8{_borders(graph, node)}",
                f"Q/DQ on {node.input[0]}",
            )


def weights_float(graph: Graph) -> Iterator[Fault]:
    for node in _float_convolutions(graph):
        if _has_input(graph, node) and not _has_weights(graph, node):
            yield Fault(
                graph.name(node),
                f"its weights ({node.input[1]}) have no quantizer, so it runs in floating point although "
                f"its input is INT8{_borders(graph, node)}",
                "Q/DQ on the weights, one scale per output channel",
            )


def quantizer_before_relu(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        before = graph.producer(quantizer.source)
        for relu in split_from(graph, quantizer):
            assert before is not None
            yield Fault(
                graph.name(quantizer.node),
                f"it stands between {graph.path(before)} ({before.name}) and its {relu.op_type} "
                f"({relu.name}): they are not fused, and half the codes go to values that the "
                f"{relu.op_type} throws away",
                f"quantize behind the {relu.op_type}",
            )


def batch_norm(graph: Graph) -> Iterator[Fault]:
    for node in graph.nodes:
        if node.op_type == "BatchNormalization":
            yield Fault(
                graph.name(node),
                "batch normalisation of its own: the weights were quantized without it, and it runs in "
                "floating point unless TensorRT can fuse it",
                "fold it into the convolution before the weights are quantized",
            )


def residual_both(graph: Graph) -> Iterator[Fault]:
    for add in _elementwise(graph, "Add"):
        sources = [_source(graph, name) for name in graph.operands(add)]
        branches = [convolution_behind(graph, source) for source in sources if source]
        found = [branch for branch in branches if branch is not None]
        if all(sources) and found:
            told = " and ".join(graph.path(branch) for branch in found)
            yield Fault(
                graph.name(add),
                f"both operands are quantized, also what comes straight from {told}: TensorRT cannot fuse "
                "this convolution with the add, which becomes a kernel of its own",
                "quantize the identity operand only; let the branch's convolution go in raw",
            )


def operand_float(graph: Graph) -> Iterator[Fault]:
    for node in (*_elementwise(graph, "Add"), *_elementwise(graph, "Mul")):
        operands = graph.operands(node)
        raw = [name for name in operands if graph.dequantizer(name) is None]
        # One convolution (with its ReLU, as ModelOpt leaves it) may go raw into an add: TensorRT fuses them.
        fused = [
            name for name in raw if node.op_type == "Add" and convolution_behind(graph, name, ACTIVATIONS)
        ]
        left = [name for name in raw if name not in fused[:1]]
        if left and len(left) < len(operands):
            yield Fault(
                graph.name(node),
                f"its operand {left[0]} is not quantized while the other is INT8 or the output of a "
                "convolution: it runs in floating point, with a reformat",
                f"Q/DQ on {left[0]}",
            )


def concat_scales(graph: Graph) -> Iterator[Fault]:
    for node in graph.nodes:
        if node.op_type != "Concat":
            continue
        inputs = [quantizer_behind(graph, name) for name in graph.operands(node)]
        behind = [graph.quantizer_of(reader) for reader in graph.readers(node) if reader.op_type == QUANTIZE]
        quantizers = [q for q in inputs if q is not None]
        scales = [_scale(q) for q in (*quantizers, *behind) if q is not None]
        if quantizers and len(set(scales)) > 1:
            told = ", ".join(f"{scale:.4g}" for scale in scales)
            yield Fault(
                graph.name(node),
                f"the scales of its inputs and of what follows differ ({told}): each branch is rescaled "
                "before it is joined",
                "one quantizer behind the concat and none in front, or one scale for all",
            )


def float_block(graph: Graph) -> Iterator[Fault]:
    told: set[str] = set()
    for dequantizer in activation_dequantizers(graph):
        found = reach(graph, dequantizer)
        if found.floats and found.exits and found.floats[0].output[0] not in told:
            told.add(found.floats[0].output[0])
            names = ", ".join(f"{node.op_type} ({node.name})" for node in found.floats)
            yield Fault(
                graph.name(found.floats[0]),
                f"floating point between two INT8 tensors: {names}. TensorRT reformats in front "
                f"({dequantizer.name}) and behind ({found.exits[0].name})",
                "quantize only behind it, or move it in front of the first quantizer",
            )


def feeds_no_int8(graph: Graph) -> Iterator[Fault]:
    for dequantizer in activation_dequantizers(graph):
        found = reach(graph, dequantizer)
        if not found.int8 and not found.exits:
            names = ", ".join(reader.name for reader in graph.readers(dequantizer)) or "nothing"
            yield Fault(
                graph.name(dequantizer),
                f"a quantized tensor that only floating point reads ({names}): rounding and a reformat "
                "without gain",
                "remove this Q/DQ pair",
            )


def logits(graph: Graph) -> Iterator[Fault]:
    for quantizer in on_logits(graph):
        yield Fault(
            graph.name(quantizer.node),
            "it rounds the logits: near classes become equal, and the mask is no longer the network's",
            "leave the classifier's output and its up-sampling in floating point",
        )


def _float_convolutions(graph: Graph) -> Iterator[NodeProto]:
    if graph.quantizers:  # a graph without any has one finding of its own
        yield from (n for n in graph.convolutions if not graph.is_int8(n) and not graph.is_kept(n))


def _has_input(graph: Graph, convolution: NodeProto) -> bool:
    return graph.dequantizer(convolution.input[0]) is not None


def _has_weights(graph: Graph, convolution: NodeProto) -> bool:
    return graph.dequantizer(convolution.input[1]) is not None


def _origin(graph: Graph, convolution: NodeProto) -> str:
    producer = graph.producer(convolution.input[0])
    return f"from {graph.path(producer)}" if producer is not None else convolution.input[0]


def _borders(graph: Graph, convolution: NodeProto) -> str:
    """Where a float convolution leaves INT8 and returns to it, as a clause."""
    entry = graph.dequantizer(convolution.input[0])
    exits = reach(graph, convolution).exits
    told = [f"in front ({entry.name})"] if entry is not None else []
    told += [f"behind ({exits[0].name})"] if exits else []
    return f", with a reformat {' and '.join(told)}" if told else ""


def _elementwise(graph: Graph, kind: str) -> list[NodeProto]:
    """The nodes of a kind that join two computed tensors, but for those of blocks kept in floats."""
    nodes = [node for node in graph.nodes if node.op_type == kind and len(graph.operands(node)) == 2]
    return [node for node in nodes if graph.quantizers and not graph.is_kept(node)]


def _source(graph: Graph, tensor: str) -> str:
    """The tensor that was quantized into this one; "" when it does not come from a quantizer."""
    quantizer = quantizer_behind(graph, tensor)
    return "" if quantizer is None else quantizer.source


def _scale(quantizer: Quantizer) -> float:
    return float("nan") if quantizer.scale is None else float(quantizer.scale.ravel()[0])


FUSION_RULES = (
    Rule("convolution-not-int8", ERROR, "a convolution without Q/DQ on input and weights", convolution_float),
    Rule("input-not-quantized", ERROR, "a convolution without Q/DQ on its input", input_float),
    Rule("weights-not-quantized", ERROR, "a convolution without Q/DQ on its weights", weights_float),
    Rule(
        "quantizer-before-relu",
        WARNING,
        "a quantizer between convolution or add and ReLU",
        quantizer_before_relu,
    ),
    Rule("batch-norm-not-folded", WARNING, "batch normalisation left in the graph", batch_norm),
    Rule("residual-both-quantized", WARNING, "an add whose branch operand is quantized too", residual_both),
    Rule("operand-not-quantized", WARNING, "an add or product with one operand in floats", operand_float),
    Rule("concat-scales", WARNING, "a concat of tensors with unequal scales", concat_scales),
    Rule("float-block", WARNING, "floating point operators between two INT8 tensors", float_block),
    Rule("feeds-no-int8", WARNING, "a quantized tensor that no INT8 operator reads", feeds_no_int8),
    Rule("logits-quantized", ERROR, "a quantizer on the classifier's output or behind it", logits),
)
