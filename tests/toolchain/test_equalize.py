from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import fx, nn

from bisenet_edge.errors import CalibrationError
from bisenet_edge.toolchain.quant.calibrate import observe, set_active, set_ranges
from bisenet_edge.toolchain.quant.equalize import LARGEST_FACTOR, equalize, linked
from bisenet_edge.toolchain.quant.fold import collapse_pairs, fold
from bisenet_edge.toolchain.quant.placement import insert_quantizers, quantizers


@pytest.fixture(scope="module")
def graphs(folded, resnet):
    return {"xception39": folded, "collapsed": collapse_pairs(folded), "resnet18": fold(resnet)}


@pytest.fixture(scope="module", params=["xception39", "collapsed", "resnet18"])
def pair(request, graphs, frames):
    before = graphs[request.param]
    return before, equalize(before, frames)


def planes(frames):
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


def run(network, frames):
    with torch.no_grad():
        return network(planes(frames))


def names_of(graph, modules):
    names = {id(module): name for name, module in graph.named_modules()}
    return [names[id(module)] for module in modules]


def loudness(graph, frames):
    """Largest magnitude per channel of what the second convolution of each link reads, by its name."""
    seen = {}
    readers = [second for _, second in linked(graph)]
    handles = [
        reader.register_forward_pre_hook(
            lambda m, x, name=name: seen.update({name: x[0].abs().amax((0, 2, 3))})
        )
        for reader, name in zip(readers, names_of(graph, readers))
    ]
    run(graph, frames)
    for handle in handles:
        handle.remove()
    return seen


def unevenness(loudest):
    """Standard deviation of the logarithm over channels that are not silent."""
    return float(loudest[loudest > 0].log().std())


