"""`profile` beyond measuring: comparison with an older report, estimates, the sensors of the machine."""

from __future__ import annotations

import json
import shutil

import pytest

from bisenet_edge.cli.app import run
from bisenet_edge.runtime.power.reader import PowerReader, Reading
from bisenet_edge.runtime.profile import artifacts as profile_artifacts

QUICK = ("profile", "--res", "96x64", "--samples", "100", "--precision", "int8")


@pytest.fixture(autouse=True)
def few_frames(monkeypatch):
    """Streets take longer to draw than to segment."""
    monkeypatch.setattr(profile_artifacts, "SCENE_FRAMES", 2)


@pytest.fixture(scope="module")
def profiled(small_artifact, tmp_path_factory):
    """An artifact with a profile, made once; conclusive or not, as this machine allows."""
    folder = tmp_path_factory.mktemp("profiled") / small_artifact.name
    shutil.copytree(small_artifact, folder)
    assert run(["profile", str(folder), *QUICK[3:]]) in (0, 4)
    return folder


@pytest.fixture
def measured(workplace, profiled):
    """A copy of it under the current folder, where `export` would have put it."""
    folder = workplace / "artifacts" / profiled.name
    shutil.copytree(profiled, folder)
    return folder


def rewrite(artifact, name, factor, **others):
    """A copy of an artifact's report, conclusive, with inferences of `factor` times 5 ms."""
    report = json.loads((artifact / "report.json").read_text())
    section = report["profile"]
    for case in section["cases"]:
        case["samples"]["infer_ms"] = [5 * factor] * 100
        case["samples"]["resize_ms"] = [0.1] * 100
    section.update(conclusive=True, reasons=[], **others)
    path = artifact.parent.parent / name
    path.write_text(json.dumps(report))
    return str(path)


@pytest.mark.parametrize(
    ("factor", "options", "code", "says"),
    [
        (1.0, (), 0, "against the older profile: SAME"),
        (1.5, (), 3, "against the older profile: SLOWER (5 % slower is tolerated)"),
        (1.5, ("--max-regression", "60"), 0, "against the older profile: SAME"),
        (0.5, (), 0, "against the older profile: FASTER"),
    ],
)
def test_two_reports_are_compared_without_measuring(measured, bisenet_edge, factor, options, code, says):
    old, new = rewrite(measured, "old.json", 1.0), rewrite(measured, "new.json", factor)
    found, out, err = bisenet_edge("profile", "--against", old, "--report", new, *options)
    assert (found, err) == (code, "")
    assert says in out
    found, out, _ = bisenet_edge("profile", "--against", old, "--report", new, *options, "--json")
    comparison = json.loads(out)["comparison"]
    assert found == code
    assert comparison["cases"][0]["ratio"] == pytest.approx((5 * factor + 0.1) / 5.1, abs=1e-3)


def test_a_measurement_is_held_against_a_report(measured, bisenet_edge):
    # A thousandth of the time and a thousand times the time: no load on this machine hides either.
    fast, slow = rewrite(measured, "fast.json", 0.001), rewrite(measured, "slow.json", 1000.0)
    code, out, err = bisenet_edge(*QUICK, "--against", fast)
    assert err == ""
    assert code in (3, 4)  # inconclusive on a busy machine
    assert (code == 4) == ("INCONCLUSIVE" in out)
    assert " slower" in out
    told = json.loads((measured / "report.json").read_text())["profile"]["comparison"]
    assert told["cases"][0]["verdict"] == "slower"
    code, out, _ = bisenet_edge(*QUICK, "--against", slow)
    assert code in (0, 4)
    assert " faster" in out


def test_the_next_command_measures_the_same_with_more_samples_double(measured, monkeypatch, bisenet_edge):
    from bisenet_edge.runtime.profile import result

    reasons = ("a 96x64 int8: too few samples: ...: profile again with --samples 700", "another")
    monkeypatch.setattr(result.ProfileResult, "reasons", reasons)
    code, out, _ = bisenet_edge("profile", str(measured), *QUICK[1:], "--threads", "1")
    assert code == 4
    words = f"profile {measured} --res 96x64 --precision int8 --threads 1 --samples 700"
    assert out.endswith(f"\nnext: bisenet-edge {words}\n")
    monkeypatch.setattr(result.ProfileResult, "reasons", ("the CPU clock changed",))
    assert bisenet_edge(*QUICK)[1].endswith("--res 96x64 --precision int8 --samples 200\n")


