"""`export --max-drop`, `--method qat` and `train --qat`, from the command line to the artifact."""

from __future__ import annotations

import json

import pytest

from bisenet_edge.artifact import Artifact
from bisenet_edge.toolchain import search

DATA = "synthetic:?count=4&size=64x64"
EXPORT = ("export", "--int8", "--res", "64x64", "--data", DATA, "--count", "2")
RECIPE = f"""\
model = "bisenet-xception39"
data = ["{DATA}"]
epochs = 1
batch = 2
crop = "64x64"
calibration_count = 2
"""


@pytest.fixture
def recipe(workplace):
    (workplace / "qat.toml").write_text(RECIPE)
    return "qat.toml"


def test_a_promise_that_is_kept_is_in_the_report(workplace, bisenet_edge):
    code, out, err = bisenet_edge(*EXPORT, "--max-drop", "100", "--max-class-drop", "100")
    assert (code, err) == (0, "")
    assert "promise: mIoU drop at most 100, class drop at most 100" in out
    assert "kept: PTQ mse: mIoU changes by" in out
    folder = workplace / "artifacts" / "bisenet-xception39-64x64-int8"
    section = json.loads((folder / "report.json").read_text())["search"]
    assert [step["name"] for step in section["steps"]] == [
        "PTQ mse",
        "PTQ max",
        "PTQ percentile",
        "PTQ entropy",
    ]
    assert (section["passed"], section["chosen"], section["images"]) == (True, "PTQ mse", 4)
    assert "Search for INT8" in (folder / "report.html").read_text()


def test_a_promise_that_nothing_keeps_leaves_a_report_and_no_artifact(workplace, bisenet_edge, monkeypatch):
    # Two blocks instead of twelve: the same search, in a sixth of the time.
    monkeypatch.setattr(
        search, "blocks", lambda names: {"first": tuple(names[:20]), "rest": tuple(names[20:])}
    )
    code, out, err = bisenet_edge(*EXPORT, "--max-drop", "-100", "--method", "ptq")
    assert (code, err) == (3, "")
    assert "BROKEN: none of" in out
    assert out.splitlines()[-1].startswith("next: bisenet-edge export --int8 --method qat")
    failed = workplace / "artifacts" / "bisenet-xception39-64x64-int8-gate-failed"
    assert [path.name for path in failed.parent.iterdir()] == [failed.name]
    assert sorted(path.name for path in failed.iterdir()) == ["report.html", "report.json"]
    section = json.loads((failed / "report.json").read_text())["search"]
    stages = [step["stage"] for step in section["steps"]]
    assert stages == ["ptq"] * 4 + ["correction"] * 3 + ["fallback"] * 2
    assert [block["block"] for block in section["sensitivity"]] == ["first", "rest"]
    assert section["passed"] is False
    code, _, err = bisenet_edge("deploy", "jetson", str(failed))
    assert (code, "no artifact here" in err) == (1, True)


def test_fine_tuning_at_export_goes_on_where_it_was(workplace, bisenet_edge, recipe):
    words = (*EXPORT, "--method", "qat", "--qat-recipe", recipe)
    code, out, err = bisenet_edge(*words, "--max-drop", "100", "--json")
    assert code == 0
    assert "fine-tuning, epoch 1/1: loss" in err
    manifest = json.loads(out)
    assert manifest["calibration"]["method"] == "qat"
    report = json.loads((workplace / manifest["artifact"] / "report.json").read_text())
    assert [step["stage"] for step in report["search"]["steps"]] == ["qat"]
    assert [epoch["epoch"] for epoch in report["qat"]["epochs"]] == [1]
    # The same command again finds the finished run and trains no more.
    code, out, err = bisenet_edge(*words, "--max-drop", "-100", "--json")
    assert (code, err) == (3, "")
    assert json.loads(out)["artifact"] is None
    assert len(list((workplace / "runs").iterdir())) == 1


def test_a_checkpoint_of_train_qat_is_exported_as_it_was_trained(workplace, bisenet_edge, recipe):
    code, out, err = bisenet_edge("train", "--qat", "--recipe", recipe, "--res", "64x64", "--out", "run")
    assert (code, err) == (0, "")
    assert "val mIoU: FP32" in out
    best = workplace / "run" / "best.safetensors"
    code, out, err = bisenet_edge("export", str(best), "--int8", "--res", "64x64", "--json")
    assert (code, err) == (0, "")
    manifest = Artifact.open(workplace / json.loads(out)["artifact"]).manifest
    assert manifest.calibration["method"] == "qat"
    assert manifest.calibration["data"] == DATA
    # --method ptq calibrates its FP32 weights anew.
    code, out, err = bisenet_edge("export", str(best), *EXPORT[1:], "--method", "ptq", "--json")
    assert (code, json.loads(out)["calibration"]["method"]) == (0, "ptq")


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("export --max-drop 1", 2, "add --int8"),
        ("export --method qat", 2, "add --int8"),
        ("export --int8 --res 64x64 --calibration {streets} --count 3", 2, "calibrate select"),
        ("export --int8 --res 64x64 --method qat --count 1", 2, "needs labelled pictures"),
        ("export --int8 --qat-recipe no.toml", 1, "no.toml"),
        ("export --int8 --qat-epochs 2", 2, "needs labelled pictures"),
        ("train --ranges frozen --data synthetic:", 2, "add --qat"),
        ("train --qat --model bisenet-resnet18 --data synthetic:", 2, "of another network"),
        ("train --qat --data synthetic: --ranges loose", 1, "learned or frozen"),
    ],
)
def test_what_makes_no_sense_is_one_clear_error(workplace, bisenet_edge, line, code, told):
    from bisenet_edge.resources import data_folder

    words = line.format(streets=data_folder("calibration") / "streets.toml").split()
    got, out, err = bisenet_edge(*words)
    assert (got, out) == (code, "")
    assert told in err
    assert "Traceback" not in err
    assert list(workplace.iterdir()) == []
