from __future__ import annotations

import copy

import pytest
import torch

from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.models.bisenet import FeatureFusion
from bisenet_edge.toolchain.models.cost import count


def build(name, classes=19):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return zoo.build(name, classes)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("bisenet-xception39", 1_541_963, 3_065_157_888),
        ("bisenet-resnet18", 12_894_163, 11_581_049_856),
    ],
)
def test_parameters_and_multiply_adds_of_the_authors_code(name, parameters, macs):
    model = build(name)
    training_parameters = sum(p.numel() for p in model.parameters())
    model.drop_auxiliary_heads()
    # Shapes decide the cost; the meta device gives them without computing the convolutions.
    with torch.device("meta"):
        cost = count(model.to("meta"), Size(640, 360))
    assert cost.parameters == parameters < training_parameters
    assert cost.macs == macs
    assert cost.mib_fp32 == parameters * 4 / 2**20
    assert cost.gflops == 2 * cost.gmacs == 2 * macs / 1e9


def test_counting_on_real_tensors_leaves_the_model_as_it_was():
    model = build("bisenet-xception39").train()
    before = copy.deepcopy(model.state_dict())
    small = count(model, Size(64, 32))
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    # Four times the pixels; the convolutions on pooled 1x1 maps stay as they are.
    larger = count(model, Size(128, 64))
    assert 3.5 * small.macs < larger.macs < 4 * small.macs


@pytest.mark.parametrize("name", [name for name in zoo.ZOO if name.startswith("bisenet-")])
def test_three_outputs_in_training_one_in_evaluation(name):
    model = build(name, classes=7)
    image = torch.rand(2, 3, 64, 96) * 255
    outputs = model.train()(image)
    assert [tuple(o.shape) for o in outputs] == [(2, 7, 8, 12)] * 2 + [(2, 7, 4, 6)]
    assert len({id(o) for o in outputs}) == 3
    with torch.no_grad():
        assert model.eval()(image).shape == (2, 7, 8, 12)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_every_parameter_learns(name):
    model = build(name, classes=3).train()
    # Two different pictures: batch normalisation of one pooled pixel alone would have no gradient.
    outputs = model((torch.rand(4, 3, 64, 64) * 255).contiguous())
    sum((o * torch.randn_like(o)).sum() for o in outputs).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("fixture", ["network", "resnet"])
def test_auxiliary_heads_matter_in_training_alone(fixture, frames, request):
    model = copy.deepcopy(request.getfixturevalue(fixture))
    image = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        before = model(image)
        model.drop_auxiliary_heads()
        assert torch.equal(model(image), before)
    assert not [n for n, _ in model.named_parameters() if n.startswith("aux")]
    with pytest.raises(RuntimeError, match="auxiliary heads were removed"):
        model.train()(image)


def test_an_image_of_the_mean_colour_is_zero_inside():
    model = build("bisenet-xception39").eval()
    seen = []
    model.spatial.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(torch.full((1, 3, 32, 32), 128.0))
        model(torch.full((1, 3, 32, 32), 192.0))
    assert not seen[0].any()
    assert (seen[1] == 1).all()


def test_feature_fusion_is_the_authors_f_plus_f_times_gate():
    module = FeatureFusion(16).eval()
    captured = {}
    module.mix.register_forward_hook(lambda m, i, o: captured.update(f=o))
    module.sigmoid.register_forward_hook(lambda m, i, o: captured.update(gate=o))
    with torch.no_grad():
        out = module(torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4))
    feature, gate = captured["f"], captured["gate"]
    assert gate.shape == (2, 16, 1, 1)
    torch.testing.assert_close(out, feature + feature * gate, rtol=1e-6, atol=1e-6)


def test_convolutions_are_initialised_as_he_and_others():
    model = build("bisenet-resnet18")
    weight = model.backbone.stage16[1].branch[0].conv.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    assert not model.head.classifier.bias.any()


def test_where_batch_normalisation_stands():
    model = build("bisenet-xception39")
    pair = model.backbone.stage8[1].branch[0]
    # Nothing between depthwise and pointwise: that is what lets export merge them.
    assert [name for name, _ in pair.named_children()] == ["depthwise", "pointwise"]
    assert pair.depthwise.groups == pair.depthwise.in_channels == 64


def test_an_unknown_model_gets_the_nearest():
    with pytest.raises(UsageError, match="unknown model") as caught:
        zoo.build("bisenet-xception93", 19)
    assert caught.value.fix == "did you mean 'bisenet-xception39'?"
