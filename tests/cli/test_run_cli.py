"""`bisenet-edge run`: limits, budget, exit codes; what it tells and where."""

from __future__ import annotations

import json

import pytest

CLIP = "synthetic://?size=96x64&fps=100&seconds=1.5"


def test_limits_end_a_run_and_say_so(with_artifact, bisenet_edge):
    code, out, err = bisenet_edge("run", CLIP, "null://", "--frames", "3", "--backend", "null")
    assert (code, err) == (0, "")
    assert "3 frames to null://" in out
    assert "ended by: frames" in out
    code, out, _ = bisenet_edge("run", CLIP, "null://", "--seconds", "0.05", "--backend", "null", "--json")
    assert code == 0
    assert json.loads(out)["ended_by"] == "seconds"


def test_a_wrong_call_does_not_tell_the_password(bisenet_edge):
    code, out, err = bisenet_edge("run", "rtsp://admin:hunter2@cam/")
    assert (code, out) == (2, "")
    assert "rtsp://admin:***@cam/" in err
    assert "hunter2" not in err


@pytest.mark.parametrize(
    ("budget_ms", "frames", "status", "says"),
    [("100000", 120, 0, "kept"), ("0.00001", 120, 3, "MISSED"), ("0.00001", 20, 4, "fewer than 100 frames")],
)
def test_a_latency_budget_is_a_gate(with_artifact, bisenet_edge, budget_ms, frames, status, says):
    words = ["run", CLIP, "null://", "--backend", "null", "--frames", str(frames)]
    code, out, err = bisenet_edge(*words, "--latency-budget-ms", budget_ms)
    assert (code, err) == (status, "")
    assert says in out
    run = json.loads((with_artifact / "report.json").read_text())["run"]
    assert run["deadline_ms"] == float(budget_ms)
    assert run["deadline_misses"] == (0 if status == 0 else frames)


def test_the_environment_gives_a_budget_and_the_option_wins(with_artifact, bisenet_edge, monkeypatch):
    monkeypatch.setenv("BISENET_EDGE_LATENCY_BUDGET_MS", "0.00001")
    words = ["run", CLIP, "null://", "--backend", "null", "--frames", "120"]
    assert bisenet_edge(*words)[0] == 3
    assert bisenet_edge(*words, "--latency-budget-ms", "100000")[0] == 0


@pytest.mark.parametrize(
    "option", [("--frames", "0"), ("--seconds", "0"), ("--seconds", "-1"), ("--latency-budget-ms", "soon")]
)
def test_a_limit_that_is_none_is_wrong_usage(with_artifact, bisenet_edge, option):
    code, out, err = bisenet_edge("run", CLIP, "null://", *option)
    assert (code, out) == (2, "")
    assert option[0] in err
