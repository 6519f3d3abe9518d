"""First convolutions of a frame, as the graph contract has them, in all kinds of kernels and padding."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper
from toy_graph import Graph

SAME3, SAME5, SAME7 = [1] * 4, [2] * 4, [3] * 4
STRIDE2 = {
    "xception39": [(7, 2, SAME7, False), (3, 2, SAME3, True)],
    "resnet18": [(7, 2, SAME7, False), (7, 2, SAME7, True)],
    "one pixel": [(1, 2, [0] * 4, False)],
    "even kernels": [(2, 2, [0] * 4, False), (4, 2, [1] * 4, False), (6, 2, [2] * 4, True)],
    "uneven padding": [(3, 2, [0, 1, 1, 0], False), (3, 2, [0, 0, 1, 1], False), (5, 2, SAME5, False)],
}


def frame_of(hw, seed=0):
    frame = np.random.default_rng(seed).integers(0, 256, (*hw, 3)).astype(np.uint8)
    frame[0] = 0, 127, 255  # codes -128, -1 and 127
    return frame


def stems_graph(hw, stems, *, padded_hw=None, scale=1 / 64, mean=128, quantized=True):
    """Frame to "logits": stems (kernel, stride, pads, pool) that all read the quantized frame.

    `pads` are top, left, bottom and right; behind a stem come ReLU, perhaps a max pooling, and a convolution.
    """
    graph = Graph(quantized)
    graph.add("Cast", ["frame"], "float", to=TensorProto.FLOAT)
    x = graph.add("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])
    if padded_hw:
        down, right = padded_hw[0] - hw[0], padded_hw[1] - hw[1]
        ends = graph.constant("ends", np.array([0, 0, 0, 0, 0, 0, down, right], np.int64))
        x = graph.add("Pad", [x, ends, graph.constant("grey", np.float32(128))], "padded")
    graph.constant("mean", np.float32(mean))
    graph.constant("std", np.float32(1 / 64))
    x = graph.add("Mul", [graph.add("Sub", [x, "mean"], "centred"), "std"], "normalised")
    x = graph.quantize(x, scale)
    means = []
    for index, (kernel, stride, pads, pool) in enumerate(stems):
        raw = graph.conv(x, (24, 3), f"stem{index}", kernel=kernel, stride=stride)
        for name, value in (("pads", pads), ("kernel_shape", [kernel] * 2)):
            attributes = graph.nodes[-1].attribute
            del attributes[[a.name for a in attributes].index(name)]
            attributes.append(helper.make_attribute(name, value))
        y = graph.add("Relu", [raw], f"relu{index}")
        if pool:
            pooling = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
            y = graph.add("MaxPool", [y], f"pool{index}", **pooling)
        y = graph.conv(graph.quantize(y, 0.03), (6, 24), f"out{index}")
        means.append(graph.add("GlobalAveragePool", [y], f"mean{index}"))
    graph.add("Concat", means, "logits", axis=1)
    inputs = [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, *hw, 3])]
    outputs = [helper.make_empty_tensor_value_info("logits")]
    outputs[0].type.tensor_type.elem_type = TensorProto.FLOAT
    body = helper.make_graph(graph.nodes, "stems", inputs, outputs, graph.constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
