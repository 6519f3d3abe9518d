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


IMAGENET = np.array([103.53, 116.28, 123.675], np.float32).reshape(1, 3, 1, 1)
BLUE_IN_THE_MIDDLE = np.array([128, 116, 124], np.float32).reshape(1, 3, 1, 1)
NOT_THE_PIXELS = {
    "another scale": {"scale": 1 / 50},
    "another mean": {"mean": 127},
    "means of an import": {"mean": IMAGENET},
    "the first mean is 128": {"mean": BLUE_IN_THE_MIDDLE},
    "deviations of an import": {"std": np.array([57.4, 57.1, 58.4], np.float32).reshape(1, 3, 1, 1)},
    "the first deviation is 64": {"std": np.array([64, 57.1, 58.4], np.float32).reshape(1, 3, 1, 1)},
    "padded with black": {"grey": 0},
    "padded above": {"before": (2, 0)},
    "padded to the left": {"before": (0, 3)},
    "mirrored": {"mode": "reflect"},
    "floating point": {"quantized": False},
}
"""Graphs that an engine must take as they are; all padded from 27x41 to 32x48."""


def stems_graph(hw, stems, *, padded_hw=None, scale=1 / 64, quantized=True, mean=128, std=64, **padding):
    """Frame to "logits": stems (kernel, stride, pads, pool) that all read the quantized frame.

    `pads` are top, left, bottom and right; behind a stem come ReLU, perhaps a max pooling, and a convolution.
    `padding` of the frame: its value `grey`, what lies `before` it (above, to the left), and its `mode`.
    """
    graph = Graph(quantized)
    graph.add("Cast", ["frame"], "float", to=TensorProto.FLOAT)
    x = graph.add("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])
    if padded_hw:
        top, left = padding.get("before", (0, 0))
        down, right = padded_hw[0] - hw[0] - top, padded_hw[1] - hw[1] - left
        ends = graph.constant("ends", np.array([0, 0, top, left, 0, 0, down, right], np.int64))
        grey = graph.constant("grey", np.float32(padding.get("grey", 128)))
        x = graph.add("Pad", [x, ends, grey], "padded", mode=padding.get("mode", "constant"))
    graph.constant("mean", np.asarray(mean, np.float32))
    graph.constant("std", np.asarray(1 / np.float32(std), np.float32))
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
