from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from bisenet_edge.toolchain.quant.fake_quant import QuantConv2d, Quantizer


def quantize_and_back(x, scale, axis=None):
    """ONNX QuantizeLinear and DequantizeLinear (int8, zero point 0) as ONNX Runtime computes them."""
    scale = np.asarray(scale, np.float32)
    constants = [
        numpy_helper.from_array(scale, "scale"),
        numpy_helper.from_array(np.zeros(scale.shape, np.int8), "zero"),
    ]
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], **attributes),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(x.shape)) for n in "xy"]
    graph = helper.make_graph(nodes, "q", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(["y"], {"x": x})[0]


def scale_of(quantizer):
    return (quantizer.amax / 127).numpy()


def test_ties_go_to_the_even_neighbour():
    quantizer = Quantizer(127.0)
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5])
    assert quantizer(x).tolist() == [0, 2, 2, 0, -2, -2, 126]


def test_the_range_is_minus_128_to_127_steps():
    quantizer = Quantizer(127.0)
    x = torch.tensor([1000.0, 127.4, 127.6, -127.6, -128.4, -1000.0])
    assert quantizer(x).tolist() == [127, 127, 127, -128, -128, -128]


@pytest.mark.parametrize("amax", [127.0, 127 / 64, 127 * 4.0])
def test_bit_for_bit_as_onnx_runtime_with_ties_and_clamping(amax):
    # The scale is a power of two, so that halves are ties exactly.
    quantizer = Quantizer(amax)
    steps = np.arange(-300, 301, dtype=np.float32) / 2
    x = steps * scale_of(quantizer)
    assert np.array_equal(quantizer(torch.from_numpy(x)).numpy(), quantize_and_back(x, scale_of(quantizer)))


@pytest.mark.parametrize("amax", [0.037, 1.0, 2.7182817, 63.1])
def test_bit_for_bit_as_onnx_runtime_with_any_scale(amax):
    quantizer = Quantizer(amax)
    x = (np.random.default_rng(0).standard_normal(20_000) * amax / 2).astype(np.float32)
    scale = scale_of(quantizer)
    # torch multiplies by 1/scale where ONNX divides: they may differ within a rounding error of a tie.
    code = np.abs(x / scale)
    near_tie = np.abs(code - np.floor(code) - 0.5) < 1e-4
    assert near_tie.mean() < 0.001
    equal = quantizer(torch.from_numpy(x)).numpy() == quantize_and_back(x, scale)
    assert (equal | near_tie).all()


def test_weights_are_rounded_per_output_channel_as_onnx_runtime_does():
    source = nn.Conv2d(5, 7, 3)
    with torch.no_grad():
        source.weight.mul_(torch.logspace(-3, 2, 7).view(-1, 1, 1, 1))
    convolution = QuantConv2d(source)
    weight = source.weight.detach().numpy()
    scale = np.abs(weight).max((1, 2, 3)) / np.float32(127)
    expected = quantize_and_back(weight, scale, axis=0)
    rounded = convolution.quantized_weight().detach().numpy()
    np.testing.assert_array_equal(rounded, expected)
    assert (np.abs(rounded - weight).max((1, 2, 3)) <= scale * 0.5001).all()


def test_a_quantized_convolution_is_the_convolution_with_rounded_weights():
    source = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    convolution = QuantConv2d(source)
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        weight = convolution.quantized_weight()
        expected = nn.functional.conv2d(x, weight, source.bias, stride=2, padding=1, groups=2)
        assert torch.equal(convolution(x), expected)
        convolution.active = False
        assert torch.equal(convolution(x), source(x))
    assert convolution.weight is not source.weight
    assert QuantConv2d(nn.Conv2d(2, 2, 1, bias=False)).bias is None


def test_channels_and_tensors_of_zeros_stay_zero():
    source = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        source.weight[0] = 0
    weight = QuantConv2d(source).quantized_weight()
    assert torch.isfinite(weight).all()
    assert not weight[0].any()
    assert weight[1].any()
    assert Quantizer(0.0)(torch.zeros(3)).tolist() == [0, 0, 0]


def test_the_gradient_goes_straight_through_inside_the_range():
    x = torch.tensor([-200.0, -127.9, -0.3, 0.0, 3.7, 126.9, 200.0], requires_grad=True)
    Quantizer(127.0)(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]


def test_the_gradient_reaches_the_weights():
    convolution = QuantConv2d(nn.Conv2d(2, 3, 1))
    convolution(torch.ones(1, 2, 1, 1)).sum().backward()
    assert (convolution.weight.grad == 1).all()


def test_inactive_it_passes_on_what_it_gets():
    quantizer = Quantizer(1.0)
    quantizer.active = False
    x = torch.randn(5)
    assert quantizer(x) is x


def test_the_range_is_kept_in_the_state_dict():
    quantizer = Quantizer(1.0)
    quantizer.load_state_dict(Quantizer(3.0).state_dict())
    assert float(quantizer.amax) == 3.0
