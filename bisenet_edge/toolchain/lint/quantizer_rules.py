"""Rules about quantizers themselves: their numbers, and how many stand on one tensor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from bisenet_edge.toolchain.lint.finding import ERROR, WARNING, Fault, Rule
from bisenet_edge.toolchain.lint.graph import DEQUANTIZE, QUANTIZE, Graph, Quantizer, attribute

# float16 numbers below 6.1e-5 are 6e-8 apart. Below this scale the rounding of the scale alone moves the
# largest weight, 127 steps, by half a step or more: 127 * 2**-25 / scale >= 0.5.
SMALLEST_FLOAT16_SCALE = 127 * 2.0**-24


def code_type(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        if quantizer.code_type != TensorProto.INT8:
            got = TensorProto.DataType.Name(quantizer.code_type).lower()
            yield Fault(
                graph.name(quantizer.node),
                f"its codes are {got}; TensorRT takes int8 and refuses this graph",
                "make the zero point an int8 0",
            )


def zero_point(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        zero = quantizer.zero_point
        if quantizer.code_type == TensorProto.INT8 and zero is not None and np.any(zero):
            got = zero.ravel()[np.flatnonzero(zero)[0]]
            yield Fault(
                graph.name(quantizer.node),
                f"its zero point is {got}; TensorRT quantizes symmetrically and refuses any but 0",
                "quantize symmetrically: zero point 0, scale = amax / 127",
            )


def pair_mismatch(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        for node in quantizer.dequantizers:
            if node is not quantizer.node and not _same_numbers(graph, quantizer.node, node):
                yield Fault(
                    graph.name(node),
                    "its scale, zero point or axis differs from that of the quantizer in front "
                    f"({quantizer.node.name}): what comes out is not the tensor rounded",
                    "let both read the same scale and zero point, along the same axis",
                )


def _same_numbers(graph: Graph, first: NodeProto, second: NodeProto) -> bool:
    for a, b in zip(first.input[1:], second.input[1:]):
        left, right = graph.value(a), graph.value(b)
        if a != b and (left is None or right is None or not np.array_equal(left, right)):
            return False
    scale = graph.value(first.input[1])
    per_tensor = scale is not None and scale.size == 1
    return per_tensor or attribute(first, "axis", 1) == attribute(second, "axis", 1)


def scale_value(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        scale = quantizer.scale
        if scale is None:
            problem = "is computed, not stored"
        elif not np.all(np.isfinite(scale)):
            problem = "is not finite"
        elif not np.all(scale > 0):
            problem = f"is {scale.min():g}, not above 0"
        else:
            continue
        yield Fault(
            graph.name(quantizer.node),
            f"its scale {problem}; TensorRT refuses it",
            "calibrate again: bisenet-edge export --int8",
        )


def scale_precision(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        scale = quantizer.scale
        if scale is None or scale.dtype != np.float16 or not np.all(scale > 0):
            continue
        # The largest: channels whose weights are far below the others' may be coarse, nobody sees them.
        largest = float(scale.max())
        if largest < SMALLEST_FLOAT16_SCALE:
            yield Fault(
                graph.name(quantizer.node),
                f"its scale {largest:.2g} is below what float16 holds precisely "
                f"({SMALLEST_FLOAT16_SCALE:.2g}): rounding it moves large values by more than half a step",
                "move a constant factor out of these weights into an operation of its own, as the network's "
                "input does with its division by 64",
            )


def weight_axis(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        if quantizer.role != "weights" or quantizer.scale is None or quantizer.scale.size == 1:
            continue
        assert quantizer.convolution is not None
        kind = quantizer.convolution.op_type
        right = 1 if kind == "ConvTranspose" else 0
        weights = graph.value(quantizer.source)
        if weights is not None and quantizer.axis % weights.ndim != right:
            yield Fault(
                graph.name(quantizer.node),
                f"its scales run along axis {quantizer.axis}, the output channels of a {kind} along "
                f"axis {right}; TensorRT refuses other axes",
                f"one scale per output channel: axis={right}",
            )


def activation_per_channel(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        if quantizer.role == "activation" and quantizer.scale is not None and quantizer.scale.size > 1:
            yield Fault(
                graph.name(quantizer.node),
                f"an activation with {quantizer.scale.size} scales; TensorRT takes one per tensor",
                "one scale for the tensor; where channels differ much, put the difference into the weights",
            )


def bias(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        if quantizer.role == "bias":
            yield Fault(
                graph.name(quantizer.node),
                "TensorRT wants a bias as a floating point constant; with Q/DQ the convolution is not fused",
                "leave the bias unquantized (ONNX Runtime's quantizer: QuantizeBias=False)",
            )


def double_quantization(graph: Graph) -> Iterator[Fault]:
    for quantizer in graph.quantizers:
        before = graph.producer(quantizer.source)
        if quantizer.node.op_type != QUANTIZE or before is None or before.op_type != DEQUANTIZE:
            continue
        same = _same_numbers(graph, before, quantizer.node)
        yield Fault(
            graph.name(quantizer.node),
            f"it stands right behind {before.name}: the tensor is quantized twice in a row"
            + (" with one scale, which changes nothing" if same else ", and TensorRT rescales it in between"),
            "remove one of the two pairs",
        )


def several_quantizers(graph: Graph) -> Iterator[Fault]:
    by_source: dict[str, list[Quantizer]] = {}
    for quantizer in graph.quantizers:
        if quantizer.role == "activation" and quantizer.node.op_type == QUANTIZE:
            by_source.setdefault(quantizer.source, []).append(quantizer)
    for group in by_source.values():
        if len(group) < 2:
            continue
        names = " and ".join(f"{q.node.name} (scale {_text(q)})" for q in group)
        yield Fault(
            graph.name(group[1].node),
            f"one tensor has {len(group)} quantizers, {names}: TensorRT writes it once for each",
            "one quantizer per tensor, shared by all that read it",
        )


def _text(quantizer: Quantizer) -> str:
    scale = quantizer.scale
    return f"{scale.item():.4g}" if scale is not None and scale.size == 1 else "per channel"


QUANTIZER_RULES = (
    Rule("code-type", ERROR, "codes of another type than int8", code_type),
    Rule("zero-point", ERROR, "an asymmetric quantizer: its zero point is not 0", zero_point),
    Rule("pair-mismatch", ERROR, "a Q and its DQ with different numbers", pair_mismatch),
    Rule("scale-value", ERROR, "a scale that is not a positive, finite constant", scale_value),
    Rule("scale-precision", WARNING, "a scale that float16 rounds too coarsely", scale_precision),
    Rule("weight-axis", ERROR, "weights whose scales do not run along the output channels", weight_axis),
    Rule("activation-per-channel", ERROR, "an activation with several scales", activation_per_channel),
    Rule("bias-quantized", ERROR, "Q/DQ on the bias of a convolution", bias),
    Rule("double-quantization", WARNING, "a quantizer right behind another", double_quantization),
    Rule("several-quantizers", WARNING, "a tensor with more than one quantizer", several_quantizers),
)
