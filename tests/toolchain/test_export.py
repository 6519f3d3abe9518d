from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from bisenet_edge.artifact import MANIFEST, MODEL_FILES, Artifact
from bisenet_edge.errors import CalibrationError, CheckpointError, DatasetError, ExportError, SinkError
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID, CITYSCAPES
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.selftest import read_golden, selftest
from bisenet_edge.toolchain import export as exporting
from bisenet_edge.toolchain.export import ExportOptions, default_name, export
from bisenet_edge.toolchain.int8 import Int8Options, make_int8
from bisenet_edge.toolchain.quant.fake_quant import QuantConv2d
from bisenet_edge.toolchain.quant.fold import pairs
from bisenet_edge.toolchain.quant.select_frames import CalibrationRecipe
from bisenet_edge.toolchain.verify import verify

SIZE = Size(96, 64)
DATA = "synthetic:?count=4&size=96x64"
FP32 = ExportOptions(SIZE, verify_data=DATA)
INT8 = replace(FP32, int8=Int8Options(CalibrationRecipe(DATA, count=3, seed=0)))


@dataclass(frozen=True)
class Made:
    """What an export gave, and what it verified."""

    exported: object
    networks: dict
    frames: list
    steps: list


@pytest.fixture(scope="module")
def made(checkpoint, tmp_path_factory):
    seen, steps = [], []

    def recorded(artifact, networks, frames, progress):
        seen.append((networks, frames))
        return verify(artifact, networks, frames, progress)

    folder = tmp_path_factory.mktemp("out") / default_name(checkpoint, INT8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "verify", recorded)
        exported = export(checkpoint, INT8, folder, progress=lambda *step: steps.append(step))
    ((networks, frames),) = seen
    return Made(exported, networks, frames, steps)


def test_the_artifact_is_whole_and_verified(made):
    path = made.exported.artifact.path
    opened = Artifact.open(path)
    assert opened.manifest == made.exported.artifact.manifest
    assert path.name == "bisenet-xception39-96x64-int8"
    golden = [f"golden/{kind}-{i}.png" for kind in ("frame", "mask.fp32", "mask.int8") for i in range(4)]
    assert sorted(opened.manifest.files) == sorted([*MODEL_FILES.values(), *golden])
    on_disk = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert on_disk == {*opened.manifest.files, MANIFEST}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_manifest_says_where_it_comes_from(made, checkpoint):
    manifest = made.exported.artifact.manifest
    assert (manifest.model, manifest.labels, manifest.size) == ("bisenet-xception39", CAMVID, SIZE)
    assert manifest.precision == "int8"
    assert manifest.parent["metrics"] == checkpoint.metrics
    assert manifest.parent["recipe"] == checkpoint.recipe
    assert manifest.calibration["method"] == "ptq"
    assert manifest.calibration["observer"] == "mse"
    assert manifest.calibration["count"] == len(manifest.calibration["images"]) == 3
    assert manifest.calibration["collapsed_pairs"] == len(made.exported.int8.quantized.collapsed) > 0
    assert (manifest.calibration["corrections"], manifest.calibration["keep_float"]) == ([], [])
    assert {"torch", "onnx", "openvino", "onnxruntime", "bisenet-edge", "python"} <= set(manifest.tools)
    assert manifest.measured["machine"]["cores"] > 0
    json.dumps(manifest.to_json(), allow_nan=False)


def test_every_model_was_compared_with_torch(made):
    figures = made.exported.artifact.manifest.measured["verification"]
    assert figures["frames"] == 4
    for engine in ("reference", "openvino", "onnxruntime"):
        assert figures[f"fp32 {engine}"] > 0.999
    assert figures["fp16-typed reference"] > 0.995
    for key in ("int8 reference", "int8 openvino", "int8 onnxruntime", "int8-typed reference"):
        assert 0.5 < figures[key] <= 1
    convolutions = figures["int8 openvino convolutions"]
    assert convolutions["int8"] == convolutions["total"] == quantized_count(made)
    assert figures["fp32 openvino convolutions"]["int8"] == 0


def quantized_count(made):
    return sum(isinstance(m, QuantConv2d) for m in made.networks["int8"].modules())


def test_golden_masks_are_those_of_the_reference(made):
    artifact = made.exported.artifact
    for precision in ("fp32", "int8"):
        with open_session(artifact, precision, backend="reference", threads=1) as session:
            pairs_of = list(read_golden(artifact, precision))
            assert len(pairs_of) == 4
            for (frame, mask), original in zip(pairs_of, made.frames):
                assert (frame == original).all()
                assert np.mean(session.infer(frame) == mask) > 0.99
    with open_session(artifact, "fp32", backend="openvino", threads=1) as session:
        assert selftest(artifact, session).passed


def test_the_verification_frames_are_of_the_validation_split(made):
    # Calibration took the train split of the same data.
    calibrated = {image["name"] for image in made.exported.artifact.manifest.calibration["images"]}
    assert all("-train-" in name for name in calibrated)
    val = open_dataset(DATA, "val")
    assert all((frame == sample.image).all() for frame, sample in zip(made.frames, val))


def test_ranges_are_reported(made):
    ranges = made.exported.int8.ranges
    assert ranges["quantize_mul"]["amax"] == 127 / 64
    assert len(ranges) > 50


