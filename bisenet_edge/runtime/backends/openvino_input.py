"""Give OpenVINO the frame as the INT8 tensor that the first convolutions read.

The graph takes uint8 [1, H, W, 3], subtracts 128 and quantizes with scale 1: the code of a pixel is its value
with the highest bit turned over. Inside OpenVINO (2026.4) that costs three passes over the picture: a
transposition, the quantizer, and a reorder back to pixels. Here the host turns the bit while it copies the
frame, and the graph begins with INT8 codes in the order in which its convolutions want them: no pass at all.

A convolution of 3 channels also leaves most of a matrix unit empty: a row of a 7x7 kernel is 21 numbers wide,
and the unit takes 64 at a time. Where all first convolutions have stride 2, each square of 2x2 pixels becomes
one pixel of 12 channels and the 7x7 kernel one of 4x4 with stride 1 ("space to depth"): 4 rows of 48 numbers
instead of 7 of 21. What a kernel gains by it are zeros, so all integer sums, and the masks, stay the same.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import cv2
import numpy as np

from bisenet_edge.runtime.backends.openvino_quantizers import QMAX_INT8, QMIN_INT8, constant

MIDDLE = 128
BLOCK = 2
"""Side of the squares of pixels that become one pixel."""
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
    shape = [1, height, width, channels]
    if blocks:
        shape = [1, height // BLOCK, width // BLOCK, channels * BLOCK * BLOCK]
    codes, planes = _codes_input(shape, constant(values, 1), frame.get_friendly_name())
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


class CodeWriter:
    """Writes frames into the input of a model that takes codes.

    Args:
        codes: int8 [1, H, W, 3] or [1, H/2, W/2, 12], memory of the request.
    """

    def __init__(self, codes: np.ndarray) -> None:
        _, height, width, channels = codes.shape
        self._blocks = channels != 3
        scale = BLOCK if self._blocks else 1
        self._hw = height * scale, width * scale
        self._bytes = codes[0].view(np.uint8)
        self._pairs = self._bytes.view(np.uint16) if self._blocks else None
        # What pads a frame up to the network's size: code 0.
        self._padded = np.full((*self._hw, 3), MIDDLE, np.uint8)

    def write(self, frame: np.ndarray) -> None:
        """Copy a frame, uint8 [h, w, 3], not larger than the input."""
        if frame.shape[:2] != self._hw or not frame.flags.c_contiguous:
            self._padded[: frame.shape[0], : frame.shape[1]] = frame
            frame = self._padded
        if self._pairs is None:
            np.bitwise_xor(frame, np.uint8(MIDDLE), out=self._bytes)
            return
        # Two pixels side by side are 6 bytes, three of 16 bits; those of two rows are merged.
        height, width = self._pairs.shape[:2]
        rows = frame.reshape(-1).view(np.uint16).reshape(height, BLOCK, width, 3)
        cv2.merge([rows[:, 0], rows[:, 1]], dst=self._pairs)
        np.bitwise_xor(self._bytes, np.uint8(MIDDLE), out=self._bytes)


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
    low, high = float(constant(quantizer, 1).ravel()[0]), float(constant(quantizer, 2).ravel()[0])
    ends = float(constant(quantizer, 3).ravel()[0]), float(constant(quantizer, 4).ravel()[0])
    factor = float(constant(known["Multiply"], 1).ravel()[0])
    exact = (
        ends == (float(QMIN_INT8), float(QMAX_INT8))
        and abs(low / factor - QMIN_INT8) < TOLERANCE
        and abs(high / factor - QMAX_INT8) < TOLERANCE
        and float(constant(known["Subtract"], 1).ravel()[0]) == MIDDLE
        and (not padded or float(constant(known["Pad"], 3).ravel()[0]) == MIDDLE)
        and bool((constant(chain[-2], 1) == 0).all())
        and constant(values, 1).size == 1
    )
    return values if exact else None


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
    weights = _weight_codes(consumer)
    if weights is None:
        return False
    padding = _padding_of_blocks(consumer, weights.shape[2:])
    return all(end >= 0 for end in padding[1])


def _weight_codes(convolution: Any) -> Optional[np.ndarray]:
    """int8 [O, I, k, k]; None where the weights are not quantized."""
    node = convolution.input_value(1).get_node()
    while node.get_type_name() in ("Multiply", "Subtract", "Convert"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or node.data.dtype != np.int8 or node.data.ndim != 4:
        return None
    return np.asarray(node.data)


def _padding_of_blocks(convolution: Any, kernel_hw: Tuple[int, ...]) -> Tuple[List[int], List[int]]:
    """Padding (begin, end) of the kernel over blocks, so that the output keeps its size."""
    before = [-(-pad // BLOCK) for pad in convolution.get_attributes()["pads_begin"]]
    sizes = _sizes_in_blocks(convolution, kernel_hw)
    inputs = convolution.input_value(0).get_shape()[2:]
    outputs = convolution.get_output_shape(0)[2:]
    after = [
        out - size // BLOCK - begin + kernel - 1
        for out, size, begin, kernel in zip(outputs, inputs, before, sizes)
    ]
    return before, after


def _sizes_in_blocks(convolution: Any, kernel_hw: Tuple[int, ...]) -> List[int]:
    pads = convolution.get_attributes()["pads_begin"]
    return [(size - 1 - pad) // BLOCK + -(-pad // BLOCK) + 1 for size, pad in zip(kernel_hw, pads)]


def _convolution_of_blocks(old: Any, planes: Any) -> Any:
    """The same convolution over squares of pixels.

    A tap at offset u from the output's first pixel falls into block u // 2, there on pixel u % 2.
    """
    from openvino import opset13

    codes = _weight_codes(old)
    assert codes is not None
    out_channels, channels = codes.shape[:2]
    pads = old.get_attributes()["pads_begin"]
    before, after = _padding_of_blocks(old, codes.shape[2:])
    sizes = _sizes_in_blocks(old, codes.shape[2:])
    taps = np.zeros((out_channels, BLOCK, BLOCK, channels, *sizes), np.int8)
    for y in range(codes.shape[2]):
        for x in range(codes.shape[3]):
            down, right = y - pads[0], x - pads[1]
            block = down // BLOCK + before[0], right // BLOCK + before[1]
            taps[:, down % BLOCK, right % BLOCK, :, block[0], block[1]] = codes[:, :, y, x]
    weights = opset13.constant(taps.reshape(out_channels, -1, *sizes))
    scale = constant(old.input_value(1).get_node(), 1).astype(np.float32).reshape(-1, 1, 1, 1)
    values = opset13.multiply(opset13.convert(weights, "f32"), opset13.constant(scale))
    new = opset13.convolution(planes, values, [1, 1], before, after, [1, 1])
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
