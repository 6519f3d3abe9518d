"""A CUDA device computes what the CPU does: forward, training, fake quantization, the fused route."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from gpu_routes import FP32, PRECISIONS, Network, computing_in, fused_route, on_device, plain_route

from bisenet_edge.frame import Size
from bisenet_edge.metrics import agreement
from bisenet_edge.toolchain.quant.fake_quant import QuantConv2d, Quantizer
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.ptq import PostTraining, Scheme
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.tensors import logits_to_mask, to_input
from bisenet_edge.toolchain.train import train

CPU = torch.device("cpu")
MODELS = ("bisenet-xception39", "bisenet-resnet18")
# Share of equal pixels; FP16 and TF32 keep 10 bits of a number, and random weights amplify each rounding.
LEAST_SAME = {"fp32": 0.999, "tf32": 0.98, "fp16": 0.98}


def logits_of(network, frames, device):
    with torch.inference_mode():
        return network.to(device)(to_input(frames, device)).float().cpu()


@pytest.mark.parametrize("model", MODELS)
def test_forward_is_the_cpus(device, networks, frames, model):
    expected = logits_of(networks[model], frames, CPU)
    got = logits_of(copy.deepcopy(networks[model]), frames, device)
    assert got.shape == expected.shape
    # Sums in another order: some units in the last of 24 bits, times the depth of the network.
    assert float((got - expected).abs().max()) <= 1e-3 * float(expected.abs().max())
    hw = frames.shape[1:3]
    assert (
        agreement(logits_to_mask(got, hw).numpy(), logits_to_mask(expected, hw).numpy()) >= LEAST_SAME["fp32"]
    )


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: precision.name)
def test_the_folded_network_in_each_precision(device, networks, frames, precision):
    folded = fold(networks["bisenet-xception39"])
    with computing_in(precision):
        image = to_input(frames, device).to(precision.dtype)
        logits = on_device(folded, device, precision)(image).float().cpu()
        expected = logits_to_mask(folded(to_input(frames, CPU)), frames.shape[1:3])
    masks = logits_to_mask(logits, frames.shape[1:3])
    assert agreement(masks.numpy(), expected.numpy()) >= LEAST_SAME[precision.name]


def losses(folder, device):
    recipe = Recipe(
        "bisenet-xception39",
        ("synthetic:?count=4&size=64x64",),
        epochs=2,
        batch=2,
        crop="64x64",
        eval_every=2,
    )
    results = []
    best = train(recipe, folder, device=device.type, on_epoch=results.append)
    assert best.is_file()
    assert 0 <= results[-1].miou <= 1
    return [result.loss for result in results]


def test_training_in_mixed_precision_goes_the_cpus_way(device, tmp_path):
    got, expected = losses(tmp_path / "device", device), losses(tmp_path / "cpu", CPU)
    # BF16 keeps 8 bits, and the second epoch starts from what the first made of them.
    assert got == pytest.approx(expected, rel=0.1)
    assert np.isfinite(got).all()


def test_fake_quantization_of_a_tensor_is_the_cpus(device):
    x = torch.randn(2, 8, 32, 32, generator=torch.Generator().manual_seed(0)) * 3
    quantizer = Quantizer(amax=6.0)
    expected = quantizer(x)
    got = quantizer.to(device)(x.to(device)).cpu()
    step = 6.0 / 127
    different = (got - expected).abs() > step / 2
    # A tie may be rounded to the other neighbour, never further.
    assert float(different.float().mean()) <= 1e-4
    assert float((got - expected).abs().max()) <= step * 1.001


def test_fake_quantization_of_weights_is_the_cpus(device):
    torch.manual_seed(0)
    layer = QuantConv2d(torch.nn.Conv2d(8, 16, 3)).eval()
    expected = layer.quantized_weight().detach()
    got = copy.deepcopy(layer).to(device).quantized_weight().detach().cpu()
    step = layer.weight_amax.reshape(-1, 1, 1, 1) / 127
    assert float((((got - expected).abs() / step) > 0.5).float().mean()) <= 1e-3


def test_a_learned_range_gets_the_cpus_gradient(device):
    x = torch.randn(4, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    gradients = []
    for where in (CPU, device):
        quantizer = Quantizer(amax=1.5).to(where)
        quantizer.learn()
        quantizer.train()
        quantizer(x.to(where)).square().sum().backward()
        gradients.append(float(quantizer.amax.grad))
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-3)
    assert gradients[0] != 0


def test_the_int8_network_is_the_cpus(device, networks, frames):
    quantized = (
        PostTraining(fold(networks["bisenet-xception39"]), list(frames)).quantize(Scheme("max")).network
    )
    expected = logits_of(quantized, frames, CPU)
    got = logits_of(copy.deepcopy(quantized), frames, device)
    hw = frames.shape[1:3]
    # A value that falls to its other neighbour changes what comes after it: two right implementations differ.
    assert agreement(logits_to_mask(got, hw).numpy(), logits_to_mask(expected, hw).numpy()) >= 0.98


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: precision.name)
@pytest.mark.parametrize("model", MODELS)
def test_the_fused_routes_masks_are_the_plain_routes(device, networks, frames, model, precision):
    folded = fold(networks[model])
    size = Size(frames.shape[2], frames.shape[1])
    plain, fused = plain_route(folded, device), fused_route(folded, size, device, precision)
    buffers = set()
    for frame in frames:
        expected, mask = plain(frame), fused(frame)
        assert (mask.shape, mask.dtype) == (frame.shape[:2], np.uint8)
        assert agreement(mask, expected) >= LEAST_SAME[precision.name]
        assert agreement(fused(frame), expected) >= LEAST_SAME[precision.name]
        buffers.add(mask.__array_interface__["data"][0])
    assert len(buffers) == 1  # one mask buffer for all frames
    # Each frame has its own mask: a replay does not show the frame it was captured with.
    masks = {fused(frame).tobytes() for frame in frames}
    assert len(masks) == len(frames)


def test_the_captured_network_is_the_network(device, networks):
    folded = fold(networks["bisenet-xception39"])
    network = Network(folded, Size(96, 64), device, FP32)
    assert network.sample() > 0
    with computing_in(FP32):
        logits = on_device(folded, device, FP32)(network.image)
        full = torch.nn.functional.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=False)
    assert network.logits.shape == (1, 11, 64, 96)
    assert torch.allclose(network.logits, full, rtol=1e-3, atol=1e-3)
