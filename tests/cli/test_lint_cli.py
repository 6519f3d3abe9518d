"""`bisenet-edge lint` on an artifact, on a damaged one, and on single files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import onnx
import pytest

from bisenet_edge.artifact import Artifact, Manifest, hash_files, write_manifest

FLAVOURS = ("model.int8.onnx", "model.int8-typed.onnx")
CONVOLUTION = "spatial.conv3.conv"


@pytest.fixture
def change(with_artifact):
    """Change the INT8 graphs of the artifact, as if it had been exported so: edit(model), calibration."""

    def apply(edit, files=FLAVOURS, **calibration):
        for file in files:
            model = onnx.load(str(with_artifact / file))
            edit(model)
            onnx.save(model, str(with_artifact / file))
        manifest = Manifest.from_json(json.loads((with_artifact / "manifest.json").read_text()))
        calibration = {**manifest.calibration, **calibration}
        write_manifest(
            with_artifact, replace(manifest, files=hash_files(with_artifact), calibration=calibration)
        )
        return with_artifact

    return apply


def weight_pair(model):
    """QuantizeLinear and DequantizeLinear of the weights of `CONVOLUTION`, and the convolution."""
    quantizer = next(n for n in model.graph.node if n.input[0] == f"core.{CONVOLUTION}.weight")
    dequantizer = next(n for n in model.graph.node if n.input[0] == quantizer.output[0])
    return quantizer, dequantizer, next(n for n in model.graph.node if dequantizer.output[0] in n.input)


def turn_the_axis(model):
    for node in weight_pair(model)[:2]:
        node.attribute[0].i = 1


def leave_the_weights_in_floats(model):
    quantizer, dequantizer, convolution = weight_pair(model)
    convolution.input[1] = quantizer.input[0]
    model.graph.node.remove(quantizer)
    model.graph.node.remove(dequantizer)


def test_our_own_artifact_has_no_findings_and_runs_in_int8(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge("lint")
    assert (code, err) == (0, "")
    manifest = Artifact.open(with_artifact).manifest
    counts = manifest.measured["verification"]["int8 openvino convolutions"]
    assert f"no findings: {counts['total']} of {counts['total']} convolutions are in INT8" in out
    assert f"runs {counts['int8']} of {counts['total']} convolutions in INT8" in out
    assert counts["int8"] == counts["total"] > 60
    assert out.endswith(f"\nnext: bisenet-edge profile --res {manifest.size}\n")
    section = json.loads((with_artifact / "report.json").read_text())["lint"]
    assert (section["findings"], section["kept_float"]) == ([], [])
    assert section["convolutions"] == section["int8"] == counts["total"]
    assert section["engine"]["name"] == "OpenVINO"
    assert section["engine"]["convolutions_int8"] == counts["int8"]
    assert {rule["name"] for rule in section["rules"]} > {"double-quantization", "engine-float"}
    # The report is not hashed, so the artifact stays whole.
    Artifact.open(with_artifact)


def test_the_json_is_the_section_of_the_report(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge("lint", str(with_artifact), "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told.pop("artifact") == str(with_artifact)
    assert told == json.loads((with_artifact / "report.json").read_text())["lint"]


def test_findings_are_told_with_message_and_fix_and_exit_3(change, bisenet_edge):
    folder = change(turn_the_axis, files=FLAVOURS[:1])
    code, out, err = bisenet_edge("lint", str(folder))
    assert (code, err) == (3, "")
    lines = out.splitlines()
    assert lines[2].split() == ["flavour", "severity", "rule", "node"]
    assert lines[4].split()[:3] == ["int8", "error", "weight-axis"]
    assert f"weights of {CONVOLUTION} (" in lines[4]
    assert "axis 1, the output channels of a Conv along axis 0" in lines[5]
    assert lines[6].strip() == "fix: one scale per output channel: axis=0"
    # The engine was asked, and really runs this convolution in floating point.
    assert lines[7].split()[:3] == ["int8", "error", "engine-float"]
    assert f"{CONVOLUTION} (" in lines[7]
    section = json.loads((folder / "report.json").read_text())["lint"]
    assert [finding["rule"] for finding in section["findings"]] == ["weight-axis", "engine-float"]
    assert section["engine"]["convolutions_int8"] == section["engine"]["convolutions"] - 1
    assert f"errors among them: 2; {section['int8']} of {section['convolutions']}" in out
    assert out.endswith(f"\nnext: bisenet-edge export --int8 --res {Artifact.open(folder).manifest.size}\n")
    assert (folder / "report.html").read_text().count("weight-axis") >= 1


@pytest.mark.parametrize(("rule", "severity"), [("concat-scales", "warning"), ("engine-float", "error")])
def test_whether_warnings_cost_anything_is_measured_next_double(
    with_artifact, monkeypatch, bisenet_edge, rule, severity
):
    from bisenet_edge.toolchain.lint import linter
    from bisenet_edge.toolchain.lint.finding import Finding

    found = linter.lint(Artifact.open(with_artifact))
    warning = Finding(rule, severity, "a > Concat", "they differ", "one scale", "int8")
    monkeypatch.setattr(linter, "lint", lambda artifact: replace(found, findings=(warning,)))
    code, out, _ = bisenet_edge("lint", str(with_artifact))
    assert code == 3
    size = Artifact.open(with_artifact).manifest.size
    assert out.endswith(f"\nnext: bisenet-edge profile {with_artifact} --res {size}\n")


def test_what_is_kept_in_floats_on_purpose_is_a_note(change, bisenet_edge):
    folder = change(leave_the_weights_in_floats, keep_float=[CONVOLUTION])
    code, out, _ = bisenet_edge("lint", str(folder))
    assert code == 0
    assert f"kept in floating point on purpose: {CONVOLUTION}\n" in out
    section = json.loads((folder / "report.json").read_text())["lint"]
    assert section["kept_float"] == [CONVOLUTION]
    assert section["int8"] == section["engine"]["convolutions_int8"] == section["convolutions"] - 1


def test_what_is_not_kept_on_purpose_is_told_once_per_flavour(change, bisenet_edge):
    folder = change(leave_the_weights_in_floats)
    code, out, _ = bisenet_edge("lint", str(folder), "--json")
    assert code == 3
    findings = json.loads(out)["findings"]
    # The engine's account adds nothing to what the graph shows.
    assert [(f["rule"], f["flavour"]) for f in findings] == [
        ("weights-not-quantized", "int8"),
        ("weights-not-quantized", "int8-typed"),
    ]


@pytest.mark.parametrize(
    "file, code, rules", [(*FLAVOURS[:1], 0, []), ("model.fp32.onnx", 3, ["no-quantizers"])]
)
def test_a_single_file_is_linted_without_an_engine(with_artifact, workplace, bisenet_edge, file, code, rules):
    shutil.copy(with_artifact / file, workplace / "one.onnx")
    got, out, err = bisenet_edge("lint", "one.onnx", "--json")
    assert (got, err) == (code, "")
    told = json.loads(out)
    assert [finding["rule"] for finding in told["findings"]] == rules
    assert (told["engine"], told["artifact"]) == ({}, "one.onnx")
    assert sorted(path.name for path in workplace.iterdir()) == ["artifacts", "one.onnx"]
    assert bisenet_edge("lint", "one.onnx")[1].endswith("\nnext: bisenet-edge export --int8\n")


def test_what_cannot_be_linted_is_an_error_with_a_remedy(workplace, bisenet_edge):
    (workplace / "notes.onnx").write_text("not a model")
    code, out, err = bisenet_edge("lint", "notes.onnx")
    assert (code, out) == (1, "")
    assert "a model cannot be read" in err
    assert "notes.onnx" in err
    code, _, err = bisenet_edge("lint")
    assert (code, "bisenet-edge export --int8" in err) == (1, True)
    code, _, err = bisenet_edge("lint", "nowhere")
    assert (code, "no artifact here" in err) == (1, True)
    assert bisenet_edge("export", "--res", "64x64")[0] == 0
    code, _, err = bisenet_edge("lint", "artifacts/bisenet-xception39-64x64-fp32")
    assert (code, "this artifact has no int8 model" in err) == (1, True)
