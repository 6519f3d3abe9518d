"""Write quantizers in the form that OpenVINO computes best, and as ONNX defines them.

TensorRT wants INT8 with zero point 0 everywhere, so half the codes of a tensor behind a ReLU are never
used. OpenVINO (2026.4 and before) turns such a tensor into uint8 with zero point 128, pays for the zero
point in every convolution, and gets a convolution behind a Concat of two such tensors wrong (its output
has a signal-to-noise ratio of 9 dB where the same convolution alone has 75 dB). Written as uint8 with
zero point 0 the values are the same numbers: same scale, same grid, and a clamp at 127 steps keeps the
saturation. Only sums of two tensors are left signed where the matrix unit computes (AMX): there the network
is a tenth faster with them than with the clamp, with VNNI alone up to a tenth slower.

It also divides a weight by the range instead of the scale, and a weight half-way between two codes falls to
the other side: 117 of the 3.6 million of the shipped network. Each of them moves a channel, and 60 layers
spread that: 98.8 % of the mask's pixels were those of the reference, with the right codes it is 99.05 %.
"""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

QMIN_INT8, QMAX_INT8, QMAX_UINT8 = -128, 127, 255
NON_NEGATIVE = ("Relu", "Sigmoid")
PASSES_ON = ("MaxPool", "Interpolate", "ReduceMean", "Convert", "FakeQuantize", "Multiply", "Concat", "Add")


def round_weights(model: Any) -> int:
    """Replace quantizers of constants by the codes that ONNX's QuantizeLinear gives, in place.

    Args:
        model: an `openvino.Model` read from our Q/DQ graph.

    Returns:
        how many tensors of weights there were.
    """
    from openvino import opset13

    found = 0
    for operation in model.get_ordered_ops():
        if operation.get_type_name() != "FakeQuantize":
            continue
        weight = operation.input_value(0).get_node()
        if weight.get_type_name() != "Constant":
            continue
        (convert,) = (target.get_node() for target in operation.output(0).get_target_inputs())
        values = np.asarray(weight.data, np.float32)
        scale = _dequantizing_scale(convert).astype(np.float32)
        steps = np.rint(values / scale)
        codes = opset13.constant(np.clip(steps, QMIN_INT8, QMAX_INT8).astype(np.int8))
        codes.set_friendly_name(convert.get_friendly_name())
        for consumer in list(convert.output(0).get_target_inputs()):
            consumer.replace_source_output(codes.output(0))
        found += 1
    model.validate_nodes_and_infer_types()
    return found


def _dequantizing_scale(codes: Any) -> np.ndarray:
    """Scale of the DequantizeLinear behind int8 codes, in a shape that fits the codes': Convert, Subtract,
    Multiply in OpenVINO.
    """
    node = _behind(codes, "Multiply")
    return constant(node, 1).reshape(list(node.input_value(1).get_shape()))


def _behind(node: Any, kind: str) -> Any:
    """The next operation of a kind on the chain behind a node."""
    while node.get_type_name() != kind:
        (target,) = node.output(0).get_target_inputs()
        node = target.get_node()
    return node


def quantize_before_pooling(model: Any) -> int:
    """Move max poolings behind the quantizer that follows them, in place.

    The code of a maximum is the maximum of the codes; the pooling then reads a quarter of the bytes, and the
    quantizer becomes part of the convolution in front of it.

    Args:
        model: an `openvino.Model` read from our Q/DQ graph.

    Returns:
        how many poolings were moved.
    """
    moved = 0
    for pooling in [o for o in model.get_ordered_ops() if o.get_type_name() == "MaxPool"]:
        # Who reads where the maxima were (unpooling) would find other places among equal codes.
        targets = [target for output in pooling.outputs() for target in output.get_target_inputs()]
        quantizer = targets[0].get_node()
        if len(targets) != 1 or quantizer.get_type_name() != "FakeQuantize":
            continue
        values = _behind(quantizer, "Multiply")
        consumers = list(values.output(0).get_target_inputs())
        quantizer.input(0).replace_source_output(pooling.input_value(0))
        pooling.input(0).replace_source_output(values.output(0))
        for consumer in consumers:
            consumer.replace_source_output(pooling.output(0))
        moved += 1
    model.validate_nodes_and_infer_types()
    return moved


