"""Operations and bytes of small graphs by hand, and of the real network against the model's own count."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bisenet_edge.errors import ArtifactError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.profile.roofline import LayerCost
from bisenet_edge.toolchain.graph_cost import layer_costs
from bisenet_edge.toolchain.models.cost import count
from bisenet_edge.toolchain.onnx_graph import to_onnx

H, W = 8, 16


class Net:
    """frame [1, 8, 16, 3] -> conv 3 -> 4, 3x3, stride 2 -> ReLU -> conv 4 -> 2, 1x1 -> mask [1, 4, 8]."""

    def __init__(self, quantized: bool) -> None:
        self.quantized, self.nodes, self.constants = quantized, [], []

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def quantize(self, x):
        if not self.quantized:
            return x
        scale, zero = self.constant(f"{x}_s", np.float32(0.1)), self.constant(f"{x}_z", np.int8(0))
        self.node("QuantizeLinear", [x, scale, zero], f"{x}_q")
        return self.node("DequantizeLinear", [f"{x}_q", scale, zero], f"{x}_dq")

    def conv(self, x, output, shape, **attributes):
        weight = self.constant(f"{output}.weight", np.ones(shape, np.float32))
        return self.node("Conv", [self.quantize(x), self.quantize(weight)], output, **attributes)

    def head(self):
        self.node("Cast", ["frame"], "float", to=TensorProto.FLOAT)
        self.node("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])
        mean = self.constant("mean", np.float32(128))
        x = self.node("Sub", ["planes", mean], "centred")
        x = self.conv(x, "first", (4, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
        return self.node("Relu", [x], "relu")

    def model(self, logits):
        self.node("ArgMax", [logits], "ids", axis=1, keepdims=0)
        self.node("Cast", ["ids"], "mask", to=TensorProto.UINT8)
        frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, H, W, 3])
        mask = helper.make_tensor_value_info("mask", TensorProto.UINT8, [1, H // 2, W // 2])
        graph = helper.make_graph(self.nodes, "net", [frame], [mask], self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(made, full_check=True)
        return made


FRAME, FIRST, LOGITS, MASK = 8 * 16 * 3, 4 * 4 * 8, 2 * 4 * 8, 4 * 8


def test_two_quantized_layers_by_hand():
    net = Net(quantized=True)
    first, second, argmax = layer_costs(net.model(net.conv(net.head(), "second", (2, 4, 1, 1))))
    # Two operations per multiply-add: each of 4 x 4 x 8 results takes 3 x 3 x 3 of them.
    assert first == LayerCost("first", "Conv", 2 * FIRST * 27, True, FRAME + 4 * 27 + FIRST)
    # Its result is read in FP16.
    assert second == LayerCost("second", "Conv", 2 * LOGITS * 4, True, FIRST + 2 * 4 + 2 * LOGITS)
    assert (argmax.kind, argmax.operations, argmax.bytes_moved) == ("ArgMax", 0, 2 * LOGITS + MASK)


def test_the_same_in_floating_point_moves_two_bytes_a_value():
    net = Net(quantized=False)
    first, second, _ = layer_costs(net.model(net.conv(net.head(), "second", (2, 4, 1, 1))))
    # The frame itself is bytes.
    assert first == LayerCost("first", "Conv", 2 * FIRST * 27, False, FRAME + 2 * 4 * 27 + 2 * FIRST)
    assert second == LayerCost("second", "Conv", 2 * LOGITS * 4, False, 2 * FIRST + 2 * 2 * 4 + 2 * LOGITS)


def test_an_addition_is_fused_and_reads_its_other_operand():
    net = Net(quantized=True)
    relu = net.head()
    branch = net.conv(relu, "branch", (4, 4, 1, 1))
    identity = "relu_dq"  # as placed: the block's input, with its one quantizer
    total = net.node("Relu", [net.node("Add", [branch, identity], "sum")], "out")
    costs = layer_costs(net.model(net.conv(total, "second", (2, 4, 1, 1))))
    assert [cost.kind for cost in costs] == ["Conv", "Conv", "Conv", "ArgMax"]
    # Reads the same codes as input and identity: once. Writes the sum, not its own raw result.
    assert costs[1].bytes_moved == FIRST + 4 * 4 + FIRST
    assert costs[1].operations == 2 * FIRST * 4


def test_a_gate_reads_the_map_and_writes_it():
    net = Net(quantized=True)
    relu = net.head()
    pooled = net.node("GlobalAveragePool", [net.quantize(relu)], "pool")
    gate = net.node("Sigmoid", [net.conv(pooled, "gate", (4, 4, 1, 1))], "gated")
    product = net.node("Mul", ["relu_dq", gate], "product")
    costs = layer_costs(net.model(net.conv(product, "second", (2, 4, 1, 1))))
    assert [cost.kind for cost in costs] == ["Conv", "GlobalAveragePool", "Conv", "Conv", "ArgMax"]
    assert costs[1].bytes_moved == FIRST + 4
    assert costs[2].bytes_moved == 4 + 4 * 4 + FIRST + FIRST


def test_a_tensor_read_in_two_widths_is_written_in_the_wider():
    net = Net(quantized=True)
    relu = net.head()
    logits = net.conv(relu, "second", (2, 4, 1, 1))
    # A second reader of the ReLU, without a quantizer between.
    net.node("MaxPool", [relu], "pooled", kernel_shape=[1, 1])
    first = layer_costs(net.model(logits))[0]
    assert first.bytes_moved == FRAME + 4 * 27 + 2 * FIRST


def test_operators_that_cannot_be_counted_are_refused():
    net = Net(quantized=False)
    relu = net.head()
    logits = net.conv(relu, "second", (2, 4, 1, 1))
    net.node("MatMul", [logits, net.constant("m", np.ones((8, 8), np.float32))], "product")
    with pytest.raises(ArtifactError, match="cannot be counted"):
        layer_costs(net.model(logits))


def test_operations_agree_with_the_model(folded, network):
    size = Size(96, 64)
    costs = layer_costs(to_onnx(folded, size))
    assert sum(cost.operations for cost in costs) == 2 * count(network, size).macs
    assert not any(cost.int8 for cost in costs)
