"""`compile`, `check` and `profile` of the device's command line, on a device of doubles."""

from __future__ import annotations

import json

import pytest

from bisenet_edge.cli import device


@pytest.fixture
def on_device(bench, with_artifact, capsys):
    """Run one command of the .pyz in this process: words -> (exit code, stdout, stderr)."""

    def call(command, *words):
        capsys.readouterr()
        code = device.main([command, "--artifact", str(with_artifact), *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_engines_are_built_tested_and_chosen(on_device, with_artifact):
    before = {p: p.read_bytes() for p in with_artifact.rglob("*") if p.is_file()}
    code, out, _ = on_device("compile")
    assert code == 0
    assert "runs by default: " in out
    assert "self-test      passed" in out
    # A release stays as its checksums say.
    assert {p: p.read_bytes() for p in with_artifact.rglob("*") if p.is_file()} == before


def test_json_for_the_installer(on_device):
    code, out, _ = on_device("compile", "--precision", "fp16", "--json")
    told = json.loads(out)
    assert (code, told["chosen"], told["passed"]) == (0, "fp16", True)


def test_a_failed_build_is_one_clear_error(on_device, bench):
    bench.faults.out_of_memory = True
    code, out, err = on_device("compile", "--precision", "fp16")
    assert (code, out) == (1, "")
    assert err.startswith("error: TensorRT ran out of memory")


def test_a_wrong_option_is_exit_code_2(on_device):
    code, _, err = on_device("compile", "--opt-level", "9")
    assert code == 2
    assert "0 to 5" in err


def test_accuracy_of_the_engine(on_device):
    data = ("--data", "synthetic:?count=2&size=96x64")
    code, out, _ = on_device("check", *data, "--precision", "fp16")
    assert code == 0
    assert "engine: tensorrt" in out
    assert "FP16 IoU" in out
    code, out, _ = on_device("check", *data, "--precision", "fp16", "--max-drop", "-5")
    assert code == 3
    assert "FAILED" in out


def test_the_self_test_takes_tensorrt_by_itself(on_device):
    code, out, _ = on_device("selftest")
    assert code == 0
    assert "on tensorrt, int8" in out


def test_profile_tells_layers(on_device):
    words = ("--precision", "int8", "--samples", "100", "--layers")
    code, out, err = on_device("profile", *words)
    assert code in (0, 4), err  # 4: a busy machine
    assert "slowest layers" in out