def use_unsigned_codes(model: Any, *, signed_sums: bool = False) -> int:
    """Change the quantizers of non-negative tensors in place.

    Args:
        model: an `openvino.Model` read from our Q/DQ graph.
        signed_sums: leave residual sums behind a ReLU as they are: the same scale and saturation either way.

    Returns:
        how many quantizers were changed.
    """
    known: Dict[str, bool] = {}
    changed = 0
    for operation in model.get_ordered_ops():
        known[operation.get_friendly_name()] = _non_negative(operation, known)
        if operation.get_type_name() == "FakeQuantize" and _is_signed(operation):
            source = operation.input_value(0)
            if known[source.get_node().get_friendly_name()] and not (signed_sums and _is_sum(source)):
                _rewrite(operation)
                changed += 1
                known[operation.get_friendly_name()] = True
    model.validate_nodes_and_infer_types()
    return changed


def _is_sum(source: Any) -> bool:
    """Whether this is the ReLU of two added tensors; a bias is a constant."""
    relu = source.get_node()
    if relu.get_type_name() != "Relu":
        return False
    add = relu.input_value(0).get_node()
    return add.get_type_name() == "Add" and not any(
        value.get_node().get_type_name() == "Constant" for value in add.input_values()
    )


def _non_negative(operation: Any, known: Dict[str, bool]) -> bool:
    kind = operation.get_type_name()
    if kind in NON_NEGATIVE:
        return True
    if kind == "Constant":
        data = operation.data
        return bool(data.size and data.dtype.kind in "fiu" and (data >= 0).all())
    if kind == "Subtract":  # a dequantizer's zero point, which is 0
        return known[operation.input_value(0).get_node().get_friendly_name()] and not np.any(
            constant(operation, 1)
        )
    if kind not in PASSES_ON:
        return False
    inputs = (
        1 if kind in ("MaxPool", "Interpolate", "ReduceMean", "FakeQuantize") else operation.get_input_size()
    )
    return all(known[operation.input_value(i).get_node().get_friendly_name()] for i in range(inputs))


def constant(operation: Any, index: int) -> np.ndarray:
    """Value of a constant input, looked up through converts and reshapes; [nan] when it is not constant."""
    node = operation.input_value(index).get_node()
    while node.get_type_name() in ("Convert", "Reshape"):
        node = node.input_value(0).get_node()
    return np.asarray(node.data) if node.get_type_name() == "Constant" else np.array([np.nan])


def _is_signed(quantizer: Any) -> bool:
    # Per-tensor activations only: weights have one range per channel and a constant behind them.
    low, codes = constant(quantizer, 1), constant(quantizer, 3)
    return bool(low.size == 1 and codes.size == 1 and codes.ravel()[0] == QMIN_INT8)


def _rewrite(quantizer: Any) -> None:
    import openvino
    from openvino import opset13

    scale = float(constant(quantizer, 2).ravel()[0]) / QMAX_INT8
    clamped = _clamp(quantizer.input_value(0), QMAX_INT8 * scale)
    shape = list(quantizer.input_value(1).get_shape())
    ends = (0.0, QMAX_UINT8 * scale, 0.0, float(QMAX_UINT8))
    limits = [opset13.constant(np.full(shape, end, np.float32)) for end in ends]
    unsigned = opset13.fake_quantize(clamped, *limits, levels=256)
    unsigned.set_friendly_name(quantizer.get_friendly_name())
    for target in list(quantizer.output(0).get_target_inputs()):
        convert = target.get_node()
        codes = opset13.convert(unsigned, openvino.Type.u8)
        codes.set_friendly_name(convert.get_friendly_name())
        for consumer in list(convert.output(0).get_target_inputs()):
            consumer.replace_source_output(codes.output(0))


def _clamp(source: Any, limit: float) -> Any:
    from openvino import opset13

    node = source.get_node()
    if node.get_type_name() == "Concat":
        # Before the Concat, where it becomes part of the convolutions: after it, the Concat runs in FP32.
        axis = node.get_attributes()["axis"]
        return opset13.concat([_clamp(branch, limit) for branch in node.input_values()], axis)
    # A ReLU that feeds nothing else becomes the clamp itself: still one operation behind the convolution.
    if node.get_type_name() == "Relu" and len(source.get_target_inputs()) == 1:
        return opset13.clamp(node.input_value(0), 0.0, limit)
    return opset13.clamp(source, 0.0, limit)
