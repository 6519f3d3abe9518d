"""`evaluate`, and the views of a picture in `check`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bisenet_edge.artifact import Artifact
from bisenet_edge.resources import shipped_checkpoint

STREETS = ("--data", "synthetic:?count=4&size=96x64")
VIEWS = ("--scales", "0.5,1", "--flip")


def row(out, name):
    return next(line.split() for line in out.splitlines() if line.startswith(f"{name} "))


def test_evaluate_an_artifact(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge("evaluate", *STREETS, "--confusion")
    assert (code, err) == (0, "")
    runs = Artifact.open(with_artifact).manifest.runs  # the fastest on this machine: int8, or bf16
    assert f"bisenet-xception39 {runs} on openvino, 96x64; single scale" in out
    assert "confusion: % of a label's pixels" in out
    assert out.rstrip().splitlines()[-1].startswith("next: bisenet-edge check --data ")
    code, text, err = bisenet_edge("evaluate", str(with_artifact), *STREETS, "--json")
    assert (code, err) == (0, "")
    told = json.loads(text)
    assert f"mIoU {100 * told['miou']:.2f}   pixel accuracy {100 * told['pixel_accuracy']:.2f}" in out
    assert row(out, "road")[1] == f"{100 * told['iou'][told['classes'].index('road')]:.2f}"
    report = json.loads((with_artifact / "report.json").read_text())["evaluation"]
    frames = report.pop("frames")
    assert {key: told[key] for key in report} == report
    assert len(frames["best"]) == len(frames["worst"]) == 2
    for frame in (*frames["best"], *frames["worst"]):
        assert (with_artifact / frame["file"]).is_file()
    page = (with_artifact / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    Artifact.open(with_artifact)  # whole


def test_check_says_where_the_pictures_are_and_evaluate_keeps_the_split(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge("check", *STREETS)
    assert (code, err) == (0, "")
    assert out.rstrip().splitlines()[-3:-1] == [
        f"report: {with_artifact.relative_to(Path.cwd())}/report.html",
        "",
    ]
    _, out, _ = bisenet_edge("evaluate", *STREETS, "--split", "train")
    assert out.rstrip().endswith("--split train")


def test_evaluate_agrees_with_check(with_artifact, bisenet_edge):
    _, checked, _ = bisenet_edge("check", *STREETS, "--json")
    told = json.loads(checked)
    for precision in ("fp32", "int8"):
        _, out, _ = bisenet_edge("evaluate", *STREETS, "--precision", precision, "--json")
        assert json.loads(out)["miou"] == told[precision]["miou"]
        assert json.loads(out)["iou"] == told[precision]["iou"]
    assert told["confusion"] == json.loads(out)["confusion"]


def test_a_checkpoint_and_its_artifact_agree(with_artifact, workplace, bisenet_edge):
    views = (*VIEWS, "--slide", "0.5")
    code, out, err = bisenet_edge(
        "evaluate", str(shipped_checkpoint()), *STREETS, *views, "--res", "96x64", "--device", "cpu", "--json"
    )
    assert (code, err) == (0, "")
    torch_told = json.loads(out)
    assert torch_told["engine"].startswith("torch ")
    assert torch_told["method"]["text"] == "scales 0.5, 1 + flip + windows overlapping by 50%"
    _, out, _ = bisenet_edge("evaluate", *STREETS, *views, "--precision", "fp32", "--json")
    assert json.loads(out)["miou"] == pytest.approx(torch_told["miou"], abs=0.002)


def test_a_page_of_a_checkpoint(workplace, bisenet_edge):
    words = ("evaluate", str(shipped_checkpoint()), *STREETS, "--report", "pages/mine.html")
    code, out, err = bisenet_edge(*words)
    assert (code, err) == (0, "")
    assert "each picture at its own size; single scale" in out
    assert "report: pages/mine.html" in out
    assert out.rstrip().splitlines()[-1].startswith("next: bisenet-edge export ")
    page = (workplace / "pages" / "mine.html").read_text()
    assert "<h1>mine</h1>" in page
    assert page.count("data:image/jpeg;base64,") == 4
    assert "http" not in page
    assert [p.name for p in (workplace / "pages").iterdir()] == ["mine.html"]


def test_check_with_views_keeps_its_gate_and_the_manifest(with_artifact, bisenet_edge):
    assert bisenet_edge("check", *STREETS)[0] == 0
    before = (with_artifact / "manifest.json").read_text()
    assert "confusion" not in before
    code, out, err = bisenet_edge("check", *STREETS, *VIEWS, "--max-drop", "100")
    assert (code, err) == (0, "")
    assert "views: scales 0.5, 1 + flip" in out
    assert "gate (mIoU drop at most 100): passed" in out
    # What is measured of many views is not what a device computes.
    assert (with_artifact / "manifest.json").read_text() == before
    accuracy = json.loads((with_artifact / "report.json").read_text())["accuracy"]
    assert accuracy["method"]["flip"] is True
    assert accuracy["frames"]["worst"]
    assert bisenet_edge("check", *STREETS, "--flip", "--max-drop", "-100")[0] == 3


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("evaluate", "--data", "synthetic:", "--scales", "0.5,x"), 2, "cannot read scales"),
        (("evaluate", "--data", "synthetic:", "--slide", "1.5"), 2, "windows cannot overlap"),
        (("check", "--data", "synthetic:", "--max-drop", "nan"), 2, "a gate needs a number"),
        (("check", "--data", "synthetic:", "--scales", "0"), 2, "these scales cannot be evaluated"),
        (("evaluate", "--data", "synthetic:", "--res", "96x64"), 2, "got:      --res"),
        (("evaluate", "no.safetensors", "--data", "synthetic:"), 1, "no checkpoint here"),
        (
            ("evaluate", "no.safetensors", "--data", "synthetic:", "--backend", "cpu"),
            2,
            "got:      --backend",
        ),
        (
            ("evaluate", "no.safetensors", "--data", "synthetic:", "--precision", "int8"),
            2,
            "export CHECKPOINT",
        ),
        (("evaluate", "--data", "synthetic:", "--report", "x.pdf"), 2, "ends in .html"),
        (("evaluate", "--data", "synthetic:", "--backend", "null"), 2, "computes no masks"),
        (("evaluate", "--data", "synthetic:", "--backend", "tensorrt", "--flip"), 1, "--backend cpu"),
        (("check", "--data", "synthetic:", "--backend", "tensorrt", "--flip"), 1, "gives masks, not class"),
        (("evaluate", "--data", "synthetic:", "--precision", "int9"), 1, "has no int9 model"),
    ],
)
def test_what_cannot_be_evaluated_is_one_clear_error(with_artifact, bisenet_edge, words, code, says):
    before = sorted(with_artifact.rglob("*"))
    found, out, err = bisenet_edge(*words)
    assert (found, out) == (code, "")
    assert says in err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert sorted(with_artifact.rglob("*")) == before


WITHOUT_TORCH = """
import json, sys
for name in ("torch", "onnxsim", "safetensors"):
    sys.modules[name] = None  # an import of it fails
from bisenet_edge.cli.app import run
for words in json.loads(sys.argv[1]):
    print("exit code", run(words))
"""


def test_an_artifact_is_evaluated_without_torch(with_artifact: Path, workplace: Path) -> None:
    lines = [
        ["evaluate", *STREETS, *VIEWS, "--slide", "0.33"],
        ["check", *STREETS, *VIEWS],
        ["evaluate", str(shipped_checkpoint()), *STREETS],
    ]
    command = [sys.executable, "-c", WITHOUT_TORCH, json.dumps(lines)]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    codes = [line for line in done.stdout.splitlines() if line.startswith("exit code")]
    assert codes == ["exit code 0", "exit code 0", "exit code 1"]
    # A checkpoint needs torch, and that is said.
    assert "no module 'torch'" in done.stderr
    assert "Traceback" not in done.stderr
