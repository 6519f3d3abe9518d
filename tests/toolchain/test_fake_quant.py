from __future__ import annotations

import io

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from bisenet_edge.frame import Size
from bisenet_edge.toolchain.onnx_graph import FrameToMask, to_onnx
from bisenet_edge.toolchain.quant.fake_quant import (
    QuantConv2d,
    QuantConvTranspose2d,
    Quantizer,
    set_learnable,
)
from bisenet_edge.toolchain.quant.placement import insert_quantizers, quantizers


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


def trained_range(values, amax, steps=50, rate=0.01):
    """Range after some steps of descent on the squared error."""
    quantizer = Quantizer(amax)
    quantizer.learn(True)
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        ((quantizer(values) - values) ** 2).mean().backward()
        optimizer.step()
    return quantizer.amax.item()


def test_a_learned_range_widens_where_values_are_cut_off():
    values = torch.linspace(-2, 2, 400)[None]
    assert trained_range(values, 1.0) > 1.2


def test_a_learned_range_shrinks_where_it_is_too_coarse():
    values = torch.linspace(-2, 2, 400)[None]
    assert trained_range(values, 40.0, rate=1.0) < 39


def test_a_frozen_range_and_a_fixed_one_do_not_learn():
    frozen, fixed = Quantizer(1.0), Quantizer(1.0, fixed=True)
    fixed.learn(True)
    frozen.learn(True)
    frozen.learn(False)
    assert not list(frozen.parameters()) and not list(fixed.parameters())
    assert float(frozen.amax) == float(fixed.amax) == 1.0


def test_learning_changes_neither_the_values_nor_the_names():
    plain, learned = Quantizer(0.7), Quantizer(0.7)
    learned.learn(True)
    assert list(learned.state_dict()) == list(plain.state_dict()) == ["amax"]
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(learned.train()(values), plain(values), rtol=0, atol=1e-6)
    assert torch.equal(learned.eval()(values), plain(values))


