"""The engines on graphs of a few nodes: same contract, same masks, and our errors instead of theirs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from toy_graph import SIZE, toy_artifact, toy_frames

from bisenet_edge.artifact import MODEL_FILES, Artifact, hash_files
from bisenet_edge.errors import ArtifactError, BackendError, UsageError
from bisenet_edge.runtime.backends import choose_backend, native_float16, open_session
from bisenet_edge.runtime.backends.openvino_quantizers import round_weights, use_unsigned_codes

ENGINES = ("openvino", "onnxruntime", "reference")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return toy_artifact(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def frames():
    return toy_frames()


def infer(artifact, precision, backend, frames):
    with open_session(artifact, precision, backend=backend, threads=1) as session:
        return np.stack([session.infer(frame).copy() for frame in frames])


def test_fp32_masks_are_the_same_on_all_engines(artifact, frames):
    reference = infer(artifact, "fp32", "reference", frames)
    assert reference.shape == (3, *SIZE.hw)
    assert reference.dtype == np.uint8
    assert len(np.unique(reference)) > 2
    for engine in ("openvino", "onnxruntime"):
        assert np.mean(infer(artifact, "fp32", engine, frames) == reference) > 0.999


def test_int8_masks_are_the_same_on_all_engines(artifact, frames):
    reference = infer(artifact, "int8", "reference", frames)
    for engine in ("openvino", "onnxruntime"):
        masks = infer(artifact, "int8", engine, frames)
        # Some values exceed the ranges of this network: an engine that does not clamp them reaches 0.96.
        assert np.mean(masks == reference) > 0.99
        # The quantized graph is run, not the other one.
        assert (masks != infer(artifact, "fp32", "reference", frames)).any()


def test_bf16_is_the_fp32_graph_where_the_cpu_computes_it(artifact, frames, monkeypatch):
    half = native_float16("openvino")
    assert half in ("", "bf16")
    assert native_float16("onnxruntime") == native_float16("reference") == native_float16("null") == ""
    if half:
        with open_session(artifact, "bf16", backend="openvino", threads=1) as session:
            masks = np.stack([session.infer(frame).copy() for frame in frames])
            described = session.describe()
        assert (session.precision, described["precision"]) == ("bf16", "bf16")
        assert (described["convolutions"], described["convolutions_bf16"]) == (6, 6)
        fp32 = infer(artifact, "fp32", "openvino", frames)
        assert 0.95 < np.mean(masks == fp32) < 1
    monkeypatch.setattr("bisenet_edge.runtime.backends.openvino.has_bf16", lambda: False)
    assert native_float16("openvino") == ""
    with pytest.raises(BackendError, match="does not compute BF16 natively") as caught:
        open_session(artifact, "bf16", backend="openvino")
    assert caught.value.fix == "--precision int8"


@pytest.mark.parametrize("engine", ["onnxruntime", "reference"])
def test_other_engines_have_no_bf16(artifact, engine):
    with pytest.raises(BackendError, match=f"the engine '{engine}' has no BF16"):
        open_session(artifact, "bf16", backend=engine)


def reference_values(model, names, frame=None):
    """Tensors `names` of a graph, as ONNX Runtime computes them without fusions."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options)
    frame = np.zeros((*SIZE.hw, 3), np.uint8) if frame is None else frame
    return session.run(list(names), {"frame": frame[None]})


def reference_logits(artifact, frames):
    model = onnx.load(str(artifact.model_path("int8")))
    return np.stack([reference_values(model, ["logits"], frame)[0][0] for frame in frames])


def noise_to_signal(measured, reference):
    return float(np.sqrt(np.mean((measured - reference) ** 2)) / reference.std())


def test_quantizers_with_unsigned_codes_keep_the_numbers(artifact, frames):
    reference = reference_logits(artifact, frames)
    with open_session(artifact, "int8", backend="openvino", threads=1) as session:
        logits = np.stack([session.run_network(frame).copy() for frame in frames])
    # A few values in a thousand round to the other neighbour: 0.005 was measured. As the file has them,
    # OpenVINO 2026.4 computes the convolution behind the Concat wrongly, and it is 0.14.
    assert noise_to_signal(logits, reference) < 0.01


def test_all_convolutions_run_in_int8_on_openvino(artifact):
    with open_session(artifact, "int8", backend="openvino", threads=1) as session:
        int8 = session.describe()
    with open_session(artifact, "fp32", backend="openvino", threads=1) as session:
        fp32 = session.describe()
    assert (int8["convolutions"], int8["convolutions_int8"], int8["convolutions_float"]) == (6, 6, [])
    assert (fp32["convolutions"], fp32["convolutions_int8"]) == (6, 0)
    assert int8["convolutions_bf16"] == fp32["convolutions_bf16"] == 0  # also where the CPU has BF16
    assert int8["threads"] == 1
    assert int8["version"]


