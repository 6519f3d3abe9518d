"""A small network with weights and statistics like trained ones, and what is made of it, once per module."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.streets import SyntheticDataset
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.quant.fold import fold

SIZE = Size(96, 64)
LAST_NORM_OF_A_BRANCH = ("branch.2.pointwise.bn", "branch.1.bn", "extension.3")  # Xception39, ResNet, ENet


def to_planes(frames):
    """uint8 [N, H, W, 3] -> float [N, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


def like_trained(network, frames, seed=0):
    """Give batch normalisation scales, shifts and statistics of its own, so that folding has work to do.

    Residual branches are damped and classes made equally likely, as in trained networks: with plain random
    weights every rounding error grows from block to block, and INT8 masks are noise.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, count):
        return torch.rand(count, generator=generator) * (high - low) + low

    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.copy_(uniform(0.5, 1.5, norm.num_features))
            norm.bias.copy_(uniform(-0.3, 0.5, norm.num_features))
            norm.momentum = None  # the plain average of what is seen
        for name, module in network.named_modules():
            if name.endswith(LAST_NORM_OF_A_BRANCH):
                module.weight.mul_(0.2)
        head = getattr(network, "head", network)
        classifier = head.classifier
        inputs = 0 if isinstance(classifier, nn.ConvTranspose2d) else 1
        classifier.weight.sub_(classifier.weight.mean(inputs, keepdim=True))
        network.train()(to_planes(frames))
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean.add_(0.1 * uniform(-1, 1, norm.num_features))
            norm.running_var.mul_(uniform(0.8, 1.25, norm.num_features))
    return network.eval()


def make_network(name, classes, frames, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return like_trained(zoo.build(name, classes), frames, seed)


@pytest.fixture(scope="session")
def frames():
    """Four streets: uint8 [4, 64, 96, 3], BGR."""
    return np.stack([sample.image for sample in SyntheticDataset("train", 4, SIZE)])


@pytest.fixture(scope="session")
def network(frames):
    """bisenet-xception39 with 11 classes, in evaluation mode. Shared: copy it before changing it."""
    return make_network("bisenet-xception39", len(CAMVID), frames)


@pytest.fixture(scope="session")
def resnet(frames):
    """bisenet-resnet18 likewise."""
    return make_network("bisenet-resnet18", len(CAMVID), frames)


@pytest.fixture(scope="session")
def folded(network):
    return fold(network)


@pytest.fixture(scope="session")
def checkpoint(network):
    return Checkpoint("bisenet-xception39", CAMVID, dict(network.state_dict()), {"seed": 0}, {"miou": 0.5})
