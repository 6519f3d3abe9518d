"""The table of bad inputs: one clear error each, exit 1 or 2, no traceback, nothing half-written."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bad_files import (
    artifact_in,
    broken_picture,
    camvid,
    change_a_byte,
    change_manifest,
    checkpoint,
    checkpoint_of_two_classes,
    empty_data,
    file,
    half_a_checkpoint,
    truncated_video,
    two_classes,
    without_int8,
)

CLIP = "synthetic://?seconds=0.1&size=96x64"
EXPORT = "export --int8 --res 64x64 --count 1"
TRAIN = "train --model bisenet-xception39 --epochs 1 --batch 2"


@dataclass(frozen=True)
class Case:
    """A command line that must fail.

    Attributes:
        name: of the case.
        words: the command line, without the program.
        code: the exit code: 1, or 2 for what is not understood.
        says: what stderr must contain.
        prepare: makes files in the current folder.
        artifact: a good artifact stands in artifacts/ before `prepare` is called.
    """

    name: str
    words: str
    code: int
    says: tuple[str, ...]
    prepare: Callable[[Path], object] = lambda here: None
    artifact: bool = False


CASES = (
    # Words that are not understood
    Case("command", "exprt", 2, ("unknown command", "did you mean 'export'?")),
    Case("device", "deploy jetsn", 2, ("unknown command", "did you mean 'jetson'?")),
    Case("option", "export --int9", 2, ("No such option", "--int8")),
    Case("check without data", "check", 2, ("--data",)),
    Case("run without words", "run", 2, ("SOURCE",)),
    Case("run with one word", "run overlay.mp4", 2, ("a source and at least one sink", "got:")),
    Case("negative threads", "check --data synthetic: --threads -1", 2, ("--threads",)),
    # Sizes
    Case("size 0x0", "export --int8 --res 0x0", 2, ("out of range", "0x0", "for example 640x360")),
    Case("absurd size", "export --int8 --res 99999x99999", 2, ("out of range", "99999x99999", "8192")),
    Case("one number", "export --int8 --res 640", 2, ("cannot read an image size", "'640'")),
    Case("size in words", "profile --res huge", 2, ("cannot read an image size", "'huge'")),
    Case("models of no size", "models --res 641", 2, ("641",)),
    Case("clip of size 0x0", "run synthetic://?size=0x0 null://", 2, ("out of range", "0x0"), artifact=True),
    # Checkpoints
    Case("no checkpoint", "export no.safetensors", 1, ("no checkpoint here", "no.safetensors")),
    Case("folder as checkpoint", "export .", 1, ("no checkpoint here",)),
    Case(
        "corrupt checkpoint",
        "export my.safetensors",
        1,
        ("cannot read a checkpoint", "my.safetensors"),
        file("my.safetensors"),
    ),
    Case("half a checkpoint", "export my.safetensors", 1, ("cannot read a checkpoint",), half_a_checkpoint),
    Case(
        "foreign checkpoint",
        "export my.safetensors",
        1,
        ("not a checkpoint of bisenet-edge", "format 'absent'"),
        lambda here: checkpoint(here, format=None),
    ),
    Case(
        "checkpoint with a header of nonsense",
        "export my.safetensors",
        1,
        ("the header of a checkpoint", "my.safetensors"),
        lambda here: checkpoint(here, labels="{}"),
    ),
    Case(
        "checkpoint of another number of classes",
        "export my.safetensors --res 64x64",
        1,
        ("do not fit bisenet-xception39 with 2 classes", "instead of"),
        checkpoint_of_two_classes,
    ),
    Case(
        "checkpoint of an unknown model",
        "export my.safetensors",
        2,
        ("unknown model", "did you mean 'bisenet-resnet18'?"),
        lambda here: checkpoint(here, model="bisenet-resnet19"),
    ),
    # Calibration
    Case("observer", f"{EXPORT} --observer entrophy", 2, ("unknown observer", "did you mean 'entropy'?")),
    Case("no recipe", f"{EXPORT} --calibration no.toml", 1, ("cannot read a configuration file", "no.toml")),
    Case(
        "recipe with a typing error",
        "export --int8 --calibration my.toml",
        2,
        ("unknown key in my.toml", "did you mean 'count'?"),
        file("my.toml", 'data = "synthetic:"\ncuont = 4\nseed = 0\n'),
    ),
    Case(
        "recipe that is not TOML",
        "export --int8 --calibration my.toml",
        1,
        ("my.toml is not valid TOML",),
        file("my.toml"),
    ),
    Case(
        "recipe that lists other images",
        "export --int8 --res 64x64 --calibration my.toml",
        1,
        ("does not give the images that the calibration recipe lists", "elsewhere"),
        file(
            "my.toml",
            'data = "synthetic:?count=2&size=64x64"\ncount = 1\nseed = 0\n'
            f'[[image]]\nname = "elsewhere"\nsha256 = "{"0" * 64}"\n',
        ),
    ),
    Case(
        "recipe of no images",
        "export --int8 --res 64x64 --calibration my.toml",
        1,
        ("cannot calibrate with this many images", "got:      0 of 2"),
        file("my.toml", 'data = "synthetic:?count=2&size=64x64"\ncount = 0\nseed = 0\n'),
    ),
    Case(
        "more calibration images than there are",
        "export --int8 --res 64x64 --data synthetic:?count=4&size=96x64 --count 5",
        1,
        ("cannot calibrate with this many images", "5 of 4", "--count 4"),
    ),
    Case("no calibration images", f"{EXPORT} --data camvid:data", 1, ("no pictures", "data"), empty_data),
    Case("no synthetic images", f"{EXPORT} --data synthetic:?count=0", 1, ("needs pictures", "count 0")),
    # Data sets
    Case("data set", f"{EXPORT} --data camvd:data", 2, ("unknown data set", "did you mean 'camvid'?")),
    Case("data without scheme", f"{EXPORT} --data data", 2, ("cannot read a data set URI", "folder:data")),
    Case("no data set", f"{EXPORT} --data camvid:data", 1, ("folder does not exist", "data, which is /")),
    Case("option of a data set", f"{EXPORT} --data synthetic:?conut=4", 2, ("did you mean 'count'?",)),
    Case(
        "folder without classes",
        f"{EXPORT} --data folder:data",
        1,
        ("no labels.toml", "data/labels.toml"),
        empty_data,
    ),
    Case(
        "images without labels",
        f"{EXPORT} --data camvid:data",
        1,
        ("1 of 2 pictures have no label", "b.png"),
        lambda here: camvid(here, None),
    ),
    Case(
        "train on images without labels",
        f"{TRAIN} --data camvid:data",
        1,
        ("1 of 2 pictures have no label", "b.png"),
        lambda here: camvid(here, None),
    ),
    Case(
        "check with label values out of range",
        "check --data camvid:data",
        1,
        ("values outside the classes", "b.png: value 77"),
        lambda here: camvid(here, np.full((64, 96), 77, np.uint8)),
        artifact=True,
    ),
    Case(
        "train with label values out of range",
        f"{TRAIN} --data camvid:data",
        1,
        ("values outside the classes", "b.png: value 77"),
        lambda here: camvid(here, np.full((64, 96), 77, np.uint8)),
    ),
    Case(
        "colours as labels",
        f"{TRAIN} --data camvid:data",
        1,
        ("not a map of class ids", "b.png"),
        lambda here: camvid(here, np.zeros((64, 96, 3), np.uint8)),
    ),
    Case(
        "label of another size",
        f"{TRAIN} --data camvid:data",
        1,
        ("differ in size", "a.png"),
        lambda here: camvid(here, np.zeros((64, 96), np.uint8), hw=(32, 96)),
    ),
    Case(
        "picture that is none",
        f"{TRAIN} --data camvid:data",
        1,
        ("a picture cannot be decoded", "b.png"),
        broken_picture,
    ),
    Case(
        "check with other classes",
        "check --data folder:data",
        1,
        ("other classes than the network", "2 of 'two'", "11 of 'camvid'"),
        two_classes,
        artifact=True,
    ),
    Case("split", "check --data synthetic: --split vla", 2, ("did you mean 'val'?",), artifact=True),
    # Training
    Case("model", "train --model bisenet-xception93 --data synthetic:", 2, ("'bisenet-xception39'?",)),
    Case("no model", "train --data synthetic:", 1, ("no 'model'", "--model")),
    Case("no data", "train --model bisenet-xception39", 1, ("no 'data'", "--data")),
    Case("no epochs", f"{TRAIN} --epochs 0 --data synthetic:", 2, ("--epochs",)),
    Case(
        "training device", f"{TRAIN} --data synthetic:?count=2 --device gpu", 2, ("no such device", "'gpu'")
    ),
    Case(
        "training recipe with a typing error",
        "train --recipe my.toml",
        2,
        ("unknown key in my.toml", "did you mean 'epochs'?"),
        file("my.toml", "epoch = 3\n"),
    ),
    Case(
        "training into a file",
        f"{TRAIN} --data synthetic:?count=2&size=64x64 --out taken",
        1,
        ("cannot write", "taken"),
        file("taken"),
    ),
    # Artifacts
    Case("no artifact", "check --data synthetic:", 1, ("no artifact to work on", "export --int8")),
    Case("run without artifact", f"run {CLIP} null://", 1, ("no artifact to work on", "export --int8")),
    Case("artifact that is not there", "deploy jetson nowhere", 1, ("no artifact here", "nowhere")),
    *(
        Case(
            f"changed byte, {words.split()[0]}",
            words,
            1,
            ("has changed", "model.int8.onnx"),
            change_a_byte,
            True,
        )
        for words in (
            "check --data synthetic:",
            "profile",
            f"run {CLIP} null://",
            "deploy jetson",
        )
    ),
    Case(
        "missing file",
        "deploy jetson",
        1,
        ("incomplete", "model.fp32.onnx", "export it again"),
        lambda here: (artifact_in(here) / "model.fp32.onnx").unlink(),
        artifact=True,
    ),
    Case(
        "another schema",
        "deploy jetson artifacts/bisenet-xception39-96x64-int8",
        1,
        ("another schema version", "got:      99"),
        lambda here: change_manifest(here, schema_version=99),
        artifact=True,
    ),
    Case(
        "manifest that is not JSON",
        "deploy jetson artifacts/bisenet-xception39-96x64-int8",
        1,
        ("not JSON", "manifest.json"),
        lambda here: (artifact_in(here) / "manifest.json").write_text("{"),
        artifact=True,
    ),
    Case(
        "check without INT8",
        "check artifacts/bisenet-xception39-96x64-int8 --data synthetic:?count=1&size=96x64",
        1,
        ("no int8 model", "bisenet-edge export --int8"),
        without_int8,
        artifact=True,
    ),
    Case(
        "artifact of another size",
        "profile artifacts/bisenet-xception39-96x64-int8 --res 640x360",
        2,
        ("an artifact has one size", "96x64", "640x360"),
        artifact=True,
    ),
    Case("board", "deploy jetson --board orin-nan", 2, ("did you mean 'orin-nano'?",), artifact=True),
    Case("backend", "profile --backend openvin", 2, ("did you mean 'openvino'?",), artifact=True),
    Case("precision", f"run {CLIP} null:// --precision int4", 1, ("no int4 model", "int8"), artifact=True),
    Case("too few samples", "profile --samples 99", 2, ("too few samples", "100"), artifact=True),
    # Sources and sinks
    Case("source scheme", "run sythetic://x null://", 2, ("did you mean 'synthetic'?",), artifact=True),
    Case("sink scheme", f"run {CLIP} nul://x", 2, ("did you mean 'null'?",), artifact=True),
    Case(
        "camera that is not there",
        "run rtsp://127.0.0.1:1/live null://",
        1,
        ("a source cannot be opened", "127.0.0.1:1/live"),
        artifact=True,
    ),
    Case(
        "option of a source", "run synthetic://?sede=1 null://", 2, ("did you mean 'seed'?",), artifact=True
    ),
    Case("no video", "run no.mp4 null://", 1, ("a source does not exist", "no.mp4"), artifact=True),
    Case(
        "truncated video",
        "run cut.avi overlay.mp4 masks/",
        1,
        ("a video ends early", "of 40", "cut.avi"),
        truncated_video,
        artifact=True,
    ),
    Case(
        "video that is none",
        "run my.mp4 overlay.mp4",
        1,
        ("a video cannot be opened", "my.mp4"),
        file("my.mp4"),
        artifact=True,
    ),
    Case(
        "folder without pictures",
        "run data overlay.mp4",
        1,
        ("a folder has no pictures", "data"),
        file("data/readme.txt"),
        artifact=True,
    ),
    Case(
        "sink file type", f"run {CLIP} overlay.mp5", 2, ("file type", "did you mean '.mp4'?"), artifact=True
    ),
    Case(
        "second sink wrong",
        f"run {CLIP} overlay.mp4 nul://x",
        2,
        ("did you mean 'null'?",),
        artifact=True,
    ),
    # Outputs that cannot be written
    Case("export into a file", f"{EXPORT} --out taken/a", 1, ("cannot write here", "taken"), file("taken")),
    Case("export onto a file", f"{EXPORT} --out taken", 1, ("something else stands", "taken"), file("taken")),
    Case(
        "export onto a folder of other things",
        f"{EXPORT} --out photos",
        1,
        ("something else stands", "photos"),
        file("photos/holiday.txt"),
    ),
    Case("export onto the current folder", f"{EXPORT} --out .", 1, ("current folder",)),
    Case(
        "deploy into a file", "deploy jetson --out taken/b", 1, ("cannot write", "taken"), file("taken"), True
    ),
    Case(
        "run into a file", f"run {CLIP} taken/overlay.mp4", 1, ("cannot write", "taken"), file("taken"), True
    ),
    Case("demo into a file", "demo --out taken", 1, ("demo's folder", "taken"), file("taken")),
)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time of change. An empty folder is not half of anything."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_one_clear_error(case, workplace, small_artifact, bisenet_edge):
    if case.artifact:
        shutil.copytree(small_artifact, workplace / "artifacts" / small_artifact.name)
    case.prepare(workplace)
    before = listing(workplace)
    code, out, err = bisenet_edge(*shlex.split(case.words))
    assert code == case.code, err
    for text in case.says:
        assert text in err
    assert "Traceback" not in err
    assert err.lower().count("error: ") == 1
    assert out == ""
    assert listing(workplace) == before


def test_the_cases_have_names_of_their_own():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