def test_the_gradient_of_a_learned_range_is_lsqs():
    """By hand, from equation 3 for the scale: descent on amax = 127 scales is to step alike."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 3, 4, 5, generator=generator, requires_grad=True)
    outer = torch.randn(2, 3, 4, 5, generator=generator)
    quantizer = Quantizer(1.5)
    quantizer.learn()
    (quantizer(values) * outer).sum().backward()

    steps = values.detach() / (1.5 / 127)
    inside = (steps > -128) & (steps < 127)
    assert 0 < (~inside).sum() < values.numel()
    of_scale = torch.where(inside, steps.round() - steps, steps.clamp(-128, 127))
    expected = (outer * of_scale).sum() / (values.numel() * 127) ** 0.5
    torch.testing.assert_close(quantizer.amax.grad, 127 * expected)
    assert torch.equal(values.grad, outer * inside)


def test_a_range_that_an_optimizer_pushed_below_zero_comes_back():
    quantizer = Quantizer(0.5)
    quantizer.learn()
    with torch.no_grad():
        quantizer.amax.fill_(-3.0)
    values = torch.linspace(-1, 1, 50)
    ((quantizer(values) - values) ** 2).sum().backward()
    assert 0 < quantizer.amax.item() < 1e-4
    assert quantizer.amax.grad < 0  # descent widens it


def test_a_learned_range_is_a_constant_in_evaluation():
    quantizer = Quantizer(0.5)
    quantizer.learn()
    values = torch.linspace(-1, 1, 50, requires_grad=True)
    quantizer.eval()(values).sum().backward()
    assert quantizer.amax.grad is None
    assert values.grad.sum() == (values.abs() < 0.5).sum()


def test_all_ranges_but_the_inputs_are_learned_and_the_rest_goes_on(folded, frames):
    network = insert_quantizers(folded)
    names = sorted(network.state_dict())
    set_learnable(network, True)
    learning = {name: q for name, q in quantizers(network).items() if q.learning}
    assert set(learning) == set(quantizers(network)) - {"quantize_mul"}
    assert sorted(network.state_dict()) == names
    network.train()(torch.from_numpy(frames[:1]).permute(0, 3, 1, 2).float()).square().mean().backward()
    assert all(q.amax.grad is not None and q.amax.grad.isfinite() for q in learning.values())
    assert np.mean([q.amax.grad.item() != 0 for q in learning.values()]) > 0.9
    set_learnable(network, False)
    assert not any(q.learning for q in quantizers(network).values())


def test_what_is_exported_after_learning_is_what_was_learned(frames):
    torch.manual_seed(0)
    core = nn.Sequential(
        Quantizer(127.0),
        QuantConv2d(nn.Conv2d(3, 16, 8, stride=8)),
        nn.ReLU(),
        Quantizer(20.0),
        QuantConv2d(nn.Conv2d(16, 5, 1)),
    )
    core.input_multiple = 8
    set_learnable(core, True)
    optimizer = torch.optim.SGD(core.parameters(), lr=1e-3)
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    for _ in range(5):
        optimizer.zero_grad()
        core.train()(images).square().mean().sqrt().backward()
        optimizer.step()
    core.eval()
    assert core[0].amax.item() != 127.0
    assert core[3].amax.item() != 20.0

    learned = to_onnx(core, Size(96, 64))
    session = onnxruntime.InferenceSession(learned.SerializeToString())
    module = FrameToMask(core, Size(96, 64)).eval()
    for frame in frames:
        with torch.no_grad():
            expected = module(torch.from_numpy(frame)[None]).numpy()
        assert len(np.unique(expected)) > 1
        assert np.mean(session.run(None, {"frame": frame[None]})[0] == expected) > 0.99
    set_learnable(core, False)
    assert to_onnx(core, Size(96, 64)).graph == learned.graph


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_have_a_scale_per_output_channel_as_onnx_has_them(groups):
    torch.manual_seed(0)
    source = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=groups)
    convolution = QuantConvTranspose2d(source).eval()
    assert convolution.weight_amax.shape == (6 // groups,)
    scale = (convolution.weight_amax / 127).view(1, -1, 1, 1)
    expected = (source.weight / scale).round().clamp(-128, 127) * scale
    torch.testing.assert_close(convolution.quantized_weight(), expected, rtol=1e-6, atol=0)
    x = torch.randn(1, 4, 5, 7)
    with torch.no_grad():
        source.weight.copy_(expected)
        torch.testing.assert_close(convolution(x), source(x), rtol=1e-6, atol=1e-6)
        convolution.active = False
        assert not torch.equal(convolution(x), source(x))

    buffer = io.BytesIO()
    convolution.active = True
    torch.onnx.export(convolution, (x,), buffer, opset_version=17, dynamo=False, input_names=["x"])
    session = onnxruntime.InferenceSession(buffer.getvalue())
    with torch.no_grad():
        wanted = convolution(x).numpy()
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], wanted, rtol=0, atol=1e-5)


def test_ranges_of_weights_follow_them_in_training_only():
    convolution = QuantConv2d(nn.Conv2d(2, 3, 1)).eval()
    before = convolution.weight_amax.clone()
    with torch.no_grad():
        convolution.weight.mul_(2)
    convolution.quantized_weight()
    assert torch.equal(convolution.weight_amax, before)
    convolution.train().quantized_weight()
    assert torch.equal(convolution.weight_amax, 2 * before)


def test_evaluation_has_the_ranges_of_the_weights_that_the_last_step_left():
    convolution = QuantConv2d(nn.Conv2d(2, 3, 1)).train()
    optimizer = torch.optim.SGD(convolution.parameters(), lr=0.1)
    convolution(torch.ones(1, 2, 1, 1)).sum().backward()
    optimizer.step()
    convolution.eval()
    assert torch.equal(convolution.weight_amax, convolution.weight.detach().abs().amax((1, 2, 3)))
    assert torch.equal(convolution.state_dict()["weight_amax"], convolution.weight_amax)


def test_frozen_ranges_of_weights_stay():
    convolution = QuantConv2d(nn.Conv2d(2, 3, 1))
    convolution.frozen = True
    before = convolution.weight_amax.clone()
    with torch.no_grad():
        convolution.weight.mul_(2)
    rounded = convolution.train().quantized_weight()
    assert torch.equal(convolution.eval().weight_amax, before)
    assert (rounded.abs().amax((1, 2, 3)) <= before * 128 / 127 * 1.001).all()
