"""Every command once, in an empty folder, at a size that is quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from bisenet_edge.artifact import Artifact
from bisenet_edge.frame import Size
from bisenet_edge.runtime.backends import native_float16
from bisenet_edge.runtime.profile.result import PrecisionRatio
from bisenet_edge.runtime.profile.text import advice
from bisenet_edge.toolchain.models.zoo import ZOO

CLIP = "synthetic://?seconds=0.2&fps=20&size=96x64"
STREETS = "synthetic:?count=4&size=96x64"
CHECK = ("check", "--data", STREETS)


def next_command(out: str) -> str:
    last = out.rstrip().splitlines()[-1]
    assert last.startswith("next: bisenet-edge ") or last.startswith("next: scp ")
    return last.removeprefix("next: ")


TINY = ("--int8", "--res", "64x64", "--data", "synthetic:?count=4&size=64x64", "--count", "2")


def figure(value: float) -> str:
    return f"{value:.2f}"


def test_export_without_int8_and_of_an_odd_size(workplace, bisenet_edge):
    code, out, err = bisenet_edge("export", "--res", "641x359")
    assert (code, err) == (0, "")
    assert next_command(out) == "bisenet-edge export --int8"
    artifact = Artifact.open(workplace / "artifacts" / "bisenet-xception39-641x359-fp32")
    assert str(artifact.manifest.size) == "641x359"
    assert f"{artifact.path.relative_to(workplace)}\n" in out
    # The size is padded inside the graph: a picture of that size gives a mask of that size.
    code, _, _ = bisenet_edge("run", "synthetic://?seconds=0.1&fps=10&size=641x359", "masks/")
    assert code == 0
    mask = cv2.imread(str(workplace / "masks" / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (359, 641)
    assert mask.max() < 11


def test_export_int8_says_what_it_made(workplace, bisenet_edge):
    code, out, err = bisenet_edge("export", *TINY, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    folder = workplace / told["artifact"]
    assert folder == workplace / "artifacts" / "bisenet-xception39-64x64-int8"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {key: told[key] for key in manifest} == manifest
    assert manifest["precision"] == "int8"
    assert len(manifest["calibration"]["images"]) == 2
    assert manifest["measured"]["verification"]["int8 openvino convolutions"]["int8"] > 0
    models = {"model.fp32.onnx", "model.int8.onnx", "model.int8-typed.onnx", "model.fp16-typed.onnx"}
    assert models < set(manifest["files"])
    report = json.loads((folder / "report.json").read_text())
    assert {"export", "calibration"} <= set(report)
    assert (folder / "report.html").is_file()
    assert not list(workplace.rglob(".*"))


def test_check_prints_the_table_of_its_json(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge(*CHECK, "--max-drop", "100")
    assert (code, err) == (0, "")
    assert "gate (mIoU drop at most 100): passed" in out
    assert next_command(out) == "bisenet-edge profile --res 96x64"
    code, text, err = bisenet_edge(*CHECK, "--json")
    assert (code, err) == (0, "")
    told = json.loads(text)
    row = next(line.split() for line in out.splitlines() if line.startswith("mIoU "))
    assert row[1:] == [
        figure(100 * told["fp32"]["miou"]),
        figure(100 * told["int8"]["miou"]),
        figure(told["drop_points"]),
    ]
    assert told["images"] == 4
    assert len(told["classes"]) == len(told["int8"]["iou"]) == 11
    # The figures stay with the artifact, and the artifact stays whole.
    measured = Artifact.open(with_artifact).manifest.measured["accuracy"]
    assert measured["drop_points"] == told["drop_points"]
    assert measured["machine"]["cpu"]
    assert json.loads((with_artifact / "report.json").read_text())["accuracy"]["images"] == 4


def test_a_failed_gate_is_a_report_and_exit_3(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge(*CHECK, "--max-drop", "-100")
    assert (code, err) == (3, "")
    assert "gate (mIoU drop at most -100): FAILED" in out
    assert next_command(out).startswith("bisenet-edge export --int8 --res 96x64 --data ")
    assert next_command(out).endswith(" --max-drop -100")
    code, out, err = bisenet_edge(*CHECK, "--max-class-drop", "-100", "--json")
    assert (code, err) == (3, "")
    assert json.loads(out)["passed"] is False


def test_profile_prints_the_table_of_its_json(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge("profile", "--res", "96x64", "--samples", "100")
    # On a busy machine a profile may be inconclusive; it says so, and the table is there all the same.
    assert code in (0, 4)
    assert (code == 4) == ("INCONCLUSIVE" in out)
    assert err == ""
    assert next_command(out).startswith("bisenet-edge profile " if code else "bisenet-edge run ")
    told = json.loads((with_artifact / "report.json").read_text())["profile"]
    for case in told["cases"]:
        row = next(line for line in out.splitlines() if line.startswith(case["name"]))
        assert row.removeprefix(case["name"]).split()[:3] == [
            figure(case["frame_to_mask"][key]) for key in ("p50_ms", "p90_ms", "p99_ms")
        ]
    floats = ["fp32", *filter(None, [native_float16("openvino")])]
    assert sorted(case["precision"] for case in told["cases"]) == sorted(["int8", *floats])
    assert [ratio["against"] for ratio in told["ratios"]] == floats
    for ratio in told["ratios"]:
        assert f"INT8 takes {figure(ratio['int8_over_fp32'])} of {ratio['against'].upper()}'s time" in out
    # The figures stay with the artifact, and the artifact stays whole.
    latency = Artifact.open(with_artifact).manifest.measured["latency"]
    assert latency["frame_to_mask"] == {
        case["precision"]: {key: case["frame_to_mask"][key] for key in ("p50_ms", "p90_ms", "p99_ms")}
        for case in told["cases"]
    }
    assert (latency["backend"], latency["camera"], latency["samples"]) == ("openvino", "1280x720", 100)
    assert latency["conclusive"] == (code == 0)
    assert latency["machine"]["cpu"]
    assert latency["threads"] >= 1
    assert datetime.fromisoformat(latency["date"]).tzinfo


def test_profile_of_two_sizes_gives_each_artifact_its_own(with_artifact, workplace, bisenet_edge):
    assert bisenet_edge("export", *TINY)[0] == 0
    words = ("--res", "96x64", "--res", "64x64", "--precision", "int8", "--precision", "fp32", "--json")
    code, out, err = bisenet_edge("profile", "--samples", "100", *words)
    assert (code in (0, 4), err) == (True, "")
    whole = json.loads(out)
    for size, folder in (
        ("96x64", with_artifact),
        ("64x64", with_artifact.with_name("bisenet-xception39-64x64-int8")),
    ):
        told = json.loads((folder / "report.json").read_text())["profile"]
        assert told["cases"] == [case for case in whole["cases"] if case["size"] == size]
        assert told["ratios"] == [ratio for ratio in whole["ratios"] if ratio["size"] == size]
        assert len(told["ratios"]) == 1
        assert set(Artifact.open(folder).manifest.measured["latency"]["frame_to_mask"]) == {"int8", "fp32"}


@pytest.mark.parametrize(
    ("over_fp32", "over_bf16", "advised"),
    [
        ([0.5, 0.6], [0.8, 0.9], ""),
        (
            [0.5, 0.6],
            [1.1, 1.2],
            "does not pay on openvino here: run with --precision bf16 --backend openvino",
        ),
        (
            [1.3, 1.4],
            [1.1, 1.2],
            "does not pay on openvino here: run with --precision fp32 --backend openvino",
        ),
        ([0.5, 0.6], [0.9, 1.1], "is not clearly faster than BF16 here: profile again with more --samples"),
    ],
)
def test_profile_says_what_to_do_where_int8_does_not_pay(over_fp32, over_bf16, advised):
    """Against the fastest floating point: by far faster than the slower one is no reason for INT8."""
    ratios = [
        PrecisionRatio("toy", Size(96, 64), "openvino", against, sum(ends) / 2, *ends).to_json()
        for against, ends in (("fp32", over_fp32), ("bf16", over_bf16))
    ]
    lines = advice(ratios)
    assert [line.startswith(f"96x64: INT8 {advised}") for line in lines] == [True] * bool(advised)


def test_profile_prints_what_was_asked_for_before_it_writes(with_artifact, bisenet_edge):
    """An artifact that cannot be written to must not cost the figures."""
    (with_artifact / "report.json").unlink()
    (with_artifact / "report.json").mkdir()
    code, out, err = bisenet_edge("profile", "--samples", "100", "--precision", "fp32", "--precision", "fp32")
    assert code == 1
    assert "a report cannot be read" in err
    assert "frame -> mask (ms)" in out
    rows = [line for line in out.splitlines() if line.startswith("bisenet-xception39 96x64 ")]
    assert [row.split()[2] for row in rows] == ["fp32"]
    assert "INT8" not in out
    code, _, err = bisenet_edge("profile", "--precision", "int4")
    assert (code, "no int4 model" in err) == (1, True)


def test_profile_of_a_named_artifact_as_json(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge(
        "profile", str(with_artifact), "--samples", "100", "--backend", "openvino", "--json"
    )
    assert code in (0, 4)
    assert err == ""
    told = json.loads(out)
    assert {case["backend"] for case in told["cases"]} == {"openvino"}
    assert all(len(case["samples"]["infer_ms"]) == 100 for case in told["cases"])


def test_run_writes_every_sink(with_artifact, workplace, bisenet_edge):
    code, out, err = bisenet_edge("run", CLIP, "overlay.mp4", "masks/", "null://")
    assert (code, err) == (0, "")
    assert "4 frames to overlay.mp4, masks/, null://" in out
    assert next_command(out) == "bisenet-edge deploy jetson"
    names = [f"{i:06}.png" for i in range(4)]
    assert sorted(p.name for p in (workplace / "masks").iterdir()) == names
    masks = np.stack([cv2.imread(str(workplace / "masks" / n), cv2.IMREAD_UNCHANGED) for n in names])
    assert masks.shape == (4, 64, 96)
    assert 1 < len(np.unique(masks)) <= 11
    video = cv2.VideoCapture(str(workplace / "overlay.mp4"))
    assert [video.read()[0] for _ in range(5)] == [True] * 4 + [False]


def test_run_of_a_named_artifact_as_json(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge("run", str(with_artifact), CLIP, "null://", "--precision", "fp32", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["frames_delivered"], told["frames_dropped"]) == (4, 0)
    run = json.loads((with_artifact / "report.json").read_text())["run"]
    assert (run["source"], run["frames"]) == (CLIP, 4)


def test_deploy_packs_the_newest_artifact(with_artifact, workplace, bisenet_edge):
    code, out, err = bisenet_edge("deploy", "jetson")
    assert (code, err) == (0, "")
    path = next(line for line in out.splitlines() if line.startswith("by hand: scp ")).split()[3]
    assert (workplace / path).is_file()
    assert "not measured on a Jetson" in out
    code, out, err = bisenet_edge("deploy", "jetson", "--board", "agx-orin", "--out", "there", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (workplace / told["path"]).parent == workplace / "there"
    assert (told["board"], told["artifact"]) == ("agx-orin", with_artifact.name)


def test_models_stand_beside_the_paper(workplace, bisenet_edge):
    code, out, err = bisenet_edge("models", "--json")
    assert (code, err) == (0, "")
    models = {entry["model"]: entry for entry in json.loads(out)["models"]}
    assert list(models) == list(ZOO)
    small, large = models["bisenet-xception39"], models["bisenet-resnet18"]
    none = dict.fromkeys(("mib_fp32", "gmacs", "parameters_m", "gflops"))
    assert small["paper"] == {**none, "mib_fp32": 5.8, "gmacs": 2.9}
    assert large["paper"] == {**none, "mib_fp32": 49.0, "gmacs": 10.8}
    assert models["segnet"]["paper"] == {**none, "parameters_m": 29.5, "gflops": 286.0}
    assert models["segnet"]["gflops"] == pytest.approx(286.0, rel=0.01)
    assert models["bisenet-resnet101"]["paper"] is None
    assert (models["icnet"]["size"], models["icnet"]["computed_size"]) == ("640x360", "640x384")
    assert small["mib_fp32"] == pytest.approx(small["parameters"] * 4 / 2**20)
    assert small["gflops"] == pytest.approx(2 * small["macs"] / 1e9)
    for ours in (small, large):
        assert ours["mib_fp32"] == pytest.approx(ours["paper"]["mib_fp32"], rel=0.1)
        assert ours["gmacs"] == pytest.approx(ours["paper"]["gmacs"], rel=0.1)
    code, text, _ = bisenet_edge("models")
    assert code == 0
    for ours in (small, large):
        assert f"{ours['parameters']:,}" in text
        assert f"{ours['gmacs']:.3f}" in text
    assert "29.5 M" in text and "286.0 GFLOP" in text and "49.0 MiB" in text and "10.8 GMAC" in text
    assert "larger size, as sides must be multiples: icnet 640x384, sq 640x368." in text
    assert "bisenet-edge train --model NAME" in text
    assert next_command(text) == "bisenet-edge export --int8"


def test_models_at_a_size_that_the_paper_does_not_print(bisenet_edge):
    code, text, _ = bisenet_edge("models", "--res", "100x100")
    assert code == 0
    assert "The paper prints cost at 640x360 only." in text
    assert "286.0" not in text and "29.5 M" in text


def test_train_makes_a_checkpoint_that_export_takes(workplace, bisenet_edge):
    (workplace / "tiny.toml").write_text("eval_every = 1\n")
    words = ["train", "--model", "bisenet-xception39", "--data", "synthetic:?count=2&size=64x64"]
    words += ["--recipe", "tiny.toml", "--epochs", "1", "--batch", "2", "--crop", "64x64", "--device", "cpu"]
    code, out, err = bisenet_edge(*words)
    assert (code, err) == (0, "")
    assert "epoch 1/1: loss " in out
    command = next_command(out)
    assert command.startswith("bisenet-edge export runs/bisenet-xception39/best.safetensors --int8")
    # Not in INT8: after one step the network's values still explode, and rounding them changes its masks.
    code, out, err = bisenet_edge("export", command.split()[2], "--res", "64x64")
    assert (code, err) == (0, "")


def test_help_lists_every_command_and_imports_no_torch(workplace):
    code = (
        "import sys; from bisenet_edge.cli.app import run; run(['--help']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in (
        "train",
        "export",
        "calibrate",
        "check",
        "lint",
        "profile",
        "run",
        "deploy",
        "demo",
        "models",
    ):
        assert f"\n  {name} " in done.stdout


def test_debug_shows_the_traceback(workplace, bisenet_edge):
    code, _, err = bisenet_edge("--debug", "check", "--data", STREETS)
    assert code == 1
    assert err.startswith("Traceback")
    assert "error: no artifact to work on" in err


def test_the_three_commands_in_an_empty_folder(workplace):
    """Verbatim, each in a process of its own, with nothing there but what the one before it made."""
    script = Path(sys.executable).with_name("bisenet-edge")
    environment = {**os.environ, "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}
    for line, codes in (
        ("bisenet-edge export --int8", (0,)),
        ("bisenet-edge deploy jetson", (0,)),
        ("bisenet-edge profile --res 640x360", (0, 4)),
    ):
        done = subprocess.run(line.split(), env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in codes, f"{line}\n{done.stdout}\n{done.stderr}"
        assert done.stderr == "", line
        assert next_command(done.stdout)
    assert sorted(p.name for p in workplace.iterdir()) == ["artifacts", "bundles"]
    (artifact,) = (workplace / "artifacts").iterdir()
    assert artifact.name == "bisenet-xception39-640x360-int8"
    assert len(list((workplace / "bundles").glob("*.tar.gz"))) == 1
    assert {"export", "calibration", "profile"} <= set(json.loads((artifact / "report.json").read_text()))


def test_demo_does_the_whole_job(workplace, monkeypatch, capfd):
    """The demo's own commands, each in a process of its own, at a size that is quick."""
    from bisenet_edge.cli import demo
    from bisenet_edge.cli.app import run

    monkeypatch.setattr(demo, "SIZE", "96x64")
    monkeypatch.setattr(demo, "CLIP", CLIP)
    monkeypatch.setattr(demo, "SYNTHETIC", STREETS)
    monkeypatch.setattr(demo, "MAX_DROP", 100.0)
    assert run(["demo", "--out", "here"]) == 0
    out = capfd.readouterr().out
    for command in ("export --int8", "check --data", "profile --res", "run ", "deploy jetson"):
        assert f"$ bisenet-edge {command}" in out
    _, summary = out.split("What was measured")
    for figure_name in ("mIoU FP32", "mIoU INT8", "frame -> mask INT8", "clip to overlay video"):
        assert figure_name in summary
    assert [p.name for p in workplace.iterdir()] == ["here"]
    assert (workplace / "here" / "overlay.mp4").is_file()
    assert next_command(out).startswith("bisenet-edge train")
    report = next(line for line in out.splitlines() if line.startswith("report: ") and str(workplace) in line)
    assert Path(report.removeprefix("report: ")).is_file()


