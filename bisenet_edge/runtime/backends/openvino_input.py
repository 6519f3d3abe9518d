"""Give OpenVINO the frame as the INT8 tensor that the first convolutions read.

The graph takes uint8 [1, H, W, 3], subtracts 128 and quantizes with scale 1: the code of a pixel is its value
with the highest bit turned over. Inside OpenVINO (2026.4) that costs three passes over the picture: a
transposition, the quantizer, and a reorder back to pixels. Here the host turns the bit while it copies the
frame, and the graph begins with INT8 codes in the order in which its convolutions want them: no pass at all.

Where all first convolutions have stride 2, they read squares of pixels (`pixel_blocks`). All integer sums and
the masks stay the same.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import numpy as np

from bisenet_edge.runtime.backends.openvino_quantizers import QMAX_INT8, QMIN_INT8, constant
from bisenet_edge.runtime.backends.pixel_blocks import BLOCK, MIDDLE, FirstConvolution, shape_of_blocks

TOLERANCE = 1e-5


def take_codes(model: Any) -> bool:
    """Let a quantized model take INT8 codes, uint8 minus 128, in place of the frame; in place.

    Args:
        model: an `openvino.Model` read from our Q/DQ graph, its weights rounded to codes.

    Returns:
        whether it does: its input is now int8 [1, H, W, 3], or [1, H/2, W/2, 12] where every convolution of
        the frame has stride 2. Otherwise (no quantizer behind the frame, or another scale) it is as before.
    """
    frame = model.get_parameters()[0]
    values = _dequantized_frame(frame)
    if values is None:
        return False
    _, channels, height, width = values.get_output_shape(0)
    consumers = list(values.output(0).get_target_inputs())
    blocks = all(_can_take_blocks(target.get_node(), height, width) for target in consumers)
    shape = shape_of_blocks(height, width) if blocks else (height, width, channels)
    codes, planes = _codes_input([1, *shape], constant(values, 1), frame.get_friendly_name())
    for target in consumers:
        if not blocks:
            target.replace_source_output(planes.output(0))
            continue
        old = target.get_node()
        new = _convolution_of_blocks(old, planes)
        for behind in list(old.output(0).get_target_inputs()):
            behind.replace_source_output(new.output(0))
    model.add_parameters([codes])
    model.remove_parameter(frame)
    model.validate_nodes_and_infer_types()
    return True


def _dequantized_frame(frame: Any) -> Optional[Any]:
    """The operation that gives what the first convolutions read; None where its codes are not uint8 - 128."""
    chain = _chain_behind(frame)
    kinds = [operation.get_type_name() for operation in chain]
    padded = "Pad" in kinds
    expected = ["Convert", "Transpose", *["Pad"] * padded, "Subtract", "Multiply", "FakeQuantize"]
    if kinds != [*expected, "Convert", "Convert", "Subtract", "Multiply"]:
        return None
    known = dict(zip(expected, chain))
    quantizer, values = known["FakeQuantize"], chain[-1]
    low, high, *ends = (_number(quantizer, place) for place in range(1, 5))
    factor = _number(known["Multiply"], 1)
    exact = (
        ends == [float(QMIN_INT8), float(QMAX_INT8)]
        and abs(low - QMIN_INT8 * factor) < TOLERANCE * factor
        and abs(high - QMAX_INT8 * factor) < TOLERANCE * factor
        and _number(known["Subtract"], 1) == MIDDLE
        and (not padded or _pads_behind(known["Pad"]))
        and constant(values, 1).size == 1
        and not np.any(constant(chain[-2], 1))
    )
    return values if exact else None


def _number(operation: Any, place: int) -> float:
    """The number that an operation reads; nan where it is none, or not the same for every channel."""
    value = constant(operation, place).ravel()
    return float(value[0]) if (value == value[0]).all() else float("nan")


def _pads_behind(pad: Any) -> bool:
    """Whether it puts the middle value below and to the right of the picture, as `FrameWriter` does."""
    only_sides = not np.any(constant(pad, 1)) and not np.any(constant(pad, 2)[:2])
    return only_sides and pad.get_attributes()["pad_mode"] == "constant" and _number(pad, 3) == MIDDLE


def _chain_behind(frame: Any) -> List[Any]:
    """Operations from the frame on, up to the second Multiply or the first fork."""
    chain: List[Any] = []
    node = frame
    while sum(operation.get_type_name() == "Multiply" for operation in chain) < 2:
        targets = list(node.output(0).get_target_inputs())
        if len(targets) != 1:
            break
        node = targets[0].get_node()
        chain.append(node)
    return chain


def _can_take_blocks(consumer: Any, height: int, width: int) -> bool:
    if consumer.get_type_name() != "Convolution" or height % BLOCK or width % BLOCK:
        return False
    attributes = consumer.get_attributes()
    if attributes["strides"] != [BLOCK, BLOCK] or attributes["dilations"] != [1, 1]:
        return False
    return _weight_codes(consumer) is not None and _over_blocks(consumer).possible


def _weight_codes(convolution: Any) -> Optional[np.ndarray]:
    """int8 [O, I, k, k]; None where the weights are not quantized."""
    node = convolution.input_value(1).get_node()
    while node.get_type_name() in ("Multiply", "Subtract", "Convert"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or node.data.dtype != np.int8 or node.data.ndim != 4:
        return None
    return np.asarray(node.data)


def _over_blocks(convolution: Any) -> FirstConvolution:
    return FirstConvolution(
        convolution.input_value(1).get_shape()[2:],
        convolution.get_attributes()["pads_begin"],
        convolution.input_value(0).get_shape()[2:],
        convolution.get_output_shape(0)[2:],
    )


def _convolution_of_blocks(old: Any, planes: Any) -> Any:
    from openvino import opset13

    codes, over_blocks = _weight_codes(old), _over_blocks(old)
    assert codes is not None
    weights = opset13.convert(opset13.constant(over_blocks.weights(codes)), "f32")
    scale = constant(old.input_value(1).get_node(), 1).astype(np.float32).reshape(-1, 1, 1, 1)
    values = opset13.multiply(weights, opset13.constant(scale))
    new = opset13.convolution(planes, values, [1, 1], over_blocks.before, over_blocks.after, [1, 1])
    new.set_friendly_name(old.get_friendly_name())
    return new


def _codes_input(shape: List[int], scale: np.ndarray, name: str) -> Tuple[Any, Any]:
    """A parameter of codes in the order of pixels, and the values that they stand for in planes."""
    import openvino
    from openvino import opset13

    codes = opset13.parameter(shape, openvino.Type.i8, name=name)
    codes.output(0).get_tensor().set_names({name})
    factor = opset13.constant(np.full((1, 1, 1, 1), float(scale.ravel()[0]), np.float32))
    # In this order OpenVINO takes the multiplication for a dequantizer, and the transposition, which is then
    # of codes, for a description of the memory.
    values = opset13.multiply(opset13.convert(codes, "f32"), factor)
    return codes, opset13.transpose(values, opset13.constant(np.array([0, 3, 1, 2])))