def test_what_was_compared_with_is_not_overwritten(measured, bisenet_edge):
    own = measured / "report.json"
    before, manifest = own.read_text(), (measured / "manifest.json").read_text()
    _, out, _ = bisenet_edge(*QUICK, "--against", str(measured))
    assert "stays as it is: it is what was compared with" in out
    assert (own.read_text(), (measured / "manifest.json").read_text()) == (before, manifest)


def test_another_machine_is_refused_before_measuring(measured, bisenet_edge, monkeypatch):
    machine = json.loads((measured / "report.json").read_text())["profile"]["machine"]
    other = rewrite(measured, "other.json", 0.001, machine={**machine, "cpu": "Another CPU"})
    with monkeypatch.context() as patch:
        patch.setattr(profile_artifacts, "profile", None)  # measuring would fail
        code, out, err = bisenet_edge(*QUICK, "--against", other)
        assert (code, err) == (4, "")
        assert "INCONCLUSIVE" in out
        assert "cpu differs: Another CPU before" in out
        assert "--force" in out
        code, out, _ = bisenet_edge(*QUICK, "--against", other, "--json")
        assert (code, json.loads(out)["comparison"]["verdict"]) == (4, "inconclusive")
    code, out, _ = bisenet_edge(*QUICK, "--against", other, "--force")
    assert code in (3, 4)
    assert " slower" in out


@pytest.mark.parametrize("text", ["{", "{}", '{"profile": {"cases": [{}]}}'])
def test_a_damaged_report_is_one_error_before_measuring(workplace, bisenet_edge, text):
    (workplace / "old.json").write_text(text)
    code, out, err = bisenet_edge("profile", "--against", "old.json")
    assert (code, out) == (1, "")
    assert "there is no profile to compare with" in err
    assert "bisenet-edge profile --json > before.json" in err


def test_a_newer_report_alone_is_a_usage_error(workplace, bisenet_edge):
    code, _, err = bisenet_edge("profile", "--report", "new.json")
    assert (code, "add --against OLDER" in err) == (2, True)


def test_an_estimate_is_not_compared(workplace, bisenet_edge):
    code, _, err = bisenet_edge("profile", "--estimate", "orin-nano", "--against", "old.json")
    assert (code, "no measurement to compare" in err) == (2, True)


def test_bursts_are_checked(with_artifact, bisenet_edge):
    code, _, err = bisenet_edge(*QUICK, "--burst", "50")
    assert (code, "burst out of range" in err) == (2, True)


def test_an_estimate_is_labelled_and_measures_nothing(with_artifact, bisenet_edge):
    before = (with_artifact / "report.json").read_text()
    code, out, err = bisenet_edge("profile", "--estimate", "orin-nano", "--res", "96x64")
    assert (code, err) == (0, "")
    assert (
        "bisenet-xception39 96x64 on Jetson Orin Nano 8GB: ESTIMATE from vendor peak rates, not measured"
        in out
    )
    assert {"maximum, int8", "super, int8"} <= {line[:13].strip() for line in out.splitlines()}
    assert "fp16" not in out  # no source gives its rate
    assert out.splitlines()[-1] == "next: bisenet-edge deploy jetson --board orin-nano"
    assert (with_artifact / "report.json").read_text() == before
    code, out, _ = bisenet_edge("profile", "--estimate", "orin-nano", "--json")
    told = json.loads(out)
    assert told["label"].startswith("ESTIMATE")
    (network,) = told["networks"]
    maximum, super_mode = network["modes"]
    assert super_mode["whole_ms"] < maximum["whole_ms"]
    assert all(layer["int8"] for layer in maximum["layers"] if layer["operations"])
    # Its own dense INT8 rate: 20 TOPS.
    assert maximum["compute_ms"] == pytest.approx(maximum["gigaoperations"] / 20)


@pytest.mark.parametrize(
    ("board", "says"), [("cpu", "its file has no peak figures"), ("orin-nan", "did you mean 'orin-nano'?")]
)
def test_a_board_without_figures_has_no_estimate(with_artifact, bisenet_edge, board, says):
    code, out, err = bisenet_edge("profile", "--estimate", board)
    assert (code, out) == (2, "")
    assert says in err


