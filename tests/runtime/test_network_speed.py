"""Timing networks alone. The clock and the sessions are fakes: no sleeping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.profile import network_speed
from bisenet_edge.runtime.profile.network_speed import speed_table, time_networks
from bisenet_edge.runtime.profile.paper import PAPER_DEVICE

SIZE = Size(640, 360)
FRAME = np.zeros((360, 640, 3), np.uint8)


class FakeSession(Session):
    backend = "fake"

    def __init__(self, clock_ns: list, precision: str, cost_ms: float, model: str, log: list) -> None:
        super().__init__(Artifact(Path("toy"), Manifest("toy", "", model, CAMVID, SIZE, "int8")), precision)
        self._clock_ns, self._cost_ms, self._log = clock_ns, cost_ms, log

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self._log.append(self.precision)
        self._clock_ns[0] += int(self._cost_ms * 1e6)
        mask[:] = 0

    def _close(self) -> None:
        pass


def timed(costs_ms, model="bisenet-xception39"):
    """Cells of sessions that take so many milliseconds each, and the order in which they ran."""
    now_ns, log = [0], []
    sessions = [FakeSession(now_ns, name, cost, model, log) for name, cost in costs_ms.items()]
    return time_networks(sessions, FRAME, clock_ns=lambda: now_ns[0]), log


def test_medians_and_rates_are_those_of_the_sessions():
    int8, fp32 = timed({"int8": 5, "fp32": 20})[0]
    assert (int8.median_ms, int8.fps) == (5, 200)
    assert (fp32.median_ms, fp32.fps) == (20, 50)
    assert int8.to_json()["paper"] == {
        "source": "BiSeNet, ECCV 2018, table 5",
        "device": PAPER_DEVICE,
        "time_ms": 5.0,
        "fps": 203.5,
    }


def test_slow_networks_get_few_samples_and_fast_ones_not_endlessly_many():
    (slow,), log = timed({"fp32": 9000})
    assert network_speed.LEAST_SAMPLES <= len(slow.times_ms) <= network_speed.LEAST_SAMPLES + 3
    assert len(log) < 12
    (fast,), _ = timed({"int8": 0.01})
    assert len(fast.times_ms) <= network_speed.MOST_SAMPLES + 3


def test_precisions_take_turns_and_the_first_run_of_a_turn_is_not_counted():
    cells, log = timed({"int8": 1, "fp32": 2})
    turn = network_speed.BURST + 1
    rest = log[4:]  # behind one run to allocate and one to estimate, of each
    assert rest[: 2 * turn] == ["int8"] * turn + ["fp32"] * turn
    assert sum(len(cell.times_ms) for cell in cells) == len(rest) * network_speed.BURST / turn


def test_the_table_has_a_row_per_network_and_the_papers_figures_where_there_are_any():
    cells = [*timed({"int8": 5, "fp32": 20})[0], *timed({"int8": 40, "fp32": 50}, "icnet")[0]]
    lines = speed_table([cell.to_json() for cell in cells]).splitlines()
    assert lines[0].split() == [
        "network",
        "size",
        "INT8",
        "ms",
        "fps",
        "FP32",
        "ms",
        "fps",
        "paper",
        "ms",
        "fps",
    ]
    assert lines[2].split() == [
        "bisenet-xception39",
        "640x360",
        "5.00",
        "200.0",
        "20.00",
        "50.0",
        "5",
        "203.5",
    ]
    assert lines[3].split() == ["icnet", "640x360", "40.00", "25.0", "50.00", "20.0", "-", "-"]


def test_a_precision_that_was_not_timed_is_a_gap():
    cells = [*timed({"int8": 5})[0], *timed({"fp32": 50}, "icnet")[0]]
    lines = speed_table([cell.to_json() for cell in cells]).splitlines()
    assert lines[3].split() == ["icnet", "640x360", "-", "-", "50.00", "20.0", "-", "-"]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_progress_names_the_network_and_ends(precision):
    told = []
    now_ns, log = [0], []
    session = FakeSession(now_ns, precision, 1000, "icnet", log)
    time_networks([session], FRAME, lambda *step: told.append(step), clock_ns=lambda: now_ns[0])
    assert {step for step, _, _ in told} == {"timing icnet 640x360"}
    assert told[-1][1] == told[-1][2]


def test_slow_networks_keep_two_digits_of_their_rate():
    (cell,), _ = timed({"fp32": 10656})
    assert speed_table([cell.to_json()]).splitlines()[2].split()[3] == "0.09"
