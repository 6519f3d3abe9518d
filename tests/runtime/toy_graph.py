"""The graph contract around a network of six convolutions, as export would write it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bisenet_edge.artifact import MODEL_FILES, Artifact, Manifest, hash_files
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet

SIZE = Size(96, 64)
CLASSES = 6
LABELS = LabelSet("toy", tuple("abcdef"), ((0, 0, 0),) * CLASSES)


class Graph:
    """Builds the graph contract around a small network; with `quantized`, Q/DQ as export places them."""

    def __init__(self, quantized, seed=0):
        self.quantized = quantized
        self.rng = np.random.default_rng(seed)
        self.nodes = []
        self.constants = []

    def add(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def quantize(self, x, scale, axis=None):
        if not self.quantized:
            return x
        scale = np.asarray(scale, np.float32)
        tail = [
            self.constant(f"{x}_scale", scale),
            self.constant(f"{x}_zero", np.zeros(scale.shape, np.int8)),
        ]
        attributes = {} if axis is None else {"axis": axis}
        self.add("QuantizeLinear", [x, *tail], f"{x}_q", **attributes)
        return self.add("DequantizeLinear", [f"{x}_q", *tail], f"{x}_dq", **attributes)

    def conv(self, x, channels, output, *, kernel=3, stride=1):
        out_channels, in_channels = channels
        weight = self.rng.standard_normal((out_channels, in_channels, kernel, kernel)).astype(np.float32)
        # Without a mean: behind ReLUs one class would win everywhere.
        weight -= weight.mean((1, 2, 3), keepdims=True)
        weight /= np.sqrt(in_channels * kernel * kernel / 4)
        bias = self.rng.standard_normal(out_channels).astype(np.float32) * 0.1
        name = self.constant(f"{output}_w", weight)
        scale = np.abs(weight).max((1, 2, 3)) / 127
        inputs = [x, self.quantize(name, scale, axis=0), self.constant(f"{output}_b", bias)]
        pad = (kernel - 1) // 2
        return self.add(
            "Conv", inputs, output, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4
        )

    def model(self):
        """Two branches of convolution + ReLU, a concat, a skip with an add and a classifier at 1/8."""
        self.add("Cast", ["frame"], "float", to=TensorProto.FLOAT)
        self.add("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])
        self.constant("mean", np.float32(128))
        x = self.quantize(self.add("Sub", ["planes", "mean"], "centred"), 1.0)
        # 1/64, as in the exported stem.
        self.conv(x, (24, 3), "stem_raw", kernel=7, stride=8)
        self.constant("std", np.float32(1 / 64))
        x = self.quantize(self.add("Relu", [self.add("Mul", ["stem_raw", "std"], "stem")], "stem_relu"), 0.04)
        left = self.add("Relu", [self.conv(x, (24, 24), "left", kernel=1)], "left_relu")
        right = self.add("Relu", [self.conv(x, (24, 24), "right")], "right_relu")
        joined = self.quantize(self.add("Concat", [left, right], "joined", axis=1), 0.05)
        mixed = self.add("Relu", [self.conv(joined, (24, 48), "mix", kernel=1)], "mix_relu")
        skip = self.quantize(self.conv(x, (24, 24), "skip", kernel=1), 0.04)  # signed: no ReLU behind it
        summed = self.add("Relu", [self.add("Add", [mixed, skip], "added")], "sum")
        self.conv(self.quantize(summed, 0.08), (CLASSES, 24), "logits", kernel=1)
        self.constant("scales", np.array([1, 1, 8, 8], np.float32))
        resize = ["logits", "", "scales"]
        self.add("Resize", resize, "full", mode="linear", coordinate_transformation_mode="half_pixel")
        self.add("ArgMax", ["full"], "ids", axis=1, keepdims=0)
        # uint8 comes from floating point, as TensorRT 8.5 wants it.
        self.add("Cast", ["ids"], "float_ids", to=TensorProto.FLOAT)
        self.add("Cast", ["float_ids"], "mask", to=TensorProto.UINT8)
        inputs = [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, *SIZE.hw, 3])]
        outputs = [helper.make_tensor_value_info("mask", TensorProto.UINT8, [1, *SIZE.hw])]
        graph = helper.make_graph(self.nodes, "toy", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def toy_artifact(folder):
    """An artifact with FP32 and INT8; the ranges of the latter are exceeded by 0.1 to 1 % of the values."""
    for flavour in ("fp32", "int8"):
        onnx.save(Graph(flavour == "int8").model(), str(folder / MODEL_FILES[flavour]))
    return Artifact(folder, Manifest("toy", "", "toy", LABELS, SIZE, "int8", hash_files(folder)))


def toy_frames(count=3):
    """Uint8 [count, H, W, 3]: noisy blocks of 8 x 8 pixels."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (count, SIZE.height // 8, SIZE.width // 8, 3)).astype(np.uint8)
    noise = rng.integers(0, 20, (count, *SIZE.hw, 3)).astype(np.uint8)
    return np.clip(coarse.repeat(8, 1).repeat(8, 2).astype(np.int16) + noise, 0, 255).astype(np.uint8)