class FakeJetson(PowerReader):
    source, power_of, mode, clocks_locked = "sysfs", "VDD_IN", "MAXN", True

    def read(self) -> Reading:
        return Reading(5000.0, 51.0, 625.0, 1510.0)


def test_power_of_a_fake_jetson_is_in_table_and_json(with_artifact, bisenet_edge, monkeypatch):
    monkeypatch.setattr(profile_artifacts.PowerReader, "open", FakeJetson)
    words = ("--samples", "300", "--burst", "100")
    code, out, _ = bisenet_edge(*QUICK, *words)
    assert code in (0, 4)
    assert "power (sysfs): 5000 mW" in out
    assert "51 to 51 degrees Celsius, GPU 625 to 625 MHz" in out
    assert "power mode MAXN, clocks locked" in out
    told = json.loads((with_artifact / "report.json").read_text())["profile"]
    assert told["power"]["energy_j"] > 0
    energy = told["cases"][0]["energy"]
    # Enough looks, unless this machine is so fast that its bursts are shorter: then the reason says so.
    assert (energy["mean_mw"] == 5000) != bool(energy["reason"])


def test_without_sensors_nothing_is_claimed(with_artifact, bisenet_edge, monkeypatch):
    monkeypatch.setattr(profile_artifacts.PowerReader, "open", PowerReader)
    _, out, _ = bisenet_edge(*QUICK)
    assert "power, temperature, clocks: not available on this machine" in out
    told = json.loads((with_artifact / "report.json").read_text())["profile"]
    assert (told["power"]["source"], told["power"]["energy_j"]) == ("none", None)
    assert told["cases"][0]["energy"]["reason"] == "power is not available on this machine"


def test_tensorrt_is_profiled_in_int8_and_fp16_double(bench, with_artifact, bisenet_edge):
    code, _, err = bisenet_edge("profile", "--backend", "tensorrt", "--samples", "100")
    assert code in (0, 4), err
    told = json.loads((with_artifact / "report.json").read_text())["profile"]
    assert [case["precision"] for case in told["cases"]] == ["int8", "fp16"]
    assert [ratio["against"] for ratio in told["ratios"]] == ["fp16"]


def test_the_device_program_measures_and_compares(measured, workplace, capsys):
    from bisenet_edge.cli import device

    before = {path.name: path.read_bytes() for path in measured.iterdir() if path.is_file()}
    words = ["profile", "--artifact", str(measured), "--samples", "100", "--precision", "int8"]
    assert device.main([*words, "--json"]) in (0, 4)
    section = json.loads(capsys.readouterr().out)
    assert [case["precision"] for case in section["cases"]] == ["int8"]
    assert section["power"] is not None
    fast = rewrite(measured, "fast.json", 0.001)
    assert device.main([*words, "--against", fast]) in (3, 4)
    out = capsys.readouterr().out
    assert "frame -> mask (ms)" in out
    assert " slower" in out
    # A release stays as its checksums say.
    assert {path.name: path.read_bytes() for path in measured.iterdir() if path.is_file()} == before
    machine = json.loads((measured / "report.json").read_text())["profile"]["machine"]
    other = rewrite(measured, "other.json", 1, machine={**machine, "board": "Jetson"})
    assert device.main([*words, "--against", other]) == 4
    assert "board differs: Jetson before" in capsys.readouterr().out
    assert device.main([*words, "--against", "/nowhere.json"]) == 1
    assert device.main([*words, "--samples", "99"]) == 2
    assert device.main([*words, "--backend", "null"]) == 2
    with pytest.raises(SystemExit) as stop:
        device.main([*words, "--against", fast, "--max-regression", "-1"])
    assert stop.value.code == 2


def test_the_bundled_program_profiles(with_artifact, workplace):
    import subprocess
    import sys

    from bisenet_edge.toolchain.bundle import build_pyz

    (workplace / "bisenet-edge.pyz").write_bytes(build_pyz())
    shutil.copytree(with_artifact, workplace / "artifact")
    # Without the checkout on the path, and without click.
    code = (
        "import sys, runpy; sys.modules['click'] = None; sys.path.insert(0, 'bisenet-edge.pyz');"
        "sys.argv = ['bisenet-edge.pyz', 'profile', '--samples', '100', '--precision', 'int8', '--json'];"
        "runpy.run_path('bisenet-edge.pyz', run_name='__main__')"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 4), done.stderr
    assert len(json.loads(done.stdout)["cases"][0]["samples"]["infer_ms"]) == 100
