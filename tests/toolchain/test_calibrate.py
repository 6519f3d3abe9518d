from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from bisenet_edge.errors import CalibrationError
from bisenet_edge.toolchain.quant.calibrate import observe, ranges, set_active, set_ranges
from bisenet_edge.toolchain.quant.observers import OBSERVERS
from bisenet_edge.toolchain.quant.placement import insert_quantizers, quant_convs, quantizers


@pytest.fixture(scope="module")
def observed(folded, frames):
    quantized = insert_quantizers(folded)
    steps = []
    histograms = observe(quantized, frames, lambda *step: steps.append(step))
    return quantized, histograms, steps


def image(frame):
    return torch.from_numpy(frame)[None].permute(0, 3, 1, 2).float()


def test_every_quantizer_but_the_input_is_observed(observed):
    quantized, histograms, steps = observed
    first, *others = quantizers(quantized)
    assert list(histograms) == others
    assert all(h.counts.sum() > 0 for h in histograms.values())
    assert steps == [("calibrating", done, 4) for done in (1, 2, 3, 4)]
    assert first == "quantize_mul"


def test_the_float_network_is_observed(observed, folded, frames):
    # Rounding is off while values are counted; the last activation shows it.
    _, histograms, _ = observed
    seen = []
    relu = folded.get_submodule("head.conv.relu")
    handle = relu.register_forward_hook(lambda m, i, o: seen.append(float(o.max())))
    with torch.no_grad():
        for frame in frames:
            folded(image(frame))
    handle.remove()
    assert histograms["quantize_head_conv_relu"].largest == max(seen)


def test_nothing_is_left_behind(observed):
    quantized, _, _ = observed
    assert all(q.active for q in quantizers(quantized).values())
    assert all(c.active for c in quant_convs(quantized).values())
    assert not any(m._forward_pre_hooks for m in quantized.modules())


@pytest.mark.parametrize("observer", OBSERVERS)
def test_ranges_are_set_and_reported(observed, observer):
    quantized, histograms, _ = observed
    quantized = copy.deepcopy(quantized)
    set_ranges(quantized, histograms, observer)
    modules = quantizers(quantized)
    assert float(modules["quantize_mul"].amax) == 127 / 64
    table = ranges(quantized, histograms)
    assert list(table) == list(modules)
    assert table.pop("quantize_mul") == {"amax": 127 / 64}  # fixed: nothing was observed
    for name, row in table.items():
        assert row["amax"] == float(modules[name].amax)
        assert len(row["histogram"]["counts"]) == 64
        assert sum(row["histogram"]["counts"]) == histograms[name].counts.sum()
        assert 0 < row["amax"] <= row["largest"] * (1 + 1e-6)
        assert 0 <= row["saturated"] < 0.02
        if observer == "max":
            assert row["saturated"] == 0


def test_the_calibrated_network_is_close_to_the_float_one(observed, folded, frames):
    quantized, histograms, _ = observed
    quantized = copy.deepcopy(quantized)
    with torch.no_grad():
        uncalibrated = quantized(image(frames[0]))
        set_ranges(quantized, histograms, "mse")
        calibrated = quantized(image(frames[0]))
        expected = folded(image(frames[0]))
    noise = (calibrated - expected).std() / expected.std()
    assert noise < 0.4
    assert (uncalibrated - expected).std() / expected.std() > 2 * noise


def test_ranges_of_a_tensor_of_zeros(folded):
    # The mean colour everywhere, and a network that makes zeros of it.
    quantized = insert_quantizers(folded)
    with torch.no_grad():
        for convolution in quant_convs(quantized).values():
            if convolution.bias is not None:
                convolution.bias.zero_()
    histograms = observe(quantized, [np.full((64, 96, 3), 128, np.uint8)])
    set_ranges(quantized, histograms, "mse")
    row = ranges(quantized, histograms)["quantize_head_conv_relu"]
    assert row == {"amax": 0.0}
    with torch.no_grad():
        assert torch.isfinite(quantized(torch.full((1, 3, 64, 96), 128.0))).all()


def test_no_images_are_refused(folded):
    with pytest.raises(CalibrationError, match="no calibration images"):
        observe(insert_quantizers(folded), [])


def test_weights_that_are_not_finite_are_found_and_nothing_is_left_behind(folded, frames):
    quantized = insert_quantizers(folded)
    with torch.no_grad():
        quantized.get_submodule("spatial.conv2.conv").weight[0, 0, 0, 0] = float("inf")
    with pytest.raises(CalibrationError, match="not finite"):
        observe(quantized, frames[:1])
    assert all(q.active for q in quantizers(quantized).values())
    assert not any(m._forward_pre_hooks for m in quantized.modules())


def test_everything_can_be_switched(folded):
    quantized = insert_quantizers(folded)
    modules = [*quantizers(quantized).values(), *quant_convs(quantized).values()]
    set_active(quantized, False)
    assert not any(m.active for m in modules)
    set_active(quantized, True)
    assert all(m.active for m in modules)
