"""From a public implementation's file to an INT8 artifact that is checked and profiled."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
import torch

from bisenet_edge.artifact import Artifact
from bisenet_edge.runtime.profile import artifacts as profile_artifacts
from bisenet_edge.toolchain import checkpoint as checkpoints

sys.path.append(str(Path(__file__).parents[1] / "toolchain"))
from foreign_bisenets import coincheung_state, torchseg_state

DATA = "synthetic:?count=4&size=64x64"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    torch.save({"model": torchseg_state(11, "xception39"), "epoch": 80}, folder / "epoch-last.pth")
    torch.save(coincheung_state(19, auxiliary=False), folder / "city.pth")
    return folder


def next_words(out):
    last = out.rstrip().splitlines()[-1]
    assert last.startswith("next: bisenet-edge ")
    return shlex.split(last.removeprefix("next: bisenet-edge "))


def test_from_the_file_to_the_profile(workplace, weights, monkeypatch, bisenet_edge):
    monkeypatch.setattr(profile_artifacts, "SCENE_FRAMES", 2)  # streets take longer to draw than to segment
    code, out, err = bisenet_edge("import", str(weights / "epoch-last.pth"), "--labels", "camvid")
    assert code == 0
    assert "github.com/ycszen/TorchSeg" in out
    assert "11 of 'camvid'" in out
    assert "123.67 116.28 103.53" in out  # ImageNet's mean in 0..255
    assert err.startswith("note: ") and "aligned corners" in err
    words = next_words(out)
    assert words == ["export", "imported/bisenet-xception39-camvid.safetensors", "--int8"]

    code, out, err = bisenet_edge(*words, "--res", "64x64", "--data", DATA)
    assert code == 0
    assert err == f"note: calibrating on all 4 pictures of {DATA} train, fewer than the usual 64\n"
    artifact = Artifact.open(workplace / "artifacts" / "bisenet-xception39-64x64-int8")
    assert artifact.manifest.calibration["count"] == 4
    parent = artifact.manifest.parent
    assert parent["architecture"]["upsampling"] == "bilinear-corners"
    assert parent["recipe"]["file"] == "epoch-last.pth"
    assert artifact.manifest.measured["verification"]["int8 openvino convolutions"]["int8"] > 40

    words = next_words(out)
    assert words[0] == "check"
    code, out, _ = bisenet_edge(*words[:-1], "100")
    assert code == 0
    words = next_words(out)
    code, out, _ = bisenet_edge(*words, "--samples", "100", "--precision", "int8")
    assert code in (0, 4)  # inconclusive on a busy machine
    assert "frame -> mask (ms)" in out


def test_what_a_program_is_told(workplace, weights, bisenet_edge):
    code, out, err = bisenet_edge("import", str(weights / "city.pth"), "--out", "mine.safetensors", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["family"], told["checkpoint"], told["ignored"]) == ("coincheung", "mine.safetensors", [])
    read = checkpoints.read(workplace / "mine.safetensors")
    assert read.architecture == told["architecture"]
    assert (read.architecture["auxiliary_width"], read.architecture["gate"]) == (0, "conv-bn")
    assert len(read.labels) == 19
    assert [p.name for p in workplace.iterdir()] == ["mine.safetensors"]
    assert {d["what"]: (d["here"], d["paper"]) for d in told["departures"]}["FFM gate"] == (
        "conv-bn",
        "two-convs",
    )


def test_what_departs_from_the_paper_is_told_and_another_import_is_not_replaced_silently(
    workplace, weights, bisenet_edge
):
    lines = ["departs from the paper:", "  FFM gate: conv-bn (paper: two-convs)"]
    for _ in range(2):  # the same file again says nothing
        code, out, err = bisenet_edge("import", str(weights / "city.pth"))
        assert (code, err) == (0, "")
        assert "\n".join(lines) in out
    torch.save(torchseg_state(19, "resnet18"), "other.pth")
    code, out, err = bisenet_edge("import", "other.pth")
    assert code == 0
    assert "built as in the paper" in out
    assert "imported/bisenet-resnet18-cityscapes.safetensors was made of another file" in err


def test_classes_from_a_file(workplace, weights, bisenet_edge):
    lines = ['name = "mine"']
    lines += [f'[[class]]\nname = "class {i}"\ncolor = [{i}, 0, 0]' for i in range(19)]
    Path("classes.toml").write_text("\n".join(lines))
    code, out, _ = bisenet_edge("import", str(weights / "city.pth"), "--labels", "classes.toml")
    assert code == 0
    assert next_words(out)[1] == "imported/bisenet-resnet18-mine.safetensors"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("none.pth", 1, "no checkpoint to import"),
        ("epoch-last.pth", 2, "--labels"),
        ("epoch-last.pth --labels cityscape", 2, "did you mean 'cityscapes'?"),
        ("epoch-last.pth --labels none.toml", 1, "none.toml"),
        ("epoch-last.pth --labels cityscapes", 2, "another number of classes"),
        ("epoch-last.pth --from torchsegg", 2, "did you mean 'torchseg'?"),
        ("epoch-last.pth --from coincheung", 1, "--from torchseg"),
        ("city.pth --out x.pth", 2, "expected: FILE.safetensors"),
        ("city.pth --out .", 2, "expected: FILE.safetensors"),
        ("city.pth --mean 1,2 --std 0.1,0.1,0.1", 2, "--mean is not three numbers"),
        ("city.pth --mean 123,116,103 --std 0.1,0.1,0.1", 2, "--mean is out of range"),
        ("city.pth --mean 0.1,0.1,0.1 --std 0.1,0,0.1", 2, "--std is out of range"),
        ("city.pth --mean 0.1,0.1,0.1", 2, "belong together"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing(workplace, weights, bisenet_edge, words, code, text):
    file, *options = words.split()
    got, out, err = bisenet_edge("import", str(weights / file), *options)
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert text in err
    assert list(workplace.iterdir()) == []
