"""SegNet and ENet: their shapes and cost, and that what is exported of them is what torch computes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from conftest import like_trained, to_planes

from bisenet_edge.frame import Size
from bisenet_edge.runtime.streets import SyntheticDataset
from bisenet_edge.toolchain.lint.linter import lint_model
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.models.cost import count
from bisenet_edge.toolchain.models.enet import ENet
from bisenet_edge.toolchain.models.network import initialise
from bisenet_edge.toolchain.models.segnet import SegNet
from bisenet_edge.toolchain.onnx_graph import census, to_float16, to_onnx
from bisenet_edge.toolchain.quant.calibrate import observe, set_ranges
from bisenet_edge.toolchain.quant.fake_quant import QuantConv, QuantConvTranspose2d, Quantizer
from bisenet_edge.toolchain.quant.fold import fold, module_of
from bisenet_edge.toolchain.quant.placement import floating, insert_quantizers, quant_convs, quantizers

CLASSES = 5
SMALL = {
    "enet": (ENet, Size(64, 40)),
    "segnet": (lambda classes: SegNet(classes, ((8, 1), (16, 2))), Size(37, 33)),  # odd at every stage
}
# What the parser of TensorRT 8.5 takes; no comparison of integers is among it, Equal reads floats.
ALLOWED = {
    "Add", "ArgMax", "Cast", "Concat", "Conv", "ConvTranspose", "DequantizeLinear", "Equal", "MaxPool", "Mul",
    "Pad", "PRelu", "QuantizeLinear", "Relu", "Resize", "Slice", "Sub", "Transpose", "Where",
}  # fmt: skip


@pytest.fixture(scope="module", params=SMALL)
def made(request):
    """(name, network in evaluation mode, its frames uint8 [2, H, W, 3])."""
    build, size = SMALL[request.param]
    frames = np.stack([sample.image for sample in SyntheticDataset("train", 2, size)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(CLASSES)
        initialise(network)
        return request.param, like_trained(network, frames), frames


@pytest.fixture(scope="module")
def graphs(made):
    """FP32 and INT8 graph modules and their ONNX forms."""
    _, network, frames = made
    size = Size(frames.shape[2], frames.shape[1])
    folded = fold(network)
    quantized = insert_quantizers(folded)
    set_ranges(quantized, observe(quantized, list(frames)), "max")
    return {name: (core, to_onnx(core, size)) for name, core in (("fp32", folded), ("int8", quantized))}


@pytest.mark.parametrize(
    ("name", "parameters", "macs", "printed"),
    [("enet", 363_954, 1_723_564_800, 3.8), ("segnet", 29_446_035, 143_344_926_720, 286.0)],
)
def test_cost_beside_the_papers(name, parameters, macs, printed):
    with torch.device("meta"):
        network = zoo.build(name, 19)
    cost = count(network, Size(640, 360))
    assert (cost.parameters, cost.macs) == (parameters, macs)
    paper = zoo.entry(name).paper
    # Operations, two per multiply-add, and parameters: not the units of the BiSeNets' rows.
    assert paper.gflops == printed
    assert paper.gmacs is paper.mib_fp32 is None
    assert cost.gflops == pytest.approx(printed, rel=0.1)
    assert round(cost.parameters / 1e6, 1) == pytest.approx(paper.parameters_m, abs=0.11)


@pytest.mark.parametrize("name", ["enet", "segnet"])
@pytest.mark.parametrize("size", [Size(640, 360), Size(1280, 720), Size(1920, 1080)], ids=str)
def test_the_papers_sizes_need_no_padding(name, size):
    with torch.device("meta"):
        network = zoo.build(name, 19).eval()
        assert not size.width % network.input_multiple
        assert not size.height % network.input_multiple
        assert network(torch.zeros(1, 3, *size.hw)).shape == (1, 19, *size.hw)


def test_one_head_of_the_pictures_size_and_every_parameter_learns(made):
    name, _, frames = made
    network = SMALL[name][0](CLASSES)
    (logits,) = network.train()(to_planes(frames))
    assert logits.shape == (2, CLASSES, *frames.shape[1:3])
    (logits * torch.randn_like(logits)).sum().backward()
    assert [n for n, p in network.named_parameters() if not p.grad.abs().sum() > 0] == []
    names = list(network.state_dict())
    network.drop_auxiliary_heads()
    assert list(network.state_dict()) == names


def test_folding_changes_nothing_but_the_number_of_operations(made, graphs):
    _, network, frames = made
    folded = graphs["fp32"][0]
    kinds = {type(module_of(folded, node)).__name__ for node in folded.graph.nodes}
    assert not kinds & {"BatchNorm2d", "Dropout2d"}
    with torch.no_grad():
        torch.testing.assert_close(folded(to_planes(frames)), network(to_planes(frames)), rtol=0, atol=1e-4)


def test_every_convolution_is_quantized_and_unpooling_is_told(made, graphs):
    name = made[0]
    quantized = graphs["int8"][0]
    convolutions = [
        m for m in quantized.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))
    ]
    assert all(isinstance(m, QuantConv) for m in convolutions)
    assert len(quant_convs(quantized)) == len(convolutions)
    assert floating(quantized) == {"unpool": 2}
    transposed = [m for m in convolutions if isinstance(m, QuantConvTranspose2d)]
    assert len(transposed) == (3 if name == "enet" else 0)
    for module in transposed:
        assert module.weight_amax.shape == (module.out_channels,)


def test_where_maxima_stand_is_read_off_unrounded_values(graphs):
    quantized = graphs["int8"][0]
    unpools = [node for node in quantized.graph.nodes if getattr(node.target, "__name__", "") == "unpool"]
    assert unpools
    for node in unpools:
        assert not isinstance(module_of(quantized, node.args[1]), Quantizer)


def test_pooling_of_codes_needs_no_quantizer_of_its_own(made, graphs):
    names = list(quantizers(graphs["int8"][0]))
    behind = [n for n in names if "unpool" not in n and ("pool" in n or "pad" in n)]
    # SegNet's pools follow tensors that nothing quantizes, because unpooling reads them as they are.
    assert behind == ([] if made[0] == "enet" else ["quantize_pool"])


@pytest.mark.parametrize("flavour", ["fp32", "int8", "int8-typed"])
def test_only_operators_that_every_engine_has(graphs, flavour):
    model = graphs[flavour.split("-")[0]][1]
    model = to_float16(model) if flavour.endswith("typed") else model
    assert set(census(model)) <= ALLOWED
    assert [tensor.name for tensor in model.graph.output] == ["mask"]
    assert any("logits" in node.output for node in model.graph.node)


@pytest.mark.parametrize("flavour", ["int8", "int8-typed"])
def test_the_linter_finds_nothing(graphs, flavour):
    model = graphs["int8"][1]
    model = to_float16(model) if flavour == "int8-typed" else model
    assert [finding.rule for finding in lint_model(model, flavour=flavour)] == []


@pytest.mark.parametrize("flavour", ["fp32", "int8"])
def test_torch_onnx_runtime_and_openvino_give_one_mask(made, graphs, flavour):
    _, _, frames = made
    core, model = graphs[flavour]
    with torch.no_grad():
        expected = core(to_planes(frames)).argmax(1).numpy()
        exact = graphs["fp32"][0](to_planes(frames)).argmax(1).numpy()
    assert len(np.unique(expected)) > 1
    # INT8 codes at a rounding border fall to either side: engines differ by as much as INT8 changes.
    least = 0.999 if flavour == "fp32" else 1 - 1.5 * np.mean(expected != exact) - 0.005
    assert least > 0.6
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    engine = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = engine.compile_model(engine.read_model(model.SerializeToString(), b""), "CPU", settings)
    for frame, mask in zip(frames, expected):
        assert np.mean(session.run(None, {"frame": frame[None]})[0][0] == mask) >= least
        assert np.mean(compiled({"frame": frame[None]})["mask"][0] == mask) >= least