def test_the_faster_precision_runs_by_default_and_the_manifest_says_why(made):
    manifest, payoff = made.exported.artifact.manifest, made.exported.payoff
    assert manifest.runs == payoff.chosen
    assert manifest.measured["payoff"] == payoff.to_json()
    assert {case["precision"] for case in manifest.measured["payoff"]["cases"]} >= {"int8", "fp32"}


def test_progress_of_every_long_step_is_told_to_the_end(made):
    last = {step: (done, total) for step, done, total in made.steps}
    assert set(last) >= {"reading calibration images", "calibrating", "writing models", "verifying"}
    assert all(done == total for done, total in last.values())


def sabotaged(path):
    """Let one class win nearly everywhere."""
    model = onnx.load(str(path))
    (classifier,) = [n for n in model.graph.node if n.output[0] == "logits"]
    for tensor in model.graph.initializer:
        if tensor.name == classifier.input[2]:
            bias = numpy_helper.to_array(tensor)
            bias = bias + 50 * np.eye(len(bias), dtype=bias.dtype)[3]
            tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))
    onnx.save(model, str(path))


@pytest.mark.parametrize("flavour", MODEL_FILES)
def test_a_model_file_that_computes_something_else_is_found(made, tmp_path, flavour):
    folder = tmp_path / "copy"
    shutil.copytree(made.exported.artifact.path, folder)
    sabotaged(folder / MODEL_FILES[flavour])
    with pytest.raises(ExportError, match=f"the {flavour} graph on .* is not the network") as caught:
        verify(Artifact(folder, made.exported.artifact.manifest), made.networks, made.frames)
    assert "pixels agree" in caught.value.got


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_failed_verification_leaves_nothing_behind(checkpoint, tmp_path, monkeypatch):
    to_onnx = exporting.to_onnx

    def wrong_graph(core, size):
        changed = copy.deepcopy(core)
        with torch.no_grad():
            changed.get_submodule("head.classifier").bias[3] += 50
        return to_onnx(changed, size)

    monkeypatch.setattr(exporting, "to_onnx", wrong_graph)
    with pytest.raises(ExportError, match="is not the network"):
        export(checkpoint, FP32, tmp_path / "out" / "artifact")
    assert names(tmp_path) == []


def test_a_failed_export_leaves_the_artifact_that_was_there(checkpoint, tmp_path):
    folder = tmp_path / "artifact"
    export(checkpoint, FP32, folder)
    before = (folder / MANIFEST).read_bytes()
    too_many = replace(INT8, int8=Int8Options(CalibrationRecipe(DATA, count=5)))
    with pytest.raises(CalibrationError, match="this many images"):
        export(checkpoint, too_many, folder)
    assert names(tmp_path) == ["artifact"]
    assert (folder / MANIFEST).read_bytes() == before
    Artifact.open(folder)


def test_without_int8(checkpoint, tmp_path):
    folder = tmp_path / default_name(checkpoint, FP32)
    exported = export(checkpoint, FP32, folder)
    manifest = Artifact.open(folder).manifest
    assert folder.name == "bisenet-xception39-96x64-fp32"
    assert (manifest.precision, manifest.calibration) == ("fp32", {})
    assert {f for f in manifest.files if f.endswith(".onnx")} == {
        MODEL_FILES["fp32"],
        MODEL_FILES["fp16-typed"],
    }
    assert (exported.int8, exported.payoff) == (None, None)
    assert not [key for key in manifest.measured["verification"] if key.startswith("int8")]


@pytest.mark.parametrize(("collapse", "merged"), [("auto", None), ("never", 0)])
def test_pairs_are_merged_only_when_asked_for(checkpoint, folded, collapse, merged):
    options = Int8Options(CalibrationRecipe(DATA, count=1), "max", collapse)
    result = make_int8(checkpoint, folded, SIZE, options).quantized
    left = len(pairs(folded)) - len(result.collapsed)
    depthwise = [
        m for m in result.network.modules() if isinstance(m, QuantConv2d) and m.groups == m.in_channels > 1
    ]
    assert len(depthwise) == left
    assert len(result.collapsed) == merged if merged is not None else result.collapsed


def test_a_folder_that_cannot_be_written(checkpoint, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError):
        export(checkpoint, FP32, tmp_path / "file" / "artifact")


def test_a_folder_with_something_else_is_not_replaced(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "only-copy.jpg").touch()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "photos", tmp_path / "file", tmp_path, tmp_path.parent):
        with pytest.raises(SinkError, match=r"would be replaced|cannot be replaced"):
            export(checkpoint, FP32, folder)
    assert names(tmp_path) == ["file", "photos"]
    assert names(tmp_path / "photos") == ["only-copy.jpg"]


def test_weights_that_do_not_fit(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="do not fit"):
        export(replace(checkpoint, labels=CITYSCAPES), FP32, tmp_path / "artifact")
    assert names(tmp_path) == []


def test_verification_data_that_is_not_there(checkpoint, tmp_path):
    options = replace(FP32, verify_data=f"camvid:{tmp_path / 'none'}")
    with pytest.raises(DatasetError):
        export(checkpoint, options, tmp_path / "artifact")
    assert names(tmp_path) == []