def test_the_network_computes_the_same(pair, frames):
    before, made = pair
    expected = run(before, frames)
    assert (run(made.network, frames) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_every_convolution_that_alone_reads_another_is_equalized(graphs, pair):
    before, made = pair
    # Xception39: 2 in each of 16 branches, 3 in the spatial path, FFM, head; the depthwise ones add 51.
    expected = {id(graphs["xception39"]): 88, id(graphs["collapsed"]): 37, id(graphs["resnet18"]): 13}
    assert made.pairs == len(linked(before)) == expected[id(before)]
    for name in names_of(before, [first for first, _ in linked(before)]):
        assert not torch.equal(before.get_submodule(name).weight, made.network.get_submodule(name).weight)


def test_nothing_else_is_rescaled(pair):
    """Tensors with two consumers, and those that an add, a product, a concat, a pool or a resize reads."""
    before, made = pair
    firsts = set(names_of(before, [first for first, _ in linked(before)]))
    seconds = set(names_of(before, [second for _, second in linked(before)]))
    for name, module in before.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        after = made.network.get_submodule(name)
        if name not in firsts and module.bias is not None:
            assert torch.equal(after.bias, module.bias), name
        if name not in firsts | seconds:
            assert torch.equal(after.weight, module.weight), name
    untouched = {"backbone.stem.conv", "spatial.conv_out.conv", "arm32.conv.conv", "arm16.conv.conv"}
    untouched |= {"refine32.conv", "refine16.conv", "global_context.conv", "ffm.mix.conv", "head.classifier"}
    untouched |= {"arm16.gate.conv"}
    assert not untouched & firsts
    assert not [name for name in firsts if "skip.pointwise" in name or "branch.2.pointwise" in name]
    assert not [name for name in firsts if "skip.conv" in name or "branch.1.conv" in name]


class Wired(nn.Module):
    def __init__(self, wiring):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.grouped = nn.Conv2d(4, 4, 1, groups=2)
        self.relu = nn.ReLU()
        self.wiring = wiring

    def forward(self, x):
        return self.wiring(self, x)


@pytest.mark.parametrize(
    "wiring",
    [
        lambda m, x: m.b(y := m.relu(m.a(x))) + m.c(y),
        lambda m, x: (m.b(y := m.a(x)), y),
        lambda m, x: m.b(m.relu(y := m.a(x))) + y,
        lambda m, x: m.b(m.relu(m.a(x)) + x),
        lambda m, x: m.b(m.relu(m.a(x)) * x),
        lambda m, x: m.b(torch.cat([m.relu(m.a(x)), x], 1)),
        lambda m, x: m.b(torch.sigmoid(m.a(x))),
        lambda m, x: m.grouped(m.a(x)),
        lambda m, x: m.relu(m.a(x)),
    ],
)
def test_what_may_not_be_rescaled_is_not_linked(wiring):
    assert linked(fx.symbolic_trace(Wired(wiring))) == []


def test_a_relu_or_nothing_links():
    for wiring in (lambda m, x: m.b(m.relu(m.a(x))), lambda m, x: m.b(m.a(x))):
        graph = fx.symbolic_trace(Wired(wiring))
        assert linked(graph) == [(graph.a, graph.b)]


def test_channels_become_more_equal(pair, frames):
    before, made = pair
    old, new = loudness(before, frames), loudness(made.network, frames)
    assert list(old) == list(new)
    more = [unevenness(new[name]) < unevenness(old[name]) for name in old]
    assert np.mean(more) > 0.9
    assert np.mean([unevenness(v) for v in new.values()]) < 0.8 * np.mean(
        [unevenness(v) for v in old.values()]
    )


def test_what_a_depthwise_convolution_reads_becomes_equal(folded, frames):
    """Its weights have one scale per channel, so nothing is paid."""
    network = equalize(folded, frames).network
    old, new = loudness(folded, frames), loudness(network, frames)
    of_depthwise = [name for name in new if network.get_submodule(name).groups > 1]
    assert len(of_depthwise) == 32
    for name in of_depthwise:
        mean = old[name][old[name] > 0].log().mean().exp()
        within = (old[name] < mean * LARGEST_FACTOR) & (old[name] > mean / LARGEST_FACTOR)
        if within.sum() > 1:
            assert new[name][within].max() < 1.001 * new[name][within].min()


def planted(folded, first, second, channel, factor):
    """One channel made `factor` times as loud, and read as many times more quietly."""
    changed = copy.deepcopy(folded)
    with torch.no_grad():
        changed.get_submodule(first).weight[channel] *= factor
        changed.get_submodule(first).bias[channel] *= factor
        changed.get_submodule(second).weight[:, channel] /= factor
    return changed


def noise_of(graph, frames):
    quantized = insert_quantizers(graph)
    set_ranges(quantized, observe(quantized, frames), "max")
    return float((run(quantized, frames) - run(graph, frames)).square().mean())


def test_a_loud_channel_no_longer_drowns_the_others(graphs, frames):
    loud = planted(graphs["resnet18"], "spatial.conv1.conv", "spatial.conv2.conv", 5, 60.0)
    assert noise_of(equalize(loud, frames).network, frames) < 0.7 * noise_of(loud, frames)


def test_a_silent_channel_is_left_alone_and_one_that_nobody_hears_made_small(folded, frames):
    changed = copy.deepcopy(folded)
    first, second = changed.get_submodule("head.conv.conv"), changed.get_submodule("head.classifier")
    with torch.no_grad():
        first.weight[3], first.bias[3] = 0, -1  # silent behind the ReLU
        second.weight[:, 4] = 0
        second.weight[:, 5], first.weight[5], first.bias[5] = 0, 0, 0  # both
    network = equalize(changed, frames).network
    after = network.get_submodule("head.conv.conv")
    assert after.bias[3] == first.bias[3]
    assert torch.equal(network.get_submodule("head.classifier").weight[:, 3], second.weight[:, 3])
    torch.testing.assert_close(after.weight[4] * LARGEST_FACTOR, first.weight[4])
    assert all(p.isfinite().all() for p in network.parameters())


def test_factors_stay_within_limits(pair):
    before, made = pair
    for first in names_of(before, [first for first, _ in linked(before)]):
        old, new = (g.get_submodule(first).weight.abs().amax((1, 2, 3)) for g in (before, made.network))
        factors = (old / new)[old > 0]
        assert factors.max() < LARGEST_FACTOR * 1.001
        assert factors.min() > 0.999 / LARGEST_FACTOR


def test_the_original_is_left_alone_and_the_result_always_the_same(folded, frames):
    before = copy.deepcopy(folded.state_dict())
    one, two = equalize(folded, frames[:2]).network, equalize(folded, frames[:2]).network
    assert all(torch.equal(value, folded.state_dict()[key]) for key, value in before.items())
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())
    assert not any(m._forward_pre_hooks for m in one.modules())
    assert not one.training


def test_with_convolutions_kept_in_floating_point(pair, frames):
    before, made = pair
    kept = {"spatial.conv2.conv", "head.classifier", "ffm.squeeze"}
    quantized = insert_quantizers(made.network, kept)
    set_ranges(quantized, observe(quantized, frames), "mse")
    expected = run(before, frames)
    assert "quantize_spatial_conv1_relu" not in quantizers(quantized)
    assert 0 < (run(quantized, frames) - expected).std() < 0.5 * expected.std()
    set_active(quantized, False)
    assert (run(quantized, frames) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_progress_is_told_and_no_images_are_refused(folded, frames):
    steps = []
    equalize(folded, frames[:2], lambda *step: steps.append(step))
    assert steps == [("equalizing", 1, 2), ("equalizing", 2, 2)]
    with pytest.raises(CalibrationError, match="no calibration images"):
        equalize(folded, [])
