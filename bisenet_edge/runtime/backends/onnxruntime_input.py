"""Give ONNX Runtime the frame as the uint8 tensor that the first convolutions read.

As uint8 with zero point 128 the first quantizer's code of a pixel is the pixel. The cast, the normalisation
and the quantizer are five passes over the picture in FP32 that change nothing, and go. Where all first
convolutions have stride 2, they read squares of pixels (`pixel_blocks`).
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import numpy as np

from bisenet_edge.runtime.backends.pixel_blocks import BLOCK, MIDDLE, FirstConvolution, shape_of_blocks

FRAME = "frame"
CHAIN = ("Cast", "Transpose", "Pad", "Sub", "Mul", "QuantizeLinear")
TOLERANCE = 1e-5


def take_pixels(graph: Any) -> bool:
    """Let the first convolutions read the frame itself; in place.

    Args:
        graph: an `onnxruntime_lowering` graph whose quantizers are uint8.

    Returns:
        whether they do: the input is now uint8 [1, H, W, 3], padded to the network's size, or
        [1, H/2, W/2, 12]. Otherwise (no quantizer behind the frame, or another scale) it is as before.
    """
    chain = _chain_behind_frame(graph)
    if chain is None:
        return False
    height, width = _padded_hw(graph, chain)
    (values,) = graph.consumers(chain[-1].output[0])
    consumers = graph.consumers(values.output[0])
    over_blocks = [_over_blocks(graph, node, (height, width)) for node in consumers]
    blocks = all(over_blocks)
    for node, convolution in zip(consumers, over_blocks):
        if blocks and convolution is not None:
            _read_blocks(graph, node, convolution)
    shape = shape_of_blocks(height, width) if blocks else (height, width, 3)
    graph.nodes = [node for node in graph.nodes if all(node is not passed for passed in chain)]
    graph.nodes.insert(0, graph.onnx.helper.make_node("Transpose", [FRAME], ["pixels"], perm=[0, 3, 1, 2]))
    values.input[0] = "pixels"
    frame = graph.onnx.helper.make_tensor_value_info(FRAME, graph.onnx.TensorProto.UINT8, [1, *shape])
    graph.model.graph.input[0].CopyFrom(frame)
    return True


def _chain_behind_frame(graph: Any) -> Optional[List[Any]]:
    """The nodes from the frame to the first quantizer; None where its codes are not the pixels."""
    chain: List[Any] = []
    name = FRAME
    for kind in CHAIN:
        consumers = graph.consumers(name)
        if kind == "Pad" and consumers and consumers[0].op_type != kind:
            continue
        if len(consumers) != 1 or consumers[0].op_type != kind:
            return None
        chain.append(consumers[0])
        name = consumers[0].output[0]
    known = {node.op_type: node for node in chain}
    middles = [_number(graph, known["Sub"], 1), _number(graph, known["QuantizeLinear"], 2)]
    factor = _number(graph, known["Mul"], 1)
    exact = (
        middles == [MIDDLE, MIDDLE]
        and abs(factor - _number(graph, known["QuantizeLinear"], 1)) < TOLERANCE * factor
        and ("Pad" not in known or _pads_behind(graph, known["Pad"]))
        and len(graph.consumers(name)) == 1
    )
    return chain if exact else None


def _number(graph: Any, node: Any, place: int) -> float:
    """The number that a node reads; nan where it is none, or not the same for every channel."""
    name = node.input[place] if place < len(node.input) else ""
    value = graph.constants.get(name, np.empty(0)).ravel()
    return float(value[0]) if value.size and (value == value[0]).all() else float("nan")


def _pads_behind(graph: Any, pad: Any) -> bool:
    """Whether it puts the middle value below and to the right of the picture, as `FrameWriter` does."""
    pads = graph.constants.get(pad.input[1], np.empty(0))
    constant = all(attribute.s == b"constant" for attribute in pad.attribute if attribute.name == "mode")
    only_sides = pads.size == 8 and not np.any(pads[:6])
    return constant and only_sides and len(pad.input) == 3 and _number(graph, pad, 2) == MIDDLE


def _padded_hw(graph: Any, chain: List[Any]) -> Tuple[int, int]:
    size = [dim.dim_value for dim in graph.model.graph.input[0].type.tensor_type.shape.dim][1:3]
    for node in chain:
        if node.op_type == "Pad":
            ends = graph.constants[node.input[1]]
            size = [size[0] + int(ends[6]), size[1] + int(ends[7])]
    return size[0], size[1]


def _over_blocks(graph: Any, node: Any, hw: Tuple[int, int]) -> Optional[FirstConvolution]:
    """How a node would read squares of pixels; None where it cannot."""
    if node.op_type != "Conv" or hw[0] % BLOCK or hw[1] % BLOCK:
        return None
    has = {a.name: list(a.ints) for a in node.attribute if a.ints}
    if has.get("strides") != [BLOCK, BLOCK] or has.get("dilations", [1, 1]) != [1, 1]:
        return None
    if _weights_reader(graph, node) is None:
        return None
    kernel, pads = has["kernel_shape"], has.get("pads", [0, 0, 0, 0])
    output = [(hw[i] + pads[i] + pads[i + 2] - kernel[i]) // BLOCK + 1 for i in range(2)]
    convolution = FirstConvolution(kernel, pads[:2], hw, output)
    return convolution if convolution.possible else None


def _weights_reader(graph: Any, node: Any) -> Optional[Any]:
    """The (de)quantizer that reads a convolution's weights from a constant; None where there is none."""
    producers = graph.producers()
    reader = producers.get(node.input[1])
    while reader is not None and reader.input[0] not in graph.constants:
        reader = producers.get(reader.input[0])
    return reader


def _read_blocks(graph: Any, node: Any, convolution: FirstConvolution) -> None:
    reader = _weights_reader(graph, node)
    assert reader is not None
    name = reader.input[0]
    reader.input[0] = graph.constant(f"{name}_of_blocks", convolution.weights(graph.constants[name]))
    kept = [a for a in node.attribute if a.name not in ("kernel_shape", "strides", "pads")]
    changed = {
        "kernel_shape": convolution.kernel,
        "strides": [1, 1],
        "pads": [*convolution.before, *convolution.after],
    }
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(graph.onnx.helper.make_attribute(key, value) for key, value in changed.items())