def test_demo_stops_at_a_step_that_fails(workplace, capfd):
    from bisenet_edge.cli.app import run

    assert run(["demo", "--data", "camvid:nowhere"]) == 1
    printed = capfd.readouterr()
    assert "$ bisenet-edge check" not in printed.out
    assert "a step of the demo failed" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("words", [("check", "--data", "synthetic:?count=2&size=96x64"), ("profile",)])
def test_the_null_engine_measures_nothing(bisenet_edge, with_artifact, words):
    before = (with_artifact / "manifest.json").read_bytes()
    code, _, err = bisenet_edge(*words, "--backend", "null")
    assert (code, "null engine" in err) == (2, True)
    assert (with_artifact / "manifest.json").read_bytes() == before


def test_export_spares_a_folder_with_a_manifest_of_somebody_else(bisenet_edge, workplace):
    (workplace / "app").mkdir()
    (workplace / "app" / "manifest.json").write_text('{"name": "a web app"}')
    (workplace / "app" / "index.html").write_text("hello")
    code, _, err = bisenet_edge("export", "--int8", "--res", "96x64", "--out", "app")
    assert (code, "something else stands" in err) == (1, True)
    assert (workplace / "app" / "index.html").read_text() == "hello"


def test_an_artifact_name_that_would_break_a_script_is_refused(bisenet_edge, workplace):
    code, _, err = bisenet_edge("export", "--int8", "--res", "96x64", "--out", "it's mine")
    assert (code, "cannot have this name" in err) == (2, True)
