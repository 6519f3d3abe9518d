"""The device command line, with the engine that computes nothing: options, text, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bisenet_edge.artifact import Manifest, hash_files, write_manifest
from bisenet_edge.cli import device
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.selftest import write_golden

SIZE = Size(64, 32)


def make_artifact(folder, value=0):
    """Golden masks that are `value` everywhere; the null engine answers 0."""
    folder.mkdir(parents=True)
    frame = np.zeros((*SIZE.hw, 3), np.uint8)
    write_golden(folder, [frame], {"int8": [np.full(SIZE.hw, value, np.uint8)]})
    (folder / "model.int8.onnx").write_bytes(b"not read by the null engine")
    write_manifest(folder, Manifest("toy", "2026-01-01", "toy", CAMVID, SIZE, "int8", hash_files(folder)))
    return folder


def test_selftest_passes(tmp_path, capsys):
    artifact = make_artifact(tmp_path / "a")
    assert device.main(["selftest", "--artifact", str(artifact), "--backend", "null"]) == 0
    assert "passed" in capsys.readouterr().out


def test_selftest_below_the_bar_is_exit_3_and_a_report(tmp_path, capsys):
    artifact = make_artifact(tmp_path / "a", value=1)
    options = ["selftest", "--artifact", str(artifact), "--backend", "null", "--json"]
    assert device.main(options) == 3
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert (result["passed"], result["agreements"]) == (False, [0.0])
    assert printed.err == ""
    assert device.main([*options, "--min-agreement", "0"]) == 0


def test_the_artifact_beside_the_program_is_the_default(tmp_path, capsys, monkeypatch):
    make_artifact(tmp_path / "release" / "artifact")
    (tmp_path / "release" / "bisenet-edge.pyz").touch()
    (tmp_path / "current").symlink_to("release")
    (tmp_path / "release" / "board.json").write_text('{"title": "My board"}')
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "current" / "bisenet-edge.pyz")])
    assert device.main(["info", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    # The release itself, not the link that may point elsewhere a moment later.
    assert info["artifact"]["path"] == str(tmp_path / "release" / "artifact")
    assert info["artifact"]["precisions"] == ["int8"]
    assert info["program"]["made_for"] == "My board"
    assert info["machine"]["python"]


def test_info_is_readable(tmp_path, capsys):
    assert device.main(["info", "--artifact", str(make_artifact(tmp_path / "a"))]) == 0
    text = capsys.readouterr().out
    assert "64x32" in text
    assert "sky, building" in text


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["selftest", "--backend", "openvin"], 2, "did you mean 'openvino'"),
        (["selftest", "--backend", "null", "--artifact", "/nowhere"], 1, "no artifact here"),
        (["run", "/nowhere.mp4", "null://", "--backend", "null"], 1, "/nowhere.mp4"),
        (["run", "synthetic://?seconds=1", "nil://", "--backend", "null"], 2, "nil"),
        (["run", "synthetc://", "null://", "--backend", "null"], 2, "synthetic"),
    ],
)
def test_a_mistake_is_one_clear_error(tmp_path, capsys, options, status, says):
    if "--artifact" not in options:
        options = [*options, "--artifact", str(make_artifact(tmp_path / "a"))]
    assert device.main(options) == status
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_debug_shows_the_traceback(capsys):
    assert device.main(["info", "--artifact", "/nowhere", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["fly"], ["run"], ["selftest", "--threads", "many"]])
def test_wrong_usage_is_exit_2(options):
    with pytest.raises(SystemExit) as stop:
        device.main(options)
    assert stop.value.code == 2


def test_a_missing_package_is_named_with_its_remedy(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    code = (
        "import sys; sys.modules['cv2'] = None; from bisenet_edge.cli import device;"
        f"sys.exit(device.main(['selftest', '--artifact', {str(artifact)!r}, '--backend', 'null']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sudo apt-get install -y python3-numpy python3-opencv" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_it_imports_nothing_heavy():
    # --help and --version must work before anything is installed.
    code = (
        "import sys, bisenet_edge.cli.device;"
        "print([m for m in ('numpy', 'cv2', 'click', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_run_makes_masks_of_a_synthetic_street(tmp_path, capsys):
    options = ["--artifact", str(make_artifact(tmp_path / "a")), "--backend", "null"]
    source, masks = "synthetic://?size=64x32&fps=10&seconds=0.5", tmp_path / "masks"
    assert device.main(["run", source, str(masks), "null://", *options]) == 0
    assert len(list(masks.glob("*.png"))) == 5
    assert "5 frames to" in capsys.readouterr().out
    assert device.main(["run", source, "null://", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames_delivered"] == 5


def test_a_sink_that_cannot_be_opened_leaves_nothing_of_the_others(tmp_path, capsys):
    options = ["--artifact", str(make_artifact(tmp_path / "a")), "--backend", "null"]
    sinks = [str(tmp_path / "masks"), "nil://"]
    assert device.main(["run", "synthetic://?seconds=1", *sinks, *options]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_sigterm_ends_a_run_with_whole_files(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    # Far more frames than can be done before the signal.
    words = ["run", "synthetic://?size=64x32&seconds=36000", str(tmp_path / "masks"), "--json"]
    code = f"import sys; from bisenet_edge.cli import device; sys.exit(device.main({words!r} + sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--artifact", str(artifact), "--backend", "null"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline_s = time.monotonic() + 30
        while not list(tmp_path.glob(".masks*/*.png")) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        printed, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    report = json.loads(printed)
    assert report["stopped"]
    assert len(list((tmp_path / "masks").glob("*.png"))) == report["frames_delivered"] > 0
