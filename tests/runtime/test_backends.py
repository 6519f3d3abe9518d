"""The engines on graphs of a few nodes: same contract, same masks, and our errors instead of theirs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bisenet_edge.artifact import MODEL_FILES, Artifact, Manifest, hash_files
from bisenet_edge.errors import ArtifactError, BackendError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.backends import choose_backend, open_session
from bisenet_edge.runtime.backends.openvino_quantizers import use_unsigned_codes

SIZE = Size(96, 64)
CLASSES = 6
LABELS = LabelSet("toy", tuple("abcdef"), ((0, 0, 0),) * CLASSES)
ENGINES = ("openvino", "onnxruntime")


class Graph:
    """Builds the graph contract around a small network; with `quantized`, Q/DQ as export places them."""

    def __init__(self, quantized, seed=0):
        self.quantized = quantized
        self.rng = np.random.default_rng(seed)
        self.nodes = []
        self.constants = []

    def add(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def quantize(self, x, scale, axis=None):
        if not self.quantized:
            return x
        scale = np.asarray(scale, np.float32)
        tail = [
            self.constant(f"{x}_scale", scale),
            self.constant(f"{x}_zero", np.zeros(scale.shape, np.int8)),
        ]
        attributes = {} if axis is None else {"axis": axis}
        self.add("QuantizeLinear", [x, *tail], f"{x}_q", **attributes)
        return self.add("DequantizeLinear", [f"{x}_q", *tail], f"{x}_dq", **attributes)

    def conv(self, x, channels, output, *, kernel=3, stride=1):
        out_channels, in_channels = channels
        weight = self.rng.standard_normal((out_channels, in_channels, kernel, kernel)).astype(np.float32)
        # Without a mean: behind ReLUs one class would win everywhere.
        weight -= weight.mean((1, 2, 3), keepdims=True)
        weight /= np.sqrt(in_channels * kernel * kernel / 4)
        bias = self.rng.standard_normal(out_channels).astype(np.float32) * 0.1
        name = self.constant(f"{output}_w", weight)
        scale = np.abs(weight).max((1, 2, 3)) / 127
        inputs = [x, self.quantize(name, scale, axis=0), self.constant(f"{output}_b", bias)]
        pad = (kernel - 1) // 2
        return self.add(
            "Conv", inputs, output, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4
        )

    def model(self):
        """Two branches of convolution + ReLU, a concat, a skip with an add and a classifier at 1/8."""
        self.add("Cast", ["frame"], "float", to=TensorProto.FLOAT)
        self.add("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])
        self.constant("mean", np.float32(128))
        x = self.quantize(self.add("Sub", ["planes", "mean"], "centred"), 1.0)
        # 1/64, as in the exported stem.
        self.conv(x, (24, 3), "stem_raw", kernel=7, stride=8)
        self.constant("std", np.float32(1 / 64))
        x = self.quantize(self.add("Relu", [self.add("Mul", ["stem_raw", "std"], "stem")], "stem_relu"), 0.04)
        left = self.add("Relu", [self.conv(x, (24, 24), "left", kernel=1)], "left_relu")
        right = self.add("Relu", [self.conv(x, (24, 24), "right")], "right_relu")
        joined = self.quantize(self.add("Concat", [left, right], "joined", axis=1), 0.05)
        mixed = self.add("Relu", [self.conv(joined, (24, 48), "mix", kernel=1)], "mix_relu")
        skip = self.quantize(self.conv(x, (24, 24), "skip", kernel=1), 0.04)  # signed: no ReLU behind it
        summed = self.add("Relu", [self.add("Add", [mixed, skip], "added")], "sum")
        self.conv(self.quantize(summed, 0.08), (CLASSES, 24), "logits", kernel=1)
        self.constant("scales", np.array([1, 1, 8, 8], np.float32))
        resize = ["logits", "", "scales"]
        self.add("Resize", resize, "full", mode="linear", coordinate_transformation_mode="half_pixel")
        self.add("ArgMax", ["full"], "ids", axis=1, keepdims=0)
        self.add("Cast", ["ids"], "mask", to=TensorProto.UINT8)
        inputs = [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, *SIZE.hw, 3])]
        outputs = [helper.make_tensor_value_info("mask", TensorProto.UINT8, [1, *SIZE.hw])]
        graph = helper.make_graph(self.nodes, "toy", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    for flavour in ("fp32", "int8"):
        onnx.save(Graph(flavour == "int8").model(), str(folder / MODEL_FILES[flavour]))
    manifest = Manifest("toy", "", "toy", LABELS, SIZE, "int8", hash_files(folder))
    return Artifact(folder, manifest)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (3, SIZE.height // 8, SIZE.width // 8, 3)).astype(np.uint8)
    noise = rng.integers(0, 20, (3, *SIZE.hw, 3)).astype(np.uint8)
    return np.clip(coarse.repeat(8, 1).repeat(8, 2).astype(np.int16) + noise, 0, 255).astype(np.uint8)


def infer(artifact, precision, backend, frames):
    with open_session(artifact, precision, backend=backend, threads=1) as session:
        return np.stack([session.infer(frame).copy() for frame in frames])


def test_fp32_masks_are_the_same_on_both_engines(artifact, frames):
    first, second = (infer(artifact, "fp32", engine, frames) for engine in ENGINES)
    assert first.shape == (3, *SIZE.hw)
    assert first.dtype == np.uint8
    assert len(np.unique(first)) > 2
    assert np.mean(first == second) > 0.999


def test_int8_masks_are_the_same_on_both_engines(artifact, frames):
    first, second = (infer(artifact, "int8", engine, frames) for engine in ENGINES)
    assert np.mean(first == second) > 0.99
    # The quantized graph is run, not the other one.
    assert (second != infer(artifact, "fp32", "onnxruntime", frames)).any()


def ort_logits(artifact, frames):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    model = onnx.load(str(artifact.model_path("int8")))
    model.graph.output.append(helper.make_empty_tensor_value_info("logits"))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.stack([session.run(["logits"], {"frame": f[None]})[0][0] for f in frames])


def noise_to_signal(measured, reference):
    return float(np.sqrt(np.mean((measured - reference) ** 2)) / reference.std())


def test_quantizers_with_unsigned_codes_keep_the_numbers(artifact, frames):
    reference = ort_logits(artifact, frames)
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
    assert int8["threads"] == 1
    assert int8["version"]


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


def test_a_graph_without_logits_is_refused(artifact, tmp_path):
    model = onnx.load(str(artifact.model_path("fp32")))
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = "other" if name == "logits" else name
    with pytest.raises(BackendError, match="no tensor named 'logits'"):
        open_session(broken(artifact, tmp_path / "a", model.SerializeToString()), "fp32", backend="openvino")


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
    with pytest.raises(BackendError, match="no inference engine") as caught:
        choose_backend("openvino")
    assert caught.value.fix == "pip install openvino"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="no inference engine"):
        choose_backend("auto")
    assert choose_backend("null") == "null"


def test_importing_the_runtime_imports_no_engine():
    program = """
import sys
import bisenet_edge.runtime.backends, bisenet_edge.runtime.accuracy, bisenet_edge.runtime.segmenter
import bisenet_edge.runtime.datasets, bisenet_edge.runtime.selftest
print(sorted({"openvino", "onnxruntime", "onnx", "torch", "click"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
