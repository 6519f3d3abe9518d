"""Faults planted into a real exported graph, each with the finding that it must give."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bisenet_edge.toolchain.lint.graph import Graph

ZERO = np.int8(0)


def copy_of(model):
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def at(model, path):
    """The one node at a path; "A > Relu" is the ReLU behind convolution A."""
    graph = Graph(model)
    (node,) = [n for n in graph.nodes if "Quantize" not in n.op_type and graph.path(n) == path]
    return node


def constant(model, name, value):
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def put_behind(model, tensor, nodes):
    """Into the list of nodes, behind the one that makes a tensor."""
    makers = [i for i, node in enumerate(model.graph.node) if tensor in node.output]
    for offset, node in enumerate(nodes, (makers[0] + 1) if makers else 0):
        model.graph.node.insert(offset, node)


def add_pair(model, tensor, readers, scale=0.02, zero=ZERO, name="planted"):
    """Q/DQ on a tensor, read by `readers` in its place."""
    numbers = [constant(model, f"{name}.scale", np.float32(scale)), constant(model, f"{name}.zero", zero)]
    pair = [
        helper.make_node("QuantizeLinear", [tensor, *numbers], [f"{name}.codes"], f"{name}/Q"),
        helper.make_node("DequantizeLinear", [f"{name}.codes", *numbers], [f"{name}.out"], f"{name}/DQ"),
    ]
    replace_input(readers, tensor, f"{name}.out")
    put_behind(model, tensor, pair)


def replace_input(readers, old, new):
    for node in readers:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def pair_of(model, tensor):
    """The QuantizeLinear and DequantizeLinear that a tensor comes from."""
    makers = {name: node for node in model.graph.node for name in node.output}
    dequantizer = makers[tensor]
    return makers[dequantizer.input[0]], dequantizer


def remove_pair(model, tensor):
    quantizer, dequantizer = pair_of(model, tensor)
    replace_input(model.graph.node, tensor, quantizer.input[0])
    model.graph.node.remove(quantizer)
    model.graph.node.remove(dequantizer)


def set_numbers(model, tensor, scale=None, zero=None, axis=None):
    """Other numbers for the pair that a tensor comes from."""
    for node in pair_of(model, tensor):
        for index, value in ((1, scale), (2, zero)):
            if value is not None:
                node.input[index] = f"planted.{index}"
        if axis is not None:
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("axis", axis))
    for index, value in ((1, scale), (2, zero)):
        if value is not None:
            constant(model, f"planted.{index}", value)


CONV = "spatial.conv2.conv"  # dense, 64 -> 64, alone behind spatial.conv1's ReLU
ADD = "backbone.stage8.1.branch.2.pointwise.conv > Add"
GATE = "arm32.gate.conv"


def double_quantization(model):
    add_pair(model, at(model, CONV).input[0], [at(model, CONV)])


def quantizer_before_relu(model):
    add_pair(model, at(model, CONV).output[0], [at(model, f"{CONV} > Relu")])


def quantizer_between_add_and_relu(model):
    add_pair(model, at(model, ADD).output[0], [at(model, f"{ADD} > Relu")])


def both_residual_operands(model):
    add = at(model, ADD)
    add_pair(model, add.input[0], [add])


def raw_identity(model):
    add = at(model, ADD)
    add.input[1] = pair_of(model, add.input[1])[0].input[0]


def raw_gate(model):
    product = at(model, "arm32.conv.conv > Relu > Mul")
    remove_pair(model, product.input[1])


def unequal_concat_scales(model):
    concat = at(model, "spatial.conv_out.conv > Relu > Concat")
    for number, tensor in enumerate(list(concat.input)):
        add_pair(model, tensor, [concat], scale=0.01 * (number + 1), name=f"planted{number}")


def several_quantizers(model):
    reader = at(model, "backbone.stage8.0.skip.depthwise")
    add_pair(model, pair_of(model, reader.input[0])[0].input[0], [])
    reader.input[0] = "planted.out"


def asymmetric_zero_point(model):
    set_numbers(model, at(model, CONV).input[0], zero=np.int8(3))


def unsigned_codes(model):
    set_numbers(model, at(model, CONV).input[0], zero=np.uint8(128))


def another_scale_in_dequantizer(model):
    _, dequantizer = pair_of(model, at(model, CONV).input[0])
    dequantizer.input[1] = constant(model, "planted", np.float32(0.5))


def scale_of_zero(model):
    set_numbers(model, at(model, CONV).input[0], scale=np.float32(0))


def negative_weight_scale(model):
    scale = np.full(64, 0.01, np.float32)
    scale[7] = -0.01
    set_numbers(model, at(model, CONV).input[1], scale=scale)


def infinite_scale(model):
    set_numbers(model, at(model, CONV).input[0], scale=np.float32(np.inf))


def weights_along_axis_1(model):
    set_numbers(model, at(model, CONV).input[1], axis=1)


def activation_per_channel(model):
    numbers = {"scale": np.full(64, 0.02, np.float32), "zero": np.zeros(64, np.int8)}
    set_numbers(model, at(model, CONV).input[0], **numbers, axis=1)


def quantized_bias(model):
    convolution = at(model, CONV)
    add_pair(model, convolution.input[2], [convolution])


def weights_missing(model):
    remove_pair(model, at(model, CONV).input[1])


def input_missing(model):
    remove_pair(model, at(model, CONV).input[0])


def both_missing(model):
    weights_missing(model)
    input_missing(model)


def batch_norm(model):
    relu = at(model, f"{CONV} > Relu")
    tensor = relu.input[0]
    numbers = [constant(model, f"bn{i}", np.ones(64, np.float32)) for i in range(4)]
    node = helper.make_node("BatchNormalization", [tensor, *numbers], ["bn"], "planted/BN")
    relu.input[0] = "bn"
    put_behind(model, tensor, [node])


def float_sigmoid(model):
    add_pair(model, at(model, GATE).output[0], [at(model, f"{GATE} > Sigmoid")])


def quantizer_for_nobody(model):
    add_pair(model, at(model, GATE).output[0], [])


def quantized_logits(model):
    add_pair(model, "logits", [at(model, "head.classifier > Resize")])


def quantized_upsampled_logits(model):
    add_pair(
        model,
        at(model, "head.classifier > Resize").output[0],
        [at(model, "head.classifier > Resize > ArgMax")],
    )


def float_frame(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def mask_by_another_name(model):
    replace_output(model, "mask", "labels")
    model.graph.output[0].name = "labels"


def no_logits(model):
    replace_output(model, "logits", "scores")
    replace_input(model.graph.node, "logits", "scores")


def replace_output(model, old, new):
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == old:
                node.output[index] = new


def newer_opset(model):
    model.opset_import[0].version = 18


RELU = "spatial.conv1.conv > Relu"
INPUT = f"{RELU} > QuantizeLinear (/core/quantize_spatial_conv1_relu/QuantizeLinear)"
WEIGHTS = f"weights of {CONV} (/core/conv_1/QuantizeLinear)"
PLANTED = "QuantizeLinear (planted/Q)"

FAULTS = {
    double_quantization: ("double-quantization", f"{RELU} > {PLANTED}"),
    quantizer_before_relu: ("quantizer-before-relu", f"{CONV} > {PLANTED}"),
    quantizer_between_add_and_relu: ("quantizer-before-relu", f"{ADD} > {PLANTED}"),
    both_residual_operands: ("residual-both-quantized", f"{ADD} (/core/Add_1)"),
    raw_identity: ("operand-not-quantized", f"{ADD} (/core/Add_1)"),
    raw_gate: ("operand-not-quantized", "arm32.conv.conv > Relu > Mul (/core/Mul_1)"),
    unequal_concat_scales: ("concat-scales", "spatial.conv_out.conv > Relu > Concat (/core/Concat_2)"),
    several_quantizers: (
        "several-quantizers",
        "backbone.stem.conv > Relu > MaxPool > QuantizeLinear (/core/quantize_backbone_pool/QuantizeLinear)",
    ),
    asymmetric_zero_point: ("zero-point", INPUT),
    unsigned_codes: ("code-type", INPUT),
    another_scale_in_dequantizer: (
        "pair-mismatch",
        f"{RELU} > DequantizeLinear (/core/quantize_spatial_conv1_relu/DequantizeLinear)",
    ),
    scale_of_zero: ("scale-value", INPUT),
    negative_weight_scale: ("scale-value", WEIGHTS),
    infinite_scale: ("scale-value", INPUT),
    weights_along_axis_1: ("weight-axis", WEIGHTS),
    activation_per_channel: ("activation-per-channel", INPUT),
    quantized_bias: ("bias-quantized", f"bias of {CONV} (planted/Q)"),
    weights_missing: ("weights-not-quantized", f"{CONV} (/core/conv_1/Conv)"),
    input_missing: ("input-not-quantized", f"{CONV} (/core/conv_1/Conv)"),
    both_missing: ("convolution-not-int8", f"{CONV} (/core/conv_1/Conv)"),
    batch_norm: ("batch-norm-not-folded", f"{CONV} > BatchNormalization (planted/BN)"),
    float_sigmoid: ("float-block", f"{GATE} > Sigmoid (/core/sigmoid/Sigmoid)"),
    quantizer_for_nobody: ("feeds-no-int8", f"{GATE} > DequantizeLinear (planted/DQ)"),
    quantized_logits: ("logits-quantized", f"head.classifier > {PLANTED}"),
    quantized_upsampled_logits: ("logits-quantized", f"head.classifier > Resize > {PLANTED}"),
    float_frame: ("graph-contract", "input frame"),
    mask_by_another_name: ("graph-contract", "output labels"),
    no_logits: ("graph-contract", "logits"),
    newer_opset: ("opset", "opset 18"),
}
