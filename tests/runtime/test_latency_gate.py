"""The gate of an installation, with the engine that computes nothing."""

from __future__ import annotations

import json
import time

import pytest
from toy_artifact import toy_artifact

from bisenet_edge.latency import LatencySummary
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.pipeline import latency_gate
from bisenet_edge.runtime.pipeline.latency_gate import LatencyGate, check_latency
from bisenet_edge.runtime.power.reader import PowerReader, Reading


def gate(p99_ms, budget_ms, doubts=()):
    times = LatencySummary(100, 5.0, 5.0, 6.0, p99_ms, 4.0, 9.0)
    return LatencyGate("tensorrt", "int8", budget_ms, times, doubts)


@pytest.mark.parametrize(("p99_ms", "passed"), [(8.0, True), (10.0, True), (10.1, False)])
def test_the_99th_percentile_counts(p99_ms, passed):
    told = gate(p99_ms, 10.0)
    assert told.passed == passed
    assert ("ABOVE the budget of 10 ms" in str(told)) != passed
    assert json.loads(json.dumps(told.to_json()))["passed"] == passed


def test_doubts_are_told_and_do_not_change_the_verdict():
    told = gate(8.0, 10.0, ("clocks drifted: sudo jetson_clocks",))
    assert told.passed
    assert "in doubt: clocks drifted" in str(told)


class ThrottledFake(PowerReader):
    source = "fake"

    def read(self) -> Reading:
        return Reading(5000.0, 96.0, 900.0, 1500.0, ("thermal",))


def test_a_machine_that_throttles_is_in_doubt(tmp_path, monkeypatch):
    monkeypatch.setattr(latency_gate.PowerReader, "open", ThrottledFake)
    with open_session(toy_artifact(tmp_path / "toy"), backend="reference") as session:
        slow = session.infer
        # Long enough for the sensors to be read, ten times a second.
        monkeypatch.setattr(
            session, "infer", lambda frame, out=None: (time.sleep(0.005), slow(frame, out))[1]
        )
        result = check_latency(session, 1e9)
    assert any("thermal" in doubt for doubt in result.doubts), result.doubts


def test_it_measures_a_session_of_100_frames(tmp_path):
    with open_session(toy_artifact(tmp_path / "toy"), backend="null") as session:
        result = check_latency(session, 1e-9)
    assert (result.frame_to_mask.samples, result.backend, result.passed) == (100, "null", False)
    assert result.frame_to_mask.p99_ms > 0
