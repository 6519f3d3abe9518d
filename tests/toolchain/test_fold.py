from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bisenet_edge.toolchain.quant.fold import collapse_pairs, conv_of, dense_of, fold, pairs


@pytest.fixture(scope="module", params=["network", "resnet"])
def net(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def image(frames):
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float()


def logits(model, image):
    with torch.no_grad():
        return model(image)


def assert_close(actual, expected):
    # Sums of up to 2304 products in another order; logits are around 1.
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)


def test_the_folded_network_computes_the_same(net, image):
    assert_close(logits(fold(net), image), logits(net, image))


def test_batch_normalisation_and_heads_are_gone(net):
    folded = fold(net)
    kinds = {type(m) for m in folded.modules()}
    assert nn.BatchNorm2d not in kinds
    assert not [n for n, _ in folded.named_modules() if n.startswith("aux")]
    assert not folded.training


def test_the_network_itself_is_left_alone(net):
    before = copy.deepcopy(net.state_dict())
    fold(net)
    assert net.aux16 is not None
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_the_stems_see_the_centred_frame_over_64(net):
    folded = fold(net)
    centred, scaled = [n for n in folded.graph.nodes if n.op == "call_function"][:2]
    assert (centred.args[1], scaled.args) == (128.0, (centred, 1 / 64))
    assert sum(conv_of(folded, user) is not None for user in scaled.users) == 2


def test_xception_has_51_pairs_and_resnet_none(network, resnet):
    # Three in each of 16 blocks, and a skip in the first block of each of three stages.
    found = pairs(fold(network))
    assert len(found) == 16 * 3 + 3
    assert all(first.next is second for first, second in found)
    assert pairs(fold(resnet)) == []


def test_collapsed_pairs_compute_the_same(folded, image):
    merged = collapse_pairs(folded)
    assert pairs(merged) == []
    assert len(list(merged.graph.nodes)) == len(list(folded.graph.nodes)) - len(pairs(folded))
    assert not [n for n, _ in merged.named_modules() if n.endswith("depthwise")]
    assert_close(logits(merged, image), logits(folded, image))


def test_only_the_chosen_pairs_are_merged(folded, image):
    names = [str(second.target) for _, second in pairs(folded)]
    chosen = set(names[::3])
    merged = collapse_pairs(folded, chosen.__contains__)
    assert {str(second.target) for _, second in pairs(merged)} == set(names) - chosen
    assert_close(logits(merged, image), logits(folded, image))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_dense_convolution_equals_its_pair(bias, stride):
    depthwise = nn.Conv2d(6, 6, 3, stride, 1, groups=6, bias=False)
    pointwise = nn.Conv2d(6, 10, 1, bias=bias)
    x = torch.randn(2, 6, 9, 11)
    with torch.no_grad():
        torch.testing.assert_close(dense_of(depthwise, pointwise)(x), pointwise(depthwise(x)))
