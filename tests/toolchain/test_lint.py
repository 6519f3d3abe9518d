"""The linter on our own exports, on planted faults, and our placement beside ModelOpt's."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import planted
import pytest
from conftest import SIZE
from onnx import TensorProto, helper, numpy_helper

from bisenet_edge.toolchain.lint.finding import ERROR, WARNING
from bisenet_edge.toolchain.lint.graph import Graph
from bisenet_edge.toolchain.lint.linter import ENGINE_RULE, RULES, lint_model
from bisenet_edge.toolchain.onnx_graph import to_float16, to_onnx
from bisenet_edge.toolchain.quant.calibrate import observe, set_ranges
from bisenet_edge.toolchain.quant.fold import collapse_pairs, fold
from bisenet_edge.toolchain.quant.placement import insert_quantizers

DATA = Path(__file__).parents[1] / "data"
KEPT = ("arm32.conv.conv", "backbone.stage8.1.branch.2.pointwise.conv", "ffm.squeeze", "head.classifier")

# What ModelOpt does and we do not, or the other way: (ours, ModelOpt's); docs/design-notes.md says why.
POOL, STEM = "backbone.stem.conv > Relu > MaxPool", "backbone.stem.conv"
CONTEXT32, CONTEXT16 = (f"arm{stride}.conv.conv > Relu > Mul > Add" for stride in (32, 16))
IN_BOTH = {
    POOL: ([], ["0"]),
    CONTEXT32: (["0", "1"], ["0"]),
    CONTEXT16: (["0", "1"], ["0"]),
}
LOGITS = {"head.classifier > Resize": ([], ["0"])}
DIFFERENCES = {
    "bisenet-xception39": {**IN_BOTH, **LOGITS, STEM: (["input", "weights"], [])},
    "bisenet-resnet18": {**IN_BOTH, **LOGITS},
    "bisenet-xception39 without its ends": IN_BOTH,
}


def quantized(folded, frames, keep_float=()):
    graph = insert_quantizers(folded, keep_float)
    set_ranges(graph, observe(graph, frames), "mse")
    return to_onnx(graph, SIZE)


@pytest.fixture(scope="module")
def exported(folded, resnet, frames):
    networks = {"xception39": folded, "collapsed": collapse_pairs(folded), "resnet18": fold(resnet)}
    return {name: quantized(network, frames) for name, network in networks.items()}


@pytest.fixture(scope="module")
def typed(exported):
    return {name: to_float16(model) for name, model in exported.items()}


@pytest.fixture
def model(exported):
    return planted.copy_of(exported["xception39"])


@pytest.fixture
def typed_model(typed):
    return planted.copy_of(typed["xception39"])


def found(model, *arguments):
    return [(finding.rule, finding.node) for finding in lint_model(model, *arguments)]


@pytest.mark.parametrize("name", ["xception39", "collapsed", "resnet18"])
def test_our_own_exports_have_no_findings(exported, typed, name):
    assert lint_model(exported[name]) == ()
    assert lint_model(typed[name]) == ()
    graph = Graph(exported[name])
    assert all(graph.is_int8(node) for node in graph.convolutions)
    assert (Graph(exported[name]).flavour, Graph(typed[name]).flavour) == ("int8", "int8-typed")


@pytest.mark.parametrize("plant", planted.FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_the_only_finding_and_names_its_node(model, plant):
    plant(model)
    findings = lint_model(model)
    assert [(finding.rule, finding.node) for finding in findings] == [planted.FAULTS[plant]]
    assert findings[0].message
    assert findings[0].fix
    assert findings[0].flavour == "int8"


@pytest.mark.parametrize(
    "plant", [planted.double_quantization, planted.both_residual_operands], ids=lambda plant: plant.__name__
)
def test_a_fault_in_the_typed_flavour_is_found_there(typed_model, plant):
    plant(typed_model)
    for tensor in typed_model.graph.initializer:
        if tensor.name == "planted.scale":
            tensor.CopyFrom(numpy_helper.from_array(np.float16(0.02), tensor.name))
    findings = lint_model(typed_model)
    assert [(f.rule, f.node) for f in findings] == [planted.FAULTS[plant]]
    assert findings[0].flavour == "int8-typed"


def test_every_rule_has_a_planted_fault_and_a_line_of_its_own():
    names = [rule.name for rule in RULES]
    elsewhere = {"cast-inside", "mixed-float", "scale-precision", "no-quantizers"}  # tests of their own
    assert {name for name, _ in planted.FAULTS.values()} | elsewhere == set(names)
    assert len(set(names)) == len(names)
    assert ENGINE_RULE[0] not in names
    assert all(rule.what and rule.severity in (ERROR, WARNING) for rule in RULES)


def test_a_float_convolution_tells_what_is_missing_and_where_the_reformats_are(model):
    planted.weights_missing(model)
    (finding,) = lint_model(model)
    assert finding.severity == ERROR
    assert finding.message.startswith("its weights (core.spatial.conv2.conv.weight) have no quantizer")
    assert "in front (/core/quantize_spatial_conv1_relu/DequantizeLinear)" in finding.message
    assert "behind (/core/quantize_spatial_conv2_relu/QuantizeLinear)" in finding.message


def test_a_float_block_names_both_borders(model):
    planted.float_sigmoid(model)
    (finding,) = lint_model(model)
    assert "in front (planted/DQ) and behind (/core/quantize_arm32_sigmoid/QuantizeLinear)" in finding.message


def test_a_second_quantizer_of_the_same_scale_is_told_to_change_nothing(model):
    tensor = planted.at(model, planted.CONV).input[0]
    first, _ = planted.pair_of(model, tensor)
    scale = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == first.input[1]))
    planted.add_pair(model, tensor, [planted.at(model, planted.CONV)], scale)
    (finding,) = lint_model(model)
    assert finding.rule == "double-quantization"
    assert "with one scale, which changes nothing" in finding.message


def test_a_quantizer_in_front_of_a_max_pool_serves_the_convolution_behind_it(model):
    """TensorRT moves it past the pool, which only chooses among codes."""
    pool = planted.at(model, "backbone.stem.conv > Relu > MaxPool")
    (quantizer,) = [n for n in model.graph.node if n.input[0] == pool.output[0]]
    dequantizer = next(n for n in model.graph.node if n.input[0] == quantizer.output[0])
    planted.add_pair(model, pool.input[0], [pool])
    planted.replace_input(model.graph.node, dequantizer.output[0], pool.output[0])
    model.graph.node.remove(dequantizer)
    model.graph.node.remove(quantizer)
    assert lint_model(model) == ()


def test_convolutions_kept_in_floats_on_purpose_are_no_findings(folded, frames):
    model = quantized(collapse_pairs(folded), frames, KEPT)
    assert lint_model(model, KEPT) == ()
    assert lint_model(to_float16(model), KEPT) == ()
    # Not named, they are errors, and nothing hides them.
    errors = {f.node.split(" (")[0] for f in lint_model(model) if f.severity == ERROR}
    assert errors == set(KEPT)


def test_casts_inside_the_typed_graph_are_told_but_not_those_at_its_ends(typed_model):
    relu = planted.at(typed_model, f"{planted.CONV} > Relu")
    tensor = relu.input[0]
    there = helper.make_node("Cast", [tensor], ["wide"], "planted/There", to=TensorProto.FLOAT)
    back = helper.make_node("Cast", ["wide"], ["narrow"], "planted/Back", to=TensorProto.FLOAT16)
    relu.input[0] = "narrow"
    planted.put_behind(typed_model, tensor, [there, back])
    assert found(typed_model) == [
        ("cast-inside", f"{planted.CONV} > Cast (planted/There)"),
        ("cast-inside", f"{planted.CONV} > Cast > Cast (planted/Back)"),
    ]


def test_a_constant_of_another_float_type_is_found(typed_model):
    bias = next(t for t in typed_model.graph.initializer if t.name == f"core.{planted.CONV}.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias).astype(np.float32), bias.name))
    assert found(typed_model) == [("mixed-float", f"{planted.CONV} (/core/conv_1/Conv)")]


def test_a_graph_without_quantizers_is_one_finding(exported):
    model = planted.copy_of(exported["collapsed"])
    for node in [n for n in model.graph.node if n.op_type == "DequantizeLinear"]:
        planted.remove_pair(model, node.output[0])
    (finding,) = lint_model(model)
    assert (finding.rule, finding.severity) == ("no-quantizers", ERROR)
    assert "all 68 convolutions" in finding.message


def test_a_typed_graph_in_float32_is_found(exported):
    model = planted.copy_of(exported["xception39"])
    model.opset_import[0].version = 19
    assert found(model, (), "int8-typed") == [("mixed-float", "the graph")]


@pytest.mark.parametrize("scale, findings", [(5e-6, 1), (2e-5, 0)])
def test_a_scale_that_float16_rounds_by_half_a_step_is_found(typed_model, scale, findings):
    tensor = planted.at(typed_model, planted.CONV).input[1]
    planted.set_numbers(typed_model, tensor, scale=np.full(64, scale, np.float16))
    assert found(typed_model) == [("scale-precision", planted.WEIGHTS)] * findings
    # In one weight of 127 steps, the rounding of the scale is this many steps.
    error = 127 * abs(float(np.float16(scale)) / scale - 1)
    assert error < 0.5 or findings


def test_a_channel_of_zeros_may_have_a_tiny_scale(typed_model):
    tensor = planted.at(typed_model, planted.CONV).input[1]
    scale = np.full(64, 0.01, np.float16)
    scale[3] = 1e-7
    planted.set_numbers(typed_model, tensor, scale=scale)
    assert found(typed_model) == []


@pytest.mark.parametrize("axis, findings", [(1, 0), (0, 1)])
def test_a_transposed_convolution_has_its_channels_along_axis_1(axis, findings):
    weights = np.ones((4, 4, 2, 2), np.float32)
    numbers = {"scale": np.full(4, 0.01, np.float32), "zero": np.zeros(4, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "scale", "zero"], ["codes"], "Q", axis=axis),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["back"], "DQ", axis=axis),
        helper.make_node("ConvTranspose", ["frame", "back"], ["logits"], "Up"),
    ]
    info = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, None, None]) for n in ("frame", "logits")
    ]
    constants = [numpy_helper.from_array(v, n) for n, v in {"w": weights, **numbers}.items()]
    graph = helper.make_graph(nodes, "up", info[:1], info[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    assert [f for f in found(model) if f[0] == "weight-axis"] == [
        ("weight-axis", "weights of Up (Q)")
    ] * findings


@pytest.mark.parametrize("name", DIFFERENCES)
def test_our_placement_is_that_of_modelopt_but_for_named_differences(exported, name):
    recorded = json.loads((DATA / "modelopt-placement.json").read_text())["networks"]
    placement = runpy.run_path(str(DATA / "modelopt_placement.py"))["placement"]
    ours, theirs = placement(exported[name.split()[0].removeprefix("bisenet-")]), recorded[name]
    assert len(theirs) > 50
    differences = {
        path: (ours.get(path, []), theirs.get(path, []))
        for path in {**ours, **theirs}
        if ours.get(path) != theirs.get(path)
    }
    assert differences == DIFFERENCES[name]


def test_every_difference_from_modelopt_is_in_the_design_notes():
    notes = (DATA.parents[1] / "docs" / "design-notes.md").read_text(encoding="utf-8")
    for path in {path for paths in DIFFERENCES.values() for path in paths}:
        assert f"`{path}`" in notes


def test_the_path_of_a_long_chain_shows_its_two_ends():
    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "core.first.weight")
    nodes = [helper.make_node("Conv", ["x", weight.name], ["y0"], name="conv")]
    kinds = ["Relu", "Sigmoid", "Abs", "Neg", "Exp", "Log", "Sqrt", "Tanh"]
    nodes += [helper.make_node(kind, [f"y{i}"], [f"y{i + 1}"], name=kind) for i, kind in enumerate(kinds)]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 1, 1]) for n in ("x", "y8")]
    graph = Graph(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])))
    assert graph.path(graph.nodes[6]) == "first > Relu > Sigmoid > Abs > Neg > Exp > Log"
    assert graph.path(graph.nodes[8]) == "first > Relu > Sigmoid > Abs > ... > Log > Sqrt > Tanh"