def test_weights_have_the_codes_that_onnx_defines(artifact, tmp_path):
    """Half-way between two codes: there OpenVINO's own rounding goes the other way for some weights."""
    import openvino

    model = onnx.load(str(artifact.model_path("int8")))
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    expected, rng = {}, np.random.default_rng(2)
    for node in [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in values]:
        scale = values[node.input[1]].reshape(-1, 1, 1, 1)
        halves = rng.integers(-127, 127, values[node.input[0]].shape) + 0.5
        weight = (halves * scale).astype(np.float32)
        (tensor,) = [t for t in model.graph.initializer if t.name == node.input[0]]
        tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
        expected[node.output[0]] = np.clip(np.rint(weight / scale), -128, 127)
    onnx.save(model, str(tmp_path / "halves.onnx"))
    for found, want in zip(reference_values(model, expected), expected.values()):
        assert (found == want).all()

    read = openvino.Core().read_model(str(tmp_path / "halves.onnx"))
    assert round_weights(read) == len(expected) == 6
    constants = {o.get_friendly_name(): o for o in read.get_ordered_ops() if o.get_type_name() == "Constant"}
    for name, want in expected.items():
        assert constants[name].data.dtype == np.int8
        assert (constants[name].data == want).all()
    assert round_weights(read) == 0  # nothing left to do


def test_only_tensors_that_are_never_negative_are_rewritten(artifact):
    import openvino

    model = openvino.Core().read_model(str(artifact.model_path("int8")))
    # stem_relu, joined and sum; the network's input and the skip are signed, weights are not touched.
    assert use_unsigned_codes(model) == 3
    quantizers = [o for o in model.get_ordered_ops() if o.get_type_name() == "FakeQuantize"]
    ends = [[quantizer.input_value(i).get_node().data for i in (3, 4)] for quantizer in quantizers]
    # Activations have one range, weights one per channel.
    whole = [quantizer.input_value(1).get_node().data.size == 1 for quantizer in quantizers]
    codes = [(float(low.flat[0]), float(high.flat[0])) for (low, high), one in zip(ends, whole) if one]
    assert sorted(codes) == [(-128.0, 127.0)] * 2 + [(0.0, 255.0)] * 3
    assert use_unsigned_codes(model) == 0  # nothing left to do


def test_residual_sums_stay_signed_where_that_is_faster(artifact):
    import openvino

    model = openvino.Core().read_model(str(artifact.model_path("int8")))
    assert use_unsigned_codes(model, signed_sums=True) == 2
    (left,) = [
        quantizer
        for quantizer in model.get_ordered_ops()
        if quantizer.get_type_name() == "FakeQuantize"
        and quantizer.input_value(0).get_node().get_type_name() == "Relu"
    ]
    add = left.input_value(0).get_node().input_value(0).get_node()
    assert add.get_type_name() == "Add"
    assert left.input_value(3).get_node().data.flat[0] == -128


@pytest.mark.parametrize("flags", [["amx_int8", "avx512_vnni"], ["avx512_vnni"], []])
def test_masks_are_the_reference_s_with_sums_of_either_sign(artifact, frames, monkeypatch, flags):
    monkeypatch.setattr("bisenet_edge.runtime.backends.openvino.int8_instructions", lambda: flags)
    masks = infer(artifact, "int8", "openvino", frames)
    assert np.mean(masks == infer(artifact, "int8", "reference", frames)) > 0.99


@pytest.mark.parametrize(
    ("message", "compiled"), [("Unsupported property SNIPPETS_MODE", True), ("out of memory", False)]
)
def test_an_openvino_without_that_setting_compiles_without_it(
    artifact, frames, monkeypatch, message, compiled
):
    import openvino

    asked = []
    compile_model = openvino.Core.compile_model

    def refusing(self, model, device, settings):
        asked.append("SNIPPETS_MODE" in settings)
        if asked[-1]:
            raise RuntimeError(message)
        return compile_model(self, model, device, settings)

    monkeypatch.setattr("bisenet_edge.runtime.backends.openvino.int8_instructions", lambda: ["amx_int8"])
    monkeypatch.setattr(openvino.Core, "compile_model", refusing)
    if compiled:
        masks = infer(artifact, "int8", "openvino", frames)
        assert np.mean(masks == infer(artifact, "int8", "reference", frames)) > 0.99
        assert asked == [True, False]
    else:
        with pytest.raises(BackendError, match="OpenVINO refuses a model"):
            open_session(artifact, "int8", backend="openvino")
        assert asked == [True]


