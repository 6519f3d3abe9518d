"""The graph that ONNX Runtime's integer kernels get: what is fused, what changes, and what does not."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from toy_graph import CLASSES, SIZE, toy_artifact, toy_frames

from bisenet_edge.artifact import MODEL_FILES, Artifact, hash_files
from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.backends.onnxruntime import CHANGES_VALUES
from bisenet_edge.runtime.backends.onnxruntime_lowering import lower
from bisenet_edge.runtime.selftest import least_agreement, selftest

CONVOLUTIONS = ("QLinearConv", "Conv", "FusedConv")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return toy_artifact(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def lowered(artifact):
    return onnx.load_from_string(lower(artifact.model_path("int8")))


def constants(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def quantizers(model):
    """Of activations, by the tensor that they quantize."""
    values = constants(model)
    nodes = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in values]
    return {n.input[0]: (values[n.input[1]], values[n.input[2]]) for n in nodes}


def kernels(model, folder):
    """Operators after ONNX Runtime's optimizations, as (name, how often)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(model, options, disabled_optimizers=CHANGES_VALUES)
    found = [n.op_type for n in onnx.load(str(folder / "optimized.onnx")).graph.node]
    return {kind: found.count(kind) for kind in found}


def test_the_kernels_of_the_shipped_network_are_integer_ones(small_artifact, tmp_path):
    found = kernels(lower(Artifact.open(small_artifact).model_path("int8")), tmp_path)
    convolutions = sum(found.get(kind, 0) for kind in CONVOLUTIONS)
    assert convolutions > 60
    assert found["QLinearConv"] == convolutions - 1  # all but the classifier, whose output is the logits
    assert "Relu" not in found
    assert (found["QLinearAdd"], found["QLinearMul"], found["QLinearConcat"]) == (18, 3, 1)
    assert found["QLinearGlobalAveragePool"] == 4


def test_masks_of_the_shipped_network_are_those_of_the_reference(small_artifact):
    artifact = Artifact.open(small_artifact)
    with open_session(artifact, "int8", backend="onnxruntime", threads=1) as session:
        result = selftest(artifact, session)
    # The mean: at 96x64 a pole is a per cent of the picture, and one in four frames may stand out.
    assert np.mean(result.agreements) >= result.min_agreement
    assert result.min_agreement == least_agreement(artifact.manifest)
    # With as many threads as export: with others a float32 sum has another order, and one code less
    # changed 2.8 % of a mask at 96x64.
    with open_session(artifact, "int8", backend="reference") as session:
        assert set(selftest(artifact, session).agreements) == {1.0}


def test_activations_keep_their_scales_and_get_unsigned_codes(artifact, lowered):
    before, after = quantizers(onnx.load(str(artifact.model_path("int8")))), quantizers(lowered)
    assert set(before) < set(after)
    assert all(zero.dtype == np.uint8 for _, zero in after.values())
    assert {name: scale for name, (scale, _) in before.items()} == {name: after[name][0] for name in before}
    middle = {"centred": 128, "stem_relu": 0, "joined": 0, "skip": 128, "sum": 0}
    assert {name: int(after[name][1]) for name in before} == middle
    # The concat's inputs have its quantizer too, so that they are outputs of integer convolutions.
    for name in ("left_relu", "right_relu"):
        assert [float(v) for v in after[name]] == [float(v) for v in after["joined"]]


def test_weights_keep_their_codes(artifact, lowered):
    values, before = constants(lowered), constants(onnx.load(str(artifact.model_path("int8"))))
    weights = [n for n in lowered.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in values]
    assert len(weights) == 6
    for node in weights:
        assert values[node.input[2]].dtype == np.int8
        for name in node.input:
            assert (values[name] == before[name]).all()


def test_codes_are_clamped_where_the_file_clamps_them(lowered):
    values = constants(lowered)
    limits = {n.input[0]: int(values[n.input[2]]) for n in lowered.graph.node if n.op_type == "Clip"}
    unsigned = [
        n.output[0]
        for n in lowered.graph.node
        if n.op_type == "QuantizeLinear" and values[n.input[2]].dtype == np.uint8 and not values[n.input[2]]
    ]
    # Behind the concat nothing is left to clamp.
    assert set(unsigned) - set(limits) == {"joined_q"}
    assert set(limits.values()) == {127}


