from __future__ import annotations

import pytest
import torch
from torch import nn

from bisenet_edge.frame import Size
from bisenet_edge.toolchain.models.cost import count
from bisenet_edge.toolchain.models.sq import SQ, Fire, ParallelDilated

SQUEEZENET_FEATURES = 722_496  # parameters of torchvision's squeezenet1_1 without its classifier


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_the_encoder_is_squeezenet():
    network = SQ(19)
    *stage16, dilated = network.stage16
    assert isinstance(dilated, ParallelDilated)
    encoder = (network.stage2, network.stage4, network.stage8, *stage16)
    assert parameters(*encoder) == SQUEEZENET_FEATURES
    assert sum(isinstance(m, Fire) for m in network.modules()) == 8


def test_its_cost_is_near_the_one_that_is_printed_of_it():
    network = SQ(19)
    with torch.device("meta"):
        cost = count(network.to("meta"), Size(2048, 1024))
    assert cost.parameters == 9_489_299
    # Li et al. (CVPR 2019, DFANet), table 5: 270 "G".
    assert cost.gmacs == pytest.approx(270, rel=0.03)


def test_elu_everywhere_and_no_normalisation():
    kinds = {type(m) for m in SQ(5).modules() if not list(m.children())}
    assert kinds == {nn.Conv2d, nn.ConvTranspose2d, nn.ELU, nn.MaxPool2d}


def test_dilated_convolutions_are_added():
    module = ParallelDilated(4, 6)
    x = torch.randn(1, 4, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(module(x), torch.stack([b(x) for b in module.branches]).sum(0))
    assert [branch[0].dilation[0] for branch in module.branches] == [1, 2, 4, 8]