def test_a_graph_without_quantizers_is_left_alone(artifact):
    import openvino

    assert use_unsigned_codes(openvino.Core().read_model(str(artifact.model_path("fp32")))) == 0


@pytest.mark.parametrize("engine", [*ENGINES, "null"])
def test_a_frame_that_does_not_fit_is_refused(artifact, engine):
    height, width = SIZE.hw
    with open_session(artifact, "fp32", backend=engine, threads=1) as session:
        wrong = [
            np.zeros((width, height, 3), np.uint8),
            np.zeros((height, width), np.uint8),
            np.zeros((height, width, 4), np.uint8),
            np.zeros((1, height, width, 3), np.uint8),
            np.zeros((height, width, 3), np.float32),
        ]
        for frame in wrong:
            with pytest.raises(BackendError, match="does not fit") as caught:
                session.infer(frame)
            assert caught.value.expected == "uint8 [64, 96, 3]"


@pytest.mark.parametrize("engine", [*ENGINES, "null"])
def test_a_closed_session_is_refused_and_may_be_closed_twice(artifact, engine, frames):
    session = open_session(artifact, "fp32", backend=engine, threads=1)
    session.infer(frames[0])
    session.close()
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.infer(frames[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mask_is_written_where_it_is_asked_for(artifact, engine, frames):
    out = np.full(SIZE.hw, 99, np.uint8)
    with open_session(artifact, "fp32", backend=engine, threads=1) as session:
        own = session.infer(frames[0])
        expected = own.copy()
        assert session.infer(frames[1]) is own  # the buffer is reused
        assert session.infer(frames[0], out) is out
    assert (out == expected).all()


def broken(artifact, folder, content):
    folder.mkdir()
    (folder / MODEL_FILES["fp32"]).write_bytes(content)
    return Artifact(folder, replace(artifact.manifest, files=hash_files(folder)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "unknown operator"])
def test_a_model_that_the_engine_cannot_read(artifact, tmp_path, engine, damage):
    good = artifact.model_path("fp32").read_bytes()
    model = onnx.load_from_string(good)
    model.graph.node[3].op_type = "Nonesuch"
    content = {
        "empty": b"",
        "text": b"no model at all",
        "truncated": good[: len(good) // 2],
        "unknown operator": model.SerializeToString(),
    }[damage]
    with pytest.raises(BackendError, match="refuses a model") as caught:
        open_session(broken(artifact, tmp_path / "broken", content), "fp32", backend=engine)
    assert MODEL_FILES["fp32"] in caught.value.got


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_graph_without_logits_is_refused(artifact, tmp_path, engine):
    model = onnx.load(str(artifact.model_path("fp32")))
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = "other" if name == "logits" else name
    with pytest.raises(BackendError, match="no tensor named 'logits'"):
        open_session(broken(artifact, tmp_path / "a", model.SerializeToString()), "fp32", backend=engine)


def test_a_flavour_that_the_artifact_lacks(artifact):
    with pytest.raises(ArtifactError, match="no fp16-typed model"):
        open_session(artifact, "fp16-typed", backend="onnxruntime")


def test_the_manifest_names_the_default_precision(artifact):
    with open_session(artifact, backend="null") as session:
        assert session.precision == "int8"


def test_choosing_an_engine(monkeypatch):
    assert choose_backend("auto") == "openvino"
    with pytest.raises(UsageError) as caught:
        choose_backend("openvno")
    assert caught.value.fix == "did you mean 'openvino'?"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "onnxruntime" or None)
    assert choose_backend("auto") == "onnxruntime"
    assert choose_backend("reference") == "reference"  # never chosen, only asked for
    with pytest.raises(BackendError, match="no inference engine") as caught:
        choose_backend("openvino")
    assert caught.value.fix == "pip install openvino"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="no inference engine"):
        choose_backend("auto")
    with pytest.raises(BackendError, match="no inference engine") as caught:
        choose_backend("reference")
    assert caught.value.fix == "pip install onnxruntime"
    assert choose_backend("null") == "null"


def test_importing_the_runtime_imports_no_engine():
    program = """
import sys
import bisenet_edge.runtime.backends, bisenet_edge.runtime.accuracy, bisenet_edge.runtime.pipeline.segmenter
import bisenet_edge.runtime.datasets, bisenet_edge.runtime.selftest
print(sorted({"openvino", "onnxruntime", "onnx", "torch", "click"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
