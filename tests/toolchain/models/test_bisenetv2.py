from __future__ import annotations

import pytest
import torch

from bisenet_edge.frame import Size
from bisenet_edge.toolchain.models.bisenetv2 import BiSeNetV2, ContextEmbedding, GuidedAggregation
from bisenet_edge.toolchain.models.cost import count

PAPER_GFLOPS = 21.15  # section 5 of the paper; what it counts, it does not say


def test_it_costs_what_the_public_implementation_costs():
    network = BiSeNetV2(19)
    network.drop_auxiliary_heads()
    with torch.device("meta"):
        cost = count(network.to("meta"), Size(1024, 512))
    # Counted on CoinCheung/BiSeNet's network without its auxiliary heads.
    assert cost.parameters == 3_358_627
    assert cost.macs == 24_603_312_128
    assert cost.gmacs == pytest.approx(PAPER_GFLOPS, rel=0.17)


def test_the_semantic_branch_gives_a_feature_map_per_booster():
    stages = BiSeNetV2(3).eval().semantic(torch.zeros(1, 3, 64, 96))
    assert [tuple(s.shape[1:]) for s in stages] == [
        (16, 16, 24), (32, 8, 12), (64, 4, 6), (128, 2, 3), (128, 2, 3)
    ]  # fmt: skip


def test_context_is_one_vector_for_the_whole_picture():
    block = ContextEmbedding(8).eval()
    seen = []
    block.out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 8, 4, 6)
    with torch.no_grad():
        block(x)
    added = seen[0] - x
    assert added.std((2, 3)).max() < 1e-6
    assert added.std(1).min() > 0


@pytest.mark.parametrize(("closed", "silent"), [("sigmoid8", "fine"), ("sigmoid32", "coarse")])
def test_each_gate_opens_one_resolution_of_the_detail(closed, silent):
    layer = GuidedAggregation(8).eval()
    getattr(layer, closed).register_forward_hook(lambda module, inputs, output: output * 0)
    paths = {"fine": layer.detail_keep, "coarse": layer.detail_down}
    detail, semantics = torch.randn(1, 8, 16, 16), torch.randn(1, 8, 4, 4)
    with torch.no_grad():
        before = layer(detail, semantics)
        changed = {}
        for name, path in paths.items():
            handle = path.register_forward_hook(lambda module, inputs, output: output + 1)
            changed[name] = not torch.equal(layer(detail, semantics), before)
            handle.remove()
    assert changed == {name: name != silent for name in paths}
