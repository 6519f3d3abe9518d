"""`bisenet-edge doctor` and the same command in a device's bundle: text, JSON, exit codes, next command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from sysroots import make_jetson, make_pc

from bisenet_edge.boards import load_board
from bisenet_edge.cli import device
from bisenet_edge.toolchain.bundle import build_pyz


@pytest.fixture
def orin(tmp_path):
    return make_jetson(tmp_path / "root", "orin-nano-8gb", "36.4.3")


def test_this_machine_is_fit_for_the_job(bisenet_edge):
    code, out, err = bisenet_edge("doctor")
    assert err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["check", "status", "found"]
    problems = [line for line in lines[2:] if "  problem  " in line]
    # Whatever machine runs the tests has an engine and OpenCV, or there would be none to run.
    assert (code, problems) == (0, [])
    assert "nothing stops the job" in out
    assert lines[-1].startswith("next: bisenet-edge ")


def test_a_healthy_sysroot(orin, bisenet_edge):
    code, out, err = bisenet_edge("doctor", "--root", str(orin.root))
    assert (code, err) == (0, "")
    assert "Jetson Orin Nano 8GB (developer kit)" in out
    assert "6.2 (L4T 36.4.3)" in out
    assert out.endswith("\nnext: bisenet-edge profile --res 640x360\n")


def test_a_pc_is_sent_to_export(tmp_path, bisenet_edge):
    tree = make_pc(tmp_path)
    tree.package("python3-opencv", "4.6.0")
    code, out, _ = bisenet_edge("doctor", "--root", str(tree.root))
    assert (code, out.endswith("\nnext: bisenet-edge export --int8\n")) == (0, True)


def test_a_problem_is_exit_1_with_its_remedy_and_as_next_command(orin, bisenet_edge):
    orin.remove_package("libnvinfer10")
    code, out, err = bisenet_edge("doctor", "--root", str(orin.root))
    assert (code, err) == (1, "")
    lines = out.splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith("TensorRT "))
    assert lines[number].split()[1] == "problem"
    remedy = "sudo apt-get update && sudo apt-get install -y nvidia-jetpack"
    assert lines[number + 1] == f"    fix: {remedy}"
    assert "1 problem" in out
    assert "PROBLEMS stop the job" in out
    assert lines[-1] == f"next: {remedy}"


def test_a_warning_is_exit_0(orin, bisenet_edge):
    orin.set_power_mode(0)
    code, out, _ = bisenet_edge("doctor", "--root", str(orin.root))
    assert (code, "fix: sudo nvpmodel -m 2" in out) == (0, True)


def test_json_says_the_same(orin, bisenet_edge):
    orin.remove_package("libnvinfer10")
    code, out, err = bisenet_edge("doctor", "--root", str(orin.root), "--json")
    told = json.loads(out)
    assert (code, err, told["healthy"]) == (1, "", False)
    assert told["jetson"]["l4t"] == "36.4.3"
    assert [check["name"] for check in told["checks"] if check["status"] == "problem"] == ["TensorRT"]


def test_a_folder_that_is_not_there_is_a_usage_error(bisenet_edge):
    code, out, err = bisenet_edge("doctor", "--root", "/nowhere/at/all")
    assert (code, out) == (2, "")
    assert err.startswith("error: no such folder")


def test_help_tells_the_exit_codes(bisenet_edge):
    code, out, _ = bisenet_edge("doctor", "--help")
    assert code == 0
    assert "Exit code 0 when nothing stops the job, 1 when a problem does." in out


def test_the_device_program_knows_what_its_bundle_was_made_for(orin, tmp_path, capsys):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    options = ["doctor", "--artifact", str(bundle / "artifact"), "--root", str(orin.root)]
    # Without an artifact beside it, too: the doctor comes before everything else.
    assert device.main(options) == 0
    assert "bundle" not in capsys.readouterr().out
    (bundle / "board.json").write_text(json.dumps(load_board("orin-nano").to_json()))
    assert device.main([*options, "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["bundle"]["status"] == "ok"
    (bundle / "board.json").write_text(json.dumps(load_board("thor").to_json()))
    assert device.main(options) == 0
    printed = capsys.readouterr()
    assert "made for thor, and this is Jetson Orin Nano" in printed.out
    assert printed.out.endswith("\nnext: python3 bisenet-edge.pyz selftest\n")
    assert printed.err == ""
    orin.remove_package("libnvinfer10")
    assert device.main(options) == 1
    assert device.main(["doctor", "--root", "/nowhere/at/all"]) == 2


def test_the_doctor_of_a_bundle_needs_no_package_at_all(orin, tmp_path):
    program = tmp_path / "bisenet-edge.pyz"
    program.write_bytes(build_pyz())
    # -S: without site-packages there is neither numpy nor OpenCV, as on a fresh Jetson.
    command = [sys.executable, "-S", str(program), "doctor", "--root", str(orin.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Jetson Orin Nano 8GB" in done.stdout
