from __future__ import annotations

import copy

import torch

from bisenet_edge.toolchain.models.layers import SeparableConvBnRelu
from bisenet_edge.toolchain.quant import noise
from bisenet_edge.toolchain.quant.fold import fold, pairs
from bisenet_edge.toolchain.quant.noise import quieter_when_dense


def test_pairs_whose_middle_is_hard_to_round_are_better_merged(network, frames):
    """A channel between the two that is loud and unused: one scale for all rounds the others to nothing."""
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for module in changed.modules():
            if isinstance(module, SeparableConvBnRelu):
                module.depthwise.weight[0] *= 1000
                module.pointwise.conv.weight[:, 0] = 0
    folded = fold(changed)
    before = copy.deepcopy(folded.state_dict())
    chosen = quieter_when_dense(folded, list(frames[:2]), "max")
    assert chosen == {str(second.target) for _, second in pairs(folded)}
    assert all(torch.equal(before[key], value) for key, value in folded.state_dict().items())


def test_pairs_whose_product_is_hard_to_round_are_left_apart(network, frames):
    """Equal and exactly representable factors, whose products need more levels than one scale gives."""
    changed = copy.deepcopy(network)
    block = changed.backbone.stage16[2].branch[1]
    with torch.no_grad():
        # Each input channel is as strong as the next in the pair, but 1:100 in every dense filter.
        block.depthwise.weight.copy_(torch.sign(block.depthwise.weight))
        loud = torch.arange(block.depthwise.in_channels) % 2 == 0
        block.depthwise.weight[loud] *= 100
        changed.backbone.stage16[2].branch[0].pointwise.bn.weight[loud] /= 100
        changed.backbone.stage16[2].branch[0].pointwise.bn.bias[loud] /= 100
    chosen = quieter_when_dense(fold(changed), list(frames[:2]), "max")
    assert "backbone.stage16.2.branch.1.pointwise.conv" not in chosen


def test_every_pair_is_judged_on_what_the_float_network_gives_it(folded, frames, monkeypatch):
    seen = {}
    measure = noise._Comparison._measure

    def recorded(self, module, inputs):
        seen[self.name] = inputs[0].clone()
        measure(self, module, inputs)

    monkeypatch.setattr(noise._Comparison, "_measure", recorded)
    quieter_when_dense(folded, list(frames[:1]), "max")
    first, second = pairs(folded)[-1]
    expected = []
    depthwise = folded.get_submodule(str(first.target))
    handle = depthwise.register_forward_pre_hook(lambda m, inputs: expected.append(inputs[0].clone()))
    with torch.no_grad():
        folded(torch.from_numpy(frames[:1]).permute(0, 3, 1, 2).float())
    handle.remove()
    assert torch.equal(seen[str(second.target)], expected[0])
    assert len(seen) == len(pairs(folded))


def test_a_network_without_pairs(resnet, frames):
    assert quieter_when_dense(fold(resnet), list(frames[:1]), "mse") == set()
