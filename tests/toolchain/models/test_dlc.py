from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from bisenet_edge.frame import Size
from bisenet_edge.toolchain.models.cost import count
from bisenet_edge.toolchain.models.dlc import DLC
from bisenet_edge.toolchain.models.inception_resnet import (
    AFTER_A,
    AFTER_B,
    BlockA,
    ReductionA,
    ReductionB,
    RegionBlock,
    Stem,
)

SMALL = (1, 1, 1)


def region_convolution(module, x, inside):
    """What the authors' layer computes: windows around the positions inside alone; 0 everywhere else.

    Args:
        module: convolution + normalisation (+ ReLU), in evaluation mode.
        x: [1, C, h, w].
        inside: positions, int64 [n], of the h * w.
    """
    conv = module.conv
    windows = F.unfold(x, conv.kernel_size, conv.dilation, conv.padding)[0][:, inside]
    values = (conv.weight.flatten(1) @ windows)[None, :, :, None]
    values = module.bn(values)
    values = values if module.relu is None else module.relu(values)
    out = torch.zeros(1, conv.out_channels, x.shape[2] * x.shape[3])
    out[:, :, inside] = values[..., 0]
    return out.view(1, -1, *x.shape[2:])


@pytest.fixture
def region():
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(1, 1, 9, 11, generator=generator) < 0.4).float()


def test_a_block_computes_what_region_convolutions_would(region):
    torch.manual_seed(0)
    block = RegionBlock(24, (8, 10, 12), length=3, dilation=2).eval()
    inside = region.flatten().nonzero()[:, 0]
    x = torch.rand(1, 24, 9, 11)
    with torch.no_grad():
        branch = region_convolution(block.reduce, x, inside)
        branch = region_convolution(block.along, branch, inside)
        branch = region_convolution(block.across, branch, inside)
        both = torch.cat([region_convolution(block.branch1, x, inside), branch], dim=1)
        expected = torch.relu(x + region_convolution(block.project, both, inside))
        found = block(x, region)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    outside = (region == 0).expand_as(x)
    assert torch.equal(found[outside], x[outside])
    assert not torch.allclose(found[~outside], x[~outside])


def test_the_reduction_of_a_region_likewise(region):
    torch.manual_seed(0)
    module = ReductionB().eval()
    inside = region.flatten().nonzero()[:, 0]
    x = torch.rand(1, AFTER_A, 9, 11)
    with torch.no_grad():
        first, second, third = (region_convolution(reduce, x, inside) for reduce in module.reduce)
        third = region_convolution(module.branch3, third, inside)
        expected = torch.cat(
            [
                module.pool(x) * region,
                region_convolution(module.branch1, first, inside),
                region_convolution(module.branch2, second, inside),
                region_convolution(module.branch3_end, third, inside),
            ],
            dim=1,
        )
        found = module(x, region)
    assert found.shape[1] == AFTER_B
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_maps_stay_at_an_eighth():
    x = Stem().eval()(torch.zeros(1, 3, 64, 96))
    assert x.shape == (1, 384, 8, 12)
    assert BlockA().eval()(x).shape == x.shape
    assert ReductionA().eval()(x).shape == (1, AFTER_A, 8, 12)


@pytest.fixture
def outputs():
    """Logits of each stage and of the cascade, by threshold."""

    def run(rho):
        torch.manual_seed(0)
        network = DLC(4, rho=rho, blocks=SMALL).eval()
        seen = {}
        for name in ("head1", "head2", "head"):
            getattr(network, name).register_forward_hook(
                lambda module, inputs, output, name=name: seen.update({name: output})
            )
        with torch.no_grad():
            seen["cascade"] = network(torch.rand(1, 3, 64, 96) * 255)
        return seen

    return run


def test_with_a_threshold_of_1_the_last_stage_answers_for_all_pixels(outputs):
    seen = outputs(1.0)
    assert torch.equal(seen["cascade"], seen["head"])


def test_with_a_threshold_of_0_the_first_stage_does(outputs):
    seen = outputs(0.0)
    assert torch.equal(seen["cascade"], seen["head1"])


def test_a_pixel_gets_the_logits_of_the_first_stage_that_is_sure():
    generator = torch.Generator().manual_seed(5)
    network = DLC(4, rho=0.8, blocks=SMALL).eval()
    answers = {name: 3 * torch.randn(1, 4, 8, 12, generator=generator) for name in ("head1", "head2", "head")}
    for name, answer in answers.items():
        getattr(network, name).register_forward_hook(lambda module, inputs, output, answer=answer: answer)
    with torch.no_grad():
        found = network(torch.rand(1, 3, 64, 96) * 255)
    sure = {name: answer.softmax(1).amax(1) > 0.8 for name, answer in answers.items()}
    stage = torch.where(sure["head1"], 0, torch.where(sure["head2"], 1, 2))
    assert set(stage.unique().tolist()) == {0, 1, 2}
    chosen = torch.stack(list(answers.values()))
    assert torch.equal(found, chosen.gather(0, stage[None, :, None].expand(1, *found.shape))[0])


def test_the_loss_of_the_cascade_trains_each_stage_on_its_own_pixels():
    torch.manual_seed(0)
    network = DLC(4, rho=0.0, blocks=SMALL).train()
    logits, _, _ = network(torch.rand(2, 3, 64, 64) * 255)
    logits.sum().backward()
    # Sure of everything at stage 1: the others have no pixels.
    assert network.head1.classifier.weight.grad.abs().sum() > 0
    assert not network.head.classifier.weight.grad.any()
    assert not network.head2.classifier.weight.grad.any()


def test_blocks_as_in_figure_2():
    network = DLC(21)
    assert [len(network.stage1) - 2, len(network.stage2), len(network.stage3)] == [5, 10, 5]
    with torch.device("meta"):
        cost = count(network.to("meta"), Size(512, 512))
    # All stages on all pixels. No figure is printed of it: this is what the docstring's choices give.
    assert cost.parameters == 42_864_575
    assert cost.gmacs == pytest.approx(179.98, abs=0.01)
