"""Every form of BiSeNet: its parts, its quantizers by the rules, and that its graph is the network.

Around a backbone of four convolutions: the real ones have tests of their own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import like_trained, to_planes
from onnx import helper
from torch import nn

from bisenet_edge.errors import ConfigError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.lint.linter import lint_model
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.models.ablation import ABLATION
from bisenet_edge.toolchain.models.bisenet import BACKBONES, BiSeNet
from bisenet_edge.toolchain.models.bisenet_config import XCEPTION39, BiSeNetConfig
from bisenet_edge.toolchain.models.layers import ConvBnRelu
from bisenet_edge.toolchain.models.network import initialise
from bisenet_edge.toolchain.onnx_graph import to_float16, to_onnx
from bisenet_edge.toolchain.quant.calibrate import observe, set_ranges
from bisenet_edge.toolchain.quant.equalize import equalize
from bisenet_edge.toolchain.quant.fake_quant import QuantConv2d, Quantizer
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.placement import floating, insert_quantizers, quantizers
from bisenet_edge.toolchain.quant.ptq import BIAS_CORRECTION, EQUALIZATION, PostTraining, Scheme
from bisenet_edge.toolchain.quant.twin import twin_of, with_twin
from bisenet_edge.toolchain.tensors import logits_to_mask

SIZE = Size(96, 64)
CLASSES = 7
MEAN, STD = (82.2, 94.1, 83.1), (53.9, 54.8, 53.9)  # of Cityscapes
FORMS = {
    **{name: row.config for name, row in ABLATION.items() if name != "bisenet-xception39"},
    "one convolution for a gate": replace(XCEPTION39, gate="conv-bn", head_width=256),
    "narrow gate": replace(XCEPTION39, gate_reduction=4),
    "nearest": replace(XCEPTION39, upsampling="nearest"),
    "corners": replace(XCEPTION39, upsampling="bilinear-corners"),
    "normalised per channel": replace(XCEPTION39, mean=MEAN, std=STD),
    "one other mean": replace(XCEPTION39, mean=(102.0,) * 3, std=(51.0,) * 3),
    "no auxiliary heads": replace(XCEPTION39, auxiliary_width=0),
}


class SmallBackbone(nn.Module):
    """Features at 1/16 and 1/32."""

    channels = (16, 24)

    def __init__(self):
        super().__init__()
        self.stem = ConvBnRelu(3, 8, 7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage8 = ConvBnRelu(8, 16, 3, stride=2)
        self.stage16 = ConvBnRelu(16, 16, 3, stride=2)
        self.stage32 = ConvBnRelu(16, 24, 3, stride=2)

    def forward(self, x):
        x16 = self.stage16(self.stage8(self.pool(self.stem(x))))
        return x16, self.stage32(x16)


@pytest.fixture(scope="module", params=FORMS)
def form(request):
    return FORMS[request.param]


@pytest.fixture(scope="module", autouse=True)
def small_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "xception39", SmallBackbone)
        yield


@pytest.fixture(scope="module")
def network(form, frames):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = BiSeNet(form, CLASSES)
        initialise(made)
        return like_trained(made, frames)


@pytest.fixture(scope="module")
def folded(network):
    return fold(network)


@pytest.fixture(scope="module")
def made(folded, frames):
    scheme = Scheme("mse", (EQUALIZATION, BIAS_CORRECTION))
    return PostTraining(folded, frames, collapse="never").quantize(scheme)


@pytest.fixture(scope="module")
def quantized(made):
    return made.network


def test_json_round_trip(form):
    assert BiSeNetConfig.from_json(form.to_json()) == form


def test_training_and_evaluation(form, network):
    image = torch.rand(2, 3, 64, 96) * 255
    outputs = network.train()(image)
    network.eval()
    assert [tuple(o.shape[2:]) for o in outputs] == [(8, 12), (8, 12), (4, 6)][
        : 3 if form.auxiliary_width else 1
    ]
    with torch.no_grad():
        assert network(image).shape == (2, CLASSES, 8, 12)


def test_folding_changes_nothing(network, folded, frames):
    with torch.no_grad():
        expected = network(to_planes(frames))
        torch.testing.assert_close(folded(to_planes(frames)), expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.1


def test_quantizers_stand_by_the_rules(form, folded):
    graph = insert_quantizers(folded)
    assert floating(graph) == {}
    modules = dict(graph.named_modules())

    def kind(node):
        return type(modules.get(str(node.target)))

    for node in graph.graph.nodes:
        if kind(node) is QuantConv2d:
            assert kind(node.args[0]) is Quantizer
        if node.op == "call_function" and node.target is torch.nn.functional.interpolate:
            assert kind(node.args[0]) is Quantizer
    gates = 2 * form.attention + (form.fusion == "ffm")
    products = [
        n for n in graph.graph.nodes if "mul" in str(n.target) and all(kind(a) is Quantizer for a in n.args)
    ]
    assert len(products) == gates
    sums = [
        n
        for n in graph.graph.nodes
        if n.op == "call_function"
        and "add" in str(n.target)
        and all(kind(a) is Quantizer for a in n.args[:2])
    ]
    assert len(sums) == 1 + form.global_pooling + (form.fusion == "sum")
    first = next(iter(quantizers(graph).values()))
    assert first.fixed == (form.mean == (128.0,) * 3)


def test_the_first_tensor_covers_every_frame(form, quantized):
    # Black, white and pure colours, in each channel: no more than the observer's clipping is lost.
    first = next(iter(quantizers(quantized).values()))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (form.mean, form.std))
    levels = (torch.arange(256.0).view(1, 1, 16, 16).repeat(1, 3, 1, 1) - mean) / std
    step = float(first.amax) / 127
    inside = levels.abs() <= float(first.amax)
    assert ((first(levels) - levels).abs()[inside] <= step / 2 + 1e-6).all()
    assert inside.float().mean() > 0.75
    if form.mean == (128.0,) * 3:
        assert torch.equal(first(levels), levels)


def mask_of(model, frame):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(["mask"], {"frame": frame[None]})[0][0]


def test_the_exported_graph_is_the_network(form, folded, quantized, frames):
    int8 = to_onnx(quantized, SIZE)
    with torch.no_grad():
        expected, rounded = (
            logits_to_mask(core(to_planes(frames[:1])), SIZE.hw)[0].numpy() for core in (folded, quantized)
        )
    assert len(np.unique(expected)) > 2
    changed = np.mean(rounded != expected)
    assert changed < 0.4
    assert np.mean(mask_of(int8, frames[0]) == rounded) > 1 - 1.5 * changed - 0.005
    assert lint_model(int8) == ()
    assert lint_model(to_float16(int8)) == ()
    resizes = [n for n in int8.graph.node if n.op_type == "Resize"]
    modes = [{a.name: helper.get_attribute_value(a) for a in n.attribute} for n in resizes]
    mode, coordinates = {
        "nearest": (b"nearest", (b"asymmetric",)),
        "bilinear-corners": (b"linear", (b"align_corners",)),
        "bilinear": (b"linear", (b"half_pixel", b"pytorch_half_pixel")),
    }[form.upsampling]
    for attributes in modes[:2]:
        assert attributes["mode"] == mode
        assert attributes.get("coordinate_transformation_mode", b"half_pixel") in coordinates
    # The last one is that of the device's exact argmax.
    assert modes[2]["mode"] == b"linear"
    assert b"half_pixel" in modes[2].get("coordinate_transformation_mode", b"half_pixel")


def keys(name):
    with torch.device("meta"):
        return {key.split(".")[0] for key in zoo.ZOO[name].build(19).state_dict()}


def test_the_ablation_adds_one_part_after_the_other():
    base = {"backbone", "arm32", "refine32", "arm16", "refine16", "head", "aux32", "aux16"}
    assert {name: keys(name) - base for name in ABLATION} == {
        "bisenet-xception39-cp": set(),
        "bisenet-xception39-cp-sp-sum": {"spatial"},
        "bisenet-xception39-cp-sp-ffm": {"spatial", "ffm"},
        "bisenet-xception39-cp-sp-ffm-gp": {"spatial", "ffm", "global_context"},
        "bisenet-xception39-cp-sp-ffm-arm": {"spatial", "ffm"},
        "bisenet-xception39": {"spatial", "ffm", "global_context"},
    }
    with torch.device("meta"):
        gated = [name for name, row in ABLATION.items() if hasattr(BiSeNet(row.config, 2).arm16, "gate")]
    assert gated == ["bisenet-xception39-cp-sp-ffm-arm", "bisenet-xception39"]


def test_the_ablation_beside_the_paper():
    assert [row.miou for row in ABLATION.values()] == [66.01, 66.82, 67.42, 68.42, 68.72, 71.40]
    assert [zoo.ZOO[name].build(2).config for name in ABLATION] == [row.config for row in ABLATION.values()]


def test_resnet101_is_he_and_others():
    with torch.device("meta"):
        network = zoo.ZOO["bisenet-resnet101"].build(19)
    # torchvision's resnet101 has 44,549,160 parameters, 2,049,000 of them in its classifier.
    assert sum(p.numel() for p in network.backbone.parameters()) == 44_549_160 - 2_049_000
    assert network.backbone.channels == (1024, 2048)
    assert [len(getattr(network.backbone, f"stage{s}")) for s in (4, 8, 16, 32)] == [3, 4, 23, 3]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"fusion": "product"}, ConfigError, "'fusion'"),
        ({"backbone": "vgg"}, ConfigError, "'backbone'"),
        ({"gate": "none"}, ConfigError, "'gate'"),
        ({"upsampling": "cubic"}, ConfigError, "'upsampling'"),
        ({"head_width": 0}, ConfigError, "'head_width'"),
        ({"std": [1.0, 0.0, 1.0]}, ConfigError, "normalisation"),
        ({"mean": [1.0]}, ConfigError, "normalisation"),
        ({"mean": ["a", 1, 2]}, ConfigError, "'mean'"),
        ({"attention": "yes"}, ConfigError, "wrong type"),
        ({"atention": True}, UsageError, "unknown key"),
    ],
)
def test_a_configuration_that_makes_no_sense(change, error, text):
    with pytest.raises(error, match=text):
        BiSeNetConfig.from_json({**XCEPTION39.to_json(), **change})


def test_equalizing_leaves_the_network_as_it_is(folded, frames):
    with torch.no_grad():
        before = folded(to_planes(frames))
        after = equalize(folded, frames).network(to_planes(frames))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=2e-3)


def test_a_checkpoint_and_its_int8_twin_keep_the_form(form, network, made, frames, tmp_path):
    labels = LabelSet("seven", tuple("abcdefg"), ((0, 0, 0),) * CLASSES)
    weights = dict(network.state_dict())
    checkpoint = Checkpoint("bisenet-xception39", labels, weights, architecture=form.to_json())
    checkpoints.write(tmp_path / "a.safetensors", with_twin(checkpoint, made, {}))
    read = checkpoints.read(tmp_path / "a.safetensors")
    assert read.architecture == form.to_json()
    twin = twin_of(read)
    with torch.no_grad():
        image = to_planes(frames[:1])
        assert torch.equal(read.build()(image), network(image))
        assert torch.equal(twin.network(image), made.network(image))


def test_a_range_is_set_for_every_tensor(folded, frames):
    graph = insert_quantizers(folded)
    set_ranges(graph, observe(graph, frames), "max")
    assert all(float(q.amax) > 0 for q in quantizers(graph).values())
