"""What the installer and the service call, with the engine that computes nothing."""

from __future__ import annotations

import json

import pytest
from sysroots import make_jetson, make_pc
from toy_artifact import toy_artifact

from bisenet_edge.cli import device


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    toy_artifact(folder / "artifact")
    return folder


@pytest.mark.parametrize(
    ("made_for", "machine", "remedy"),
    [
        ("orin-nano", "orin-nano-8gb", ""),
        ("agx-orin", "agx-orin-64gb", ""),
        ("cpu", "pc", ""),
        ("orin-nano", "agx-orin-32gb", "bisenet-edge deploy jetson --board agx-orin"),
        ("orin-nano", "pc", "bisenet-edge deploy jetson --board cpu"),
        ("cpu", "orin-nano-4gb", "bisenet-edge deploy jetson --board orin-nano"),
        ("orin-nano", "tx2", "if you know better: --any-machine"),
    ],
)
def test_the_board_is_compared_with_this_machine(release, tmp_path, capsys, made_for, machine, remedy):
    root = tmp_path / machine
    if machine == "pc":
        make_pc(root)
    else:
        make_jetson(root, machine, "36.4.3")
    (release / "board.json").write_text(json.dumps({"name": made_for}))
    words = ["fits", "--artifact", str(release / "artifact"), "--root", str(root)]
    assert device.main(words) == (1 if remedy else 0)
    printed = capsys.readouterr()
    assert remedy in printed.err
    assert bool(printed.out) != bool(printed.err)


def test_a_latency_budget_is_a_gate(release, capsys):
    options = ["--artifact", str(release / "artifact"), "--backend", "null"]
    assert device.main(["budget", "1e-9", *options, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["passed"] is False


@pytest.mark.parametrize("budget", ["0", "-1", "inf", "soon"])
def test_a_budget_is_a_number_above_0(budget, capsys):
    with pytest.raises(SystemExit) as ended:
        device.main(["budget", "--", budget])
    assert ended.value.code == 2


def test_the_service_takes_what_it_runs_with_from_its_environment(release, tmp_path, capsys, monkeypatch):
    options = ["serve", "--artifact", str(release / "artifact"), "--backend", "null", "--json"]
    monkeypatch.delenv("SOURCE", raising=False)
    assert device.main(options) == 2
    assert "SOURCE is empty" in capsys.readouterr().err
    monkeypatch.setenv("SOURCE", "synthetic://?size=64x32&fps=10&seconds=0.5")
    monkeypatch.setenv("SINKS", f"null:// {tmp_path / 'masks'}")
    assert device.main(options) == 0
    assert json.loads(capsys.readouterr().out)["stages"]
    assert len(list((tmp_path / "masks").glob("*.png"))) == 5


def test_a_source_that_looks_like_an_option_is_none(release, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SOURCE", "--version")
    monkeypatch.setenv("SINKS", "null://")
    assert device.main(["serve", "--artifact", str(release / "artifact"), "--backend", "null"]) == 1
    assert "--version" in capsys.readouterr().err
