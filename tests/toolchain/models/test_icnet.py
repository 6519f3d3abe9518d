from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from bisenet_edge.frame import Size
from bisenet_edge.toolchain.models.cost import count
from bisenet_edge.toolchain.models.icnet import ICNet
from bisenet_edge.toolchain.models.pyramid import PyramidPooling, average_grid


def test_it_costs_what_the_released_network_costs():
    network = ICNet(19)
    network.drop_auxiliary_heads()
    with torch.device("meta"):
        cost = count(network.to("meta"), Size(2048, 1024))
    # Counted on the authors' icnet_cityscapes_bnnomerge.prototxt.
    assert cost.parameters == 6_699_987
    assert cost.macs == 29_028_777_984
    # Li et al. (CVPR 2019, DFANet), table 5: 28.3 "G" and 26.5 "M", which are multiply-adds and megabytes.
    assert cost.gmacs == pytest.approx(28.3, rel=0.03)
    assert cost.parameters * 4 / 1e6 == pytest.approx(26.5, rel=0.02)


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_a_grid_of_averages_is_adaptive_pooling_where_that_has_windows_of_one_size(bins):
    x = torch.randn(2, 4, 12, 18)
    torch.testing.assert_close(average_grid(x, bins), F.adaptive_avg_pool2d(x, bins))


@pytest.mark.parametrize(
    ("bins", "window", "stride"), [(1, (33, 65), 33), (2, (17, 33), (16, 32)), (6, (8, 15), (5, 10))]
)
def test_windows_at_the_authors_size_are_the_authors(bins, window, stride):
    x = torch.randn(1, 2, 33, 65)
    torch.testing.assert_close(average_grid(x, bins), F.avg_pool2d(x, window, stride))


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("sides", [(1, 1), (2, 3), (4, 7), (11, 20), (23, 40)])
def test_every_position_counts_at_any_size(bins, sides):
    x = torch.randn(1, 1, *sides, requires_grad=True)
    grid = average_grid(x, bins)
    assert grid.shape[2:] == tuple(min(bins, side) for side in sides)
    grid.sum().backward()
    assert (x.grad > 0).all()


def test_pyramid_pooling_of_one_colour_is_five_times_it():
    assert torch.allclose(PyramidPooling()(torch.full((1, 2, 11, 20), 3.0)), torch.tensor(15.0))


def test_halving_is_bilinear_with_half_pixel_centres():
    x = torch.randn(1, 3, 8, 12)
    torch.testing.assert_close(
        ICNet(2).halve(x), F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
    )


def test_the_lowest_branch_continues_where_the_middle_one_ends():
    network = ICNet(3).eval()
    seen = {}
    for name in ("middle", "lowest", "highest"):
        getattr(network, name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update(
                {name: (inputs[0].shape[1:], output.shape[1:])}
            )
        )
    with torch.no_grad():
        network(torch.rand(1, 3, 64, 96) * 255)
    assert seen == {
        "middle": ((3, 32, 48), (256, 4, 6)),
        "lowest": ((256, 2, 3), (256, 2, 3)),
        "highest": ((3, 64, 96), (64, 8, 12)),
    }
