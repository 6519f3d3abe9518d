"""The table of DESIGN, section 6, read off the graphs of both networks."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bisenet_edge.toolchain.quant.calibrate import set_active
from bisenet_edge.toolchain.quant.fake_quant import QuantConv2d, Quantizer
from bisenet_edge.toolchain.quant.fold import collapse_pairs, fold
from bisenet_edge.toolchain.quant.placement import insert_quantizers, quant_convs, quantizers


@pytest.fixture(scope="module")
def folded_by_name(network, resnet):
    xception = fold(network)
    return {"xception39": xception, "collapsed": collapse_pairs(xception), "resnet18": fold(resnet)}


@pytest.fixture(scope="module", params=["xception39", "collapsed", "resnet18"])
def graph(request, folded_by_name):
    return insert_quantizers(folded_by_name[request.param])


def module_of(graph, node):
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def is_a(graph, node, kind):
    return isinstance(module_of(graph, node), kind)


def calling(graph, kind):
    return [n for n in graph.graph.nodes if is_a(graph, n, kind)]


def functions(graph, target):
    nodes = [n for n in graph.graph.nodes if n.op == "call_function" and n.target is target]
    return [n for n in nodes if all(isinstance(a, torch.fx.Node) for a in n.args)]


def consumers(node):
    return [u for u in node.users if u.target is not getattr]  # `.shape` is no consumer


def test_every_convolution_is_quantized_on_input_and_weight(graph):
    convolutions = calling(graph, nn.Conv2d)
    assert len(convolutions) > 30
    assert all(is_a(graph, n, QuantConv2d) for n in convolutions)
    assert all(is_a(graph, n.args[0], Quantizer) for n in convolutions)
    assert list(quant_convs(graph)) == [str(n.target) for n in convolutions]


def test_weights_have_one_range_per_output_channel(graph):
    for convolution in quant_convs(graph).values():
        expected = convolution.weight.abs().reshape(convolution.out_channels, -1).max(1).values
        assert torch.equal(convolution.weight_amax, expected)


def test_nothing_stands_between_a_convolution_and_its_relu(graph):
    relus = calling(graph, nn.ReLU)
    assert relus
    for relu in relus:
        before = relu.args[0]
        assert is_a(graph, before, nn.Conv2d) or before.target is operator.add


def test_a_residual_add_is_quantized_on_the_identity_alone(graph):
    residual = [n for n in functions(graph, operator.add) if is_a(graph, n.args[0], nn.Conv2d)]
    assert len(residual) == (8 if "stage4" in str(list(graph.graph.nodes)) else 16)
    for add in residual:
        assert is_a(graph, add.args[1], Quantizer)
        assert [type(module_of(graph, u)) for u in consumers(add)] == [nn.ReLU]


def test_an_add_of_two_activations_is_quantized_on_both(graph):
    others = [n for n in functions(graph, operator.add) if not is_a(graph, n.args[0], nn.Conv2d)]
    assert len(others) == 2  # the global context, and the refined 1/32 features
    assert all(is_a(graph, arg, Quantizer) for n in others for arg in n.args)


def test_a_gate_is_quantized_on_both_operands_and_the_product(graph):
    products = functions(graph, operator.mul)
    assert len(products) == 3  # two ARMs and the FFM
    for product in products:
        assert all(is_a(graph, arg, Quantizer) for arg in product.args)
        assert [type(module_of(graph, u)) for u in consumers(product)] == [Quantizer]


def test_a_concat_is_quantized_once_behind(graph):
    (concat,) = [n for n in graph.graph.nodes if n.target is torch.cat]
    assert not any(is_a(graph, operand, Quantizer) for operand in concat.args[0])
    assert [type(module_of(graph, u)) for u in consumers(concat)] == [Quantizer]


def test_a_resize_takes_a_quantized_tensor(graph):
    resizes = [n for n in graph.graph.nodes if n.target is F.interpolate]
    assert len(resizes) == 2
    assert all(is_a(graph, n.args[0], Quantizer) for n in resizes)


def test_pooled_features_are_quantized_after_the_pool(graph):
    pools = calling(graph, nn.AdaptiveAvgPool2d)
    assert len(pools) == 4
    assert all([type(module_of(graph, u)) for u in consumers(n)] == [Quantizer] for n in pools)


def test_the_logits_stay_in_floating_point(graph):
    (output,) = [n for n in graph.graph.nodes if n.op == "output"]
    assert str(output.args[0].target) == "head.classifier"
    assert [u.op for u in output.args[0].users] == ["output"]


def test_one_quantizer_per_tensor_shared_by_all_that_want_one(graph):
    for node in graph.graph.nodes:
        users = consumers(node)
        marked = [u for u in users if is_a(graph, u, Quantizer)]
        assert len(marked) <= 1, node
        if marked:
            assert users == marked, node  # nobody reads the same tensor unrounded
            assert not is_a(graph, node, Quantizer), "rounded twice"
    assert len({id(q) for q in quantizers(graph).values()}) == len(calling(graph, Quantizer))


def test_the_frame_is_the_first_int8_tensor(graph):
    (first, *others) = quantizers(graph).values()
    assert first.fixed
    assert float(first.amax) == 127 / 64
    assert not any(q.fixed for q in others)
    values = torch.arange(-128.0, 128.0) / 64  # (uint8 - 128) / 64
    assert torch.equal(first(values), values)


def test_switched_off_it_is_the_folded_network(folded_by_name, frames):
    image = torch.from_numpy(frames[:1]).permute(0, 3, 1, 2).float()
    for folded in folded_by_name.values():
        quantized = insert_quantizers(folded)
        with torch.no_grad():
            rounded = quantized(image)
            set_active(quantized, False)
            assert torch.equal(quantized(image), folded(image))
            set_active(quantized, True)
            assert torch.equal(quantized(image), rounded)
            assert not torch.equal(rounded, folded(image))


def test_the_folded_network_is_left_alone(folded_by_name):
    for folded in folded_by_name.values():
        assert not [m for m in folded.modules() if isinstance(m, (Quantizer, QuantConv2d))]


def test_a_convolution_kept_in_floating_point_has_no_quantizer(folded):
    kept = {"head.conv.conv", "ffm.squeeze"}
    graph = insert_quantizers(folded, keep_float=kept)
    assert {name for name, _ in folded.named_modules() if name in kept} == kept
    for node in graph.graph.nodes:
        if str(node.target) in kept:
            assert type(module_of(graph, node)) is nn.Conv2d
    assert set(quant_convs(insert_quantizers(folded))) - set(quant_convs(graph)) == kept
    # The pool in front of `squeeze` feeds nothing else; the product in front of the head keeps its own.
    gone = set(quantizers(insert_quantizers(folded))) - set(quantizers(graph))
    assert gone == {"quantize_ffm_pool"}