def test_it_ends_at_the_logits(lowered):
    (output,) = lowered.graph.output
    assert output.name == "logits"
    assert {"Resize", "ArgMax"}.isdisjoint(n.op_type for n in lowered.graph.node)
    session = onnxruntime.InferenceSession(lowered.SerializeToString())
    assert session.get_outputs()[0].shape == [1, CLASSES, SIZE.height // 8, SIZE.width // 8]


def test_without_quantizers_only_the_end_is_cut_off(artifact):
    model = onnx.load(str(artifact.model_path("fp32")))
    nodes = list(model.graph.node)
    at = next(index for index, node in enumerate(nodes) if "logits" in node.output)
    lowered = onnx.load_from_string(lower(artifact.model_path("fp32")))
    assert list(lowered.graph.node) == nodes[: at + 1]
    assert {n.data_type for n in lowered.graph.initializer} == {TensorProto.FLOAT}


def test_a_bias_that_does_not_fit_int32_stays_in_floating_point(artifact, tmp_path):
    """A channel that is all but dead has next to no scale, and its bias is all that it gives."""
    model = onnx.load(str(artifact.model_path("int8")))
    values = constants(model)
    dead = {"mix_w": values["mix_w"].copy(), "mix_w_scale": values["mix_w_scale"].copy()}
    dead["mix_w"][3], dead["mix_w_scale"][3] = 0, 1e-10
    for tensor in model.graph.initializer:
        if tensor.name in dead:
            tensor.CopyFrom(numpy_helper.from_array(dead[tensor.name], tensor.name))
    onnx.save(model, str(tmp_path / MODEL_FILES["int8"]))
    changed = Artifact(tmp_path, replace(artifact.manifest, files=hash_files(tmp_path)))
    lowered = onnx.load_from_string(lower(changed.model_path("int8")))
    biases = {n.name: n.input[2] for n in lowered.graph.node if n.op_type == "Conv"}
    assert biases["mix"] == "mix_b"
    assert biases["left"] == "left_bias_values"
    masks = []
    for engine in ("reference", "onnxruntime"):
        with open_session(changed, "int8", backend=engine, threads=1) as session:
            masks.append(np.stack([session.infer(frame).copy() for frame in toy_frames()]))
    assert np.mean(masks[0] == masks[1]) > 0.99


def test_convolutions_that_share_a_bias_each_round_it_by_their_own_scale(artifact, tmp_path):
    """Exporters merge equal constants: without training all biases of one length are one zero vector."""
    model = onnx.load(str(artifact.model_path("int8")))
    for node in model.graph.node:
        if node.name == "right":
            node.input[2] = "left_b"
    onnx.save(model, str(tmp_path / MODEL_FILES["int8"]))
    changed = Artifact(tmp_path, replace(artifact.manifest, files=hash_files(tmp_path)))
    values = constants(onnx.load_from_string(lower(changed.model_path("int8"))))
    bias = constants(model)["left_b"]
    for name in ("left", "right"):
        step = values[f"{name}_bias_scale"]
        assert np.abs(values[f"{name}_bias_codes"] * step - bias).max() <= 0.51 * step.max()
    assert (values["left_bias_scale"] != values["right_bias_scale"]).any()
    with open_session(changed, "int8", backend="onnxruntime") as session:
        session.infer(toy_frames()[0])


def test_typed_flavours_are_for_tensorrt(small_artifact):
    artifact = Artifact.open(small_artifact)
    for flavour in ("int8-typed", "fp16-typed"):
        with pytest.raises(BackendError, match="for TensorRT") as caught:
            open_session(artifact, flavour, backend="onnxruntime")
        assert "--backend reference" in caught.value.fix


def test_without_the_onnx_package_the_remedy_is_named(artifact, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendError, match="needs the package 'onnx'") as caught:
        open_session(artifact, "int8", backend="onnxruntime")
    assert "pip install onnx" in caught.value.fix
    assert "--backend reference" in caught.value.fix
    with open_session(artifact, "int8", backend="reference", threads=1) as session:
        assert session.infer(toy_frames(1)[0]).max() < CLASSES
