from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from bisenet_edge.errors import CalibrationError
from bisenet_edge.toolchain.quant.bias_correction import FRAMES, correct_biases
from bisenet_edge.toolchain.quant.calibrate import observe, set_active, set_ranges
from bisenet_edge.toolchain.quant.fold import collapse_pairs, fold
from bisenet_edge.toolchain.quant.placement import insert_quantizers, quant_convs, quantizers

KEPT = ("spatial.conv2.conv", "head.conv.conv")


def planes(frames):
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


def run(network, frames):
    with torch.no_grad():
        return network(planes(frames))


def calibrated(graph, frames, keep_float=()):
    quantized = insert_quantizers(graph, keep_float)
    set_ranges(quantized, observe(quantized, frames), "max")
    return quantized


def in_float(quantized):
    exact = copy.deepcopy(quantized)
    set_active(exact, False)
    return exact


@pytest.fixture(scope="module")
def networks(folded, resnet, frames):
    return {
        "xception39": calibrated(folded, frames),
        "collapsed": calibrated(collapse_pairs(folded), frames),
        "partly float": calibrated(folded, frames, KEPT),
        "resnet18": calibrated(fold(resnet), frames),
    }


@pytest.fixture(scope="module", params=["xception39", "collapsed", "partly float", "resnet18"])
def corrected(request, networks, frames):
    before = networks[request.param]
    after = copy.deepcopy(before)
    steps = []
    largest = correct_biases(after, frames, lambda *step: steps.append(step))
    return before, after, largest, steps


def outputs(network, frames):
    """What each quantized convolution gives, by its name."""
    seen = {}
    handles = [
        convolution.register_forward_hook(lambda m, x, y, name=name: seen.update({name: y.clone()}))
        for name, convolution in quant_convs(network).items()
    ]
    run(network, frames)
    for handle in handles:
        handle.remove()
    return seen


def test_the_mean_of_every_channel_is_that_of_the_float_network(corrected, frames):
    before, after, _, _ = corrected
    expected, found = outputs(in_float(before), frames), outputs(after, frames)
    uncorrected = outputs(before, frames)
    with_bias = [name for name, module in quant_convs(after).items() if module.bias is not None]
    assert len(with_bias) > 30
    for name in with_bias:
        spread = expected[name].std()
        error = (found[name] - expected[name]).mean((0, 2, 3)).abs().max() / spread
        assert error < 1e-4, name
        assert error < (uncorrected[name] - expected[name]).mean((0, 2, 3)).abs().max() / spread, name


def test_the_logits_come_closer(corrected, frames):
    before, after, _, _ = corrected
    expected = run(in_float(before), frames)
    old, new = run(before, frames) - expected, run(after, frames) - expected
    assert new.mean((0, 2, 3)).abs().max() < 0.01 * old.mean((0, 2, 3)).abs().max()
    assert new.square().mean() < old.square().mean()


def test_only_biases_change(corrected):
    before, after, _, _ = corrected
    old, new = before.state_dict(), after.state_dict()
    assert list(old) == list(new)
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert changed == {f"{n}.bias" for n, module in quant_convs(before).items() if module.bias is not None}


def test_the_switches_are_as_before(corrected):
    before, after, _, _ = corrected
    assert all(m.active for m in [*quantizers(after).values(), *quant_convs(after).values()])
    assert [p.requires_grad for p in after.parameters()] == [p.requires_grad for p in before.parameters()]
    assert not after.training


def test_convolutions_without_a_bias_stay_without(corrected):
    before, after, _, _ = corrected
    without = [name for name, module in quant_convs(before).items() if module.bias is None]
    assert {"ffm.squeeze", "ffm.excite"} <= set(without)
    assert all(quant_convs(after)[name].bias is None for name in without)


def test_the_largest_correction_is_told_in_standard_deviations(corrected, frames):
    before, after, largest, steps = corrected
    spreads = {name: float(y.std()) for name, y in outputs(in_float(before), frames).items()}
    corrections = [
        float((quant_convs(after)[name].bias - module.bias).detach().abs().max()) / spreads[name]
        for name, module in quant_convs(before).items()
        if module.bias is not None
    ]
    assert largest == pytest.approx(max(corrections), rel=1e-3)
    assert steps == [("correcting biases", done, len(corrections)) for done in range(1, len(corrections) + 1)]


def test_an_error_that_only_the_rounded_network_has_is_undone(networks, frames):
    planted = copy.deepcopy(networks["resnet18"])
    error = torch.linspace(-1, 1, 64)
    convolution = planted.get_submodule("spatial.conv2.conv")
    convolution.register_forward_hook(lambda m, x, y: y + error.view(-1, 1, 1) if m.active else y)
    plain = copy.deepcopy(networks["resnet18"])
    assert not torch.allclose(run(planted, frames), run(plain, frames), atol=1e-3)
    correct_biases(planted, frames)
    correct_biases(plain, frames)
    difference = plain.get_submodule("spatial.conv2.conv").bias - convolution.bias
    torch.testing.assert_close(difference.detach(), error, rtol=0, atol=1e-5)


def test_what_is_corrected_on_some_pictures_holds_for_others(networks, frames):
    """Saturation, of one tensor alone, shifts means one way, whatever the picture."""
    cut = in_float(networks["xception39"])
    product = quantizers(cut)["quantize_mul_3"]
    product.active = True
    product.amax.mul_(0.3)
    expected = run(in_float(cut), frames[2:])
    before = (run(cut, frames[2:]) - expected).mean((0, 2, 3)).abs().mean()
    correct_biases(cut, frames[:2])
    assert (run(cut, frames[2:]) - expected).mean((0, 2, 3)).abs().mean() < 0.7 * before


def test_nothing_is_corrected_where_nothing_is_rounded(networks, frames):
    exact = in_float(networks["collapsed"])
    before = copy.deepcopy(exact.state_dict())
    assert correct_biases(exact, frames) == 0
    assert all(torch.equal(before[key], value) for key, value in exact.state_dict().items())


def test_the_result_is_always_the_same_and_needs_a_few_frames_only(networks, frames):
    one, two = copy.deepcopy(networks["collapsed"]), copy.deepcopy(networks["collapsed"])
    many = [frames[i % 4] for i in range(FRAMES)]
    assert correct_biases(one, many) == correct_biases(two, [*many, np.zeros_like(frames[0])])
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())


def test_no_images_are_refused(networks):
    with pytest.raises(CalibrationError, match="no calibration images"):
        correct_biases(networks["collapsed"], [])
