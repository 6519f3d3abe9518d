"""What training, export and INT8 ask of every network, for those whose papers this project rebuilt."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from torch import nn

from bisenet_edge.frame import Size
from bisenet_edge.toolchain.losses import training_loss
from bisenet_edge.toolchain.models.bisenetv2 import BiSeNetV2
from bisenet_edge.toolchain.models.dlc import DLC
from bisenet_edge.toolchain.models.icnet import ICNet
from bisenet_edge.toolchain.models.network import initialise
from bisenet_edge.toolchain.models.sq import SQ
from bisenet_edge.toolchain.onnx_graph import to_onnx
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.ptq import BIAS_CORRECTION, EQUALIZATION, PostTraining, Scheme
from bisenet_edge.toolchain.recipe import Recipe

SIZE = Size(96, 64)
CLASSES = 5
# DLC with one block of each kind, which says as much as twenty; untrained, it is sure of no pixel at 0.985.
SMALL_DLC = partial(DLC, rho=0.4, blocks=(1, 1, 1))
NETWORKS = {"bisenetv2": BiSeNetV2, "icnet": ICNet, "sq": SQ, "dlc": SMALL_DLC}
STRIDES = {"bisenetv2": (8, 4, 8, 16, 32), "icnet": (4, 8, 16), "sq": (1,), "dlc": (8, 8, 8)}


# Last normalisation of a residual branch, damped as in trained networks: with plain random weights every
# rounding error grows from block to block.
DAMPED = ("branch.2.bn", "branch.3.bn", "project.bn")


def planes(frames):
    """uint8 [N, H, W, 3] -> float [N, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


def settled(name, frames):
    """A network whose batch normalisation has seen pictures; in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NETWORKS[name](CLASSES)
        initialise(network)
    with torch.no_grad():
        for path, module in network.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the plain average of what is seen
                module.weight.mul_(0.2 if path.endswith(DAMPED) else 1.0)
        network.train()(planes(frames))
    return network.eval()


@pytest.fixture(scope="module", params=NETWORKS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name, frames):
    """Shared: copy it before changing it."""
    return settled(name, frames)


@pytest.fixture(scope="module")
def quantized(network, frames):
    scheme = Scheme("max", (EQUALIZATION, BIAS_CORRECTION))
    return PostTraining(fold(network), frames[:2]).quantize(scheme)


def with_logits(model):
    """The exported graph with its logits as a second output, as bytes."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    (logits,) = [info for info in shown.graph.value_info if info.name == "logits"]
    shown.graph.output.append(logits)
    return shown.SerializeToString()


def in_onnxruntime(model, frame):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(with_logits(model), options)
    return session.run(["mask", "logits"], {"frame": frame[None]})


def in_openvino(model, frame):
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(with_logits(model)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = compiled({"frame": frame[None]})
    return found["mask"], found["logits"]


def test_one_output_in_evaluation_and_all_heads_in_training(network, name):
    strides = STRIDES[name]
    assert network.logits_stride == strides[0]
    assert network.input_multiple % network.logits_stride == 0
    image = planes(np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8))
    with torch.no_grad():
        assert network(image).shape == (2, CLASSES, 64 // strides[0], 96 // strides[0])
        outputs = NETWORKS[name](CLASSES).train()(image)
    assert isinstance(outputs, tuple)
    assert [tuple(o.shape) for o in outputs] == [(2, CLASSES, 64 // s, 96 // s) for s in strides]


def test_a_picture_of_the_smallest_size(network):
    side = network.input_multiple
    with torch.no_grad():
        logits = network(torch.rand(1, 3, side, 2 * side) * 255)
    assert logits.shape[2:] == (side // network.logits_stride, 2 * side // network.logits_stride)
    assert logits.isfinite().all()


def test_every_parameter_learns(name):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = NETWORKS[name](CLASSES).train()
        initialise(network)
        outputs = network(torch.rand(4, 3, 64, 64) * 255)
        sum((o * torch.randn_like(o)).sum() for o in outputs).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_a_step_of_training_in_half_precision(name):
    torch.manual_seed(2)
    network = NETWORKS[name](CLASSES).train()
    initialise(network)
    labels = torch.randint(0, CLASSES, (2, 64, 96))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network(torch.rand(2, 3, 64, 96) * 255)
    loss = training_loss(outputs, labels, Recipe(name, ("synthetic:",)))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_auxiliary_heads_matter_in_training_alone(name, frames):
    network = NETWORKS[name](CLASSES).eval()
    kept = sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        before = network(planes(frames[:1]))
        network.drop_auxiliary_heads()
        assert torch.equal(network(planes(frames[:1])), before)
    dropped = kept - sum(p.numel() for p in network.parameters())
    assert (dropped > 0) == (name in ("bisenetv2", "icnet"))
    if dropped:
        with pytest.raises(RuntimeError, match="auxiliary heads were removed"):
            network.train()(planes(frames[:2]))


def test_the_exported_graph_gives_the_same_logits_in_both_engines(network, frames):
    model = to_onnx(fold(network), SIZE)
    frame = frames[0]
    with torch.no_grad():
        expected = network(planes(frames[:1])).numpy()
    assert expected.std() > 0
    masks = []
    for run in (in_onnxruntime, in_openvino):
        mask, logits = run(model, frame)
        assert np.abs(logits - expected).max() < 1e-3 * np.abs(expected).max()
        assert mask.shape == (1, *SIZE.hw)
        masks.append(mask)
    assert np.mean(masks[0] == masks[1]) > 0.999


def test_int8_is_the_same_graph_in_torch_and_in_both_engines(quantized, frames):
    model = to_onnx(quantized.network, SIZE)
    with torch.no_grad():
        expected = quantized.network(planes(frames[:1])).numpy()
    for run in (in_onnxruntime, in_openvino):
        _, logits = run(model, frames[0])
        # A rounding that falls the other way spreads with depth; a wrong scale or axis would be far off.
        assert np.abs(logits - expected).mean() < 0.4 * expected.std(), run.__name__
