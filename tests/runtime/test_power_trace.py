"""Energy over a run: hand-computed integrals, which look belongs to which case, and the sampling thread."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from bisenet_edge.runtime.power import trace as power_trace
from bisenet_edge.runtime.power.reader import PowerReader, Reading
from bisenet_edge.runtime.power.trace import PowerSampler, PowerTrace, case_energy

NAN = float("nan")


def trace_of(at_s, power_mw, **others) -> PowerTrace:
    empty = np.full(len(at_s), np.nan)
    values = {"temperature_c": empty, "gpu_mhz": empty, "cpu_mhz": empty, "power_of": "VDD_IN", **others}
    return PowerTrace(np.asarray(at_s, float), np.asarray(power_mw, float), **values)


def test_energy_is_the_integral_of_power():
    trace = trace_of([0, 1, 3], [1000, 3000, 5000])
    assert trace.energy_j() == pytest.approx(2 + 8)
    assert trace.mean_mw() == pytest.approx(10_000 / 3)
    # A look that failed is bridged, not taken for 0 mW.
    assert trace_of([0, 1, 2, 3], [1000, 3000, NAN, 5000]).energy_j() == pytest.approx(10)


@pytest.mark.parametrize("power_mw", [[], [1000], [1000, NAN], [NAN, NAN]])
def test_without_two_looks_there_is_no_energy(power_mw):
    trace = trace_of(range(len(power_mw)), power_mw)
    assert trace.energy_j() is trace.mean_mw() is None
    assert trace.to_json()["energy_j"] is None


# Two cases take turns: bursts of 10 frames of 100 ms, so each has every second second.
STARTS_S = np.concatenate([np.arange(10) * 0.1 + 2 * burst for burst in range(10)])
TOTAL_MS = np.full(100, 100.0)


def test_power_is_attributed_to_the_case_that_ran():
    at_s = np.arange(0.05, 20, 0.1)
    first = at_s % 2 < 1
    trace = trace_of(at_s, np.where(first, 4000, 9000))
    a, b = (case_energy(trace, STARTS_S + shift, TOTAL_MS, 10) for shift in (0, 1))
    # Of ten looks in a burst, the first covers the end of the burst before it.
    assert (a.samples, a.mean_mw, a.reason) == (90, 4000, "")
    assert (b.samples, b.mean_mw) == (90, 9000)
    assert (a.mj_per_frame, b.mj_per_frame) == (pytest.approx(400), pytest.approx(900))


def test_a_look_that_covers_two_cases_belongs_to_none():
    at_s = np.arange(0.05, 20, 0.1)
    slow = trace_of(at_s, np.full(200, 4000.0), period_s=0.5)
    assert case_energy(slow, STARTS_S, TOTAL_MS, 10).samples == 50
    too_slow = trace_of(at_s, np.full(200, 4000.0), period_s=2.0)
    assert case_energy(too_slow, STARTS_S, TOTAL_MS, 10).samples == 0


def test_short_bursts_have_a_reason_instead_of_a_figure():
    # Frames of 10 ms in bursts of 10 take 100 ms, as long as one look.
    starts_s = np.concatenate([np.arange(10) * 0.01 + 0.2 * burst for burst in range(10)])
    trace = trace_of(np.arange(0.05, 2, 0.1), np.full(20, 4000.0))
    energy = case_energy(trace, starts_s, np.full(100, 10.0), 10)
    assert (energy.samples, energy.mean_mw, energy.mj_per_frame) == (0, None, None)
    # Four looks of 100 ms take 40 frames.
    assert energy.reason.endswith("bursts of 100 ms, 10 are needed (one per 100 ms): profile again with "
                                  "--burst 40 --samples 400")  # fmt: skip


def test_without_power_the_reason_says_so():
    trace = trace_of([0.5, 1], [NAN, NAN], power_of="")
    assert case_energy(trace, STARTS_S, TOTAL_MS, 10).reason == "power is not available on this machine"


def test_json_has_ranges_and_null_for_what_is_not_known():
    trace = replace(
        trace_of([0, 1, 2], [NAN, 1500.25, 1500.25]),
        temperature_c=np.array([40.04, 47, 45]),
        gpu_mhz=np.array([NAN, 300, 900.0]),
        throttled=("gpu-throttle-alert",),
    )
    told = trace.to_json()
    assert told["temperature_c"] == {"start": 40.0, "end": 45.0, "max": 47.0}
    assert (told["gpu_mhz"], told["cpu_mhz"]) == ({"min": 300.0, "max": 900.0}, None)
    assert told["samples"]["power_mw"] == [None, 1500.2, 1500.2]
    assert told["throttled"] == ["gpu-throttle-alert"]


class CountingReader(PowerReader):
    source, power_of, mode, period_s = "fake", "VDD_IN", "MAXN", 0.2

    def __init__(self, enough: int) -> None:
        self.looks, self.enough, self.reached = 0, enough, threading.Event()

    def read(self) -> Reading:
        self.looks += 1
        if self.looks >= self.enough:
            self.reached.set()
        return Reading(power_mw=1000.0 * self.looks, throttled=("hot",) if self.looks == 2 else ())


def sample(reader: CountingReader) -> PowerSampler:
    ticks = iter(range(10**9))
    with PowerSampler(reader, lambda: next(ticks) * 1_000_000_000, period_s=0.001) as sampler:
        assert reader.reached.wait(60)
    return sampler


def test_the_sampler_looks_until_its_block_ends():
    reader = CountingReader(5)
    sampler = sample(reader)
    looks = reader.looks
    trace = sampler.trace(1_000_000_000, 3_000_000_000)
    # Looks outside the run (warming up) are left out; time starts with the run.
    assert trace.at_s.tolist() == [0, 1, 2]
    assert trace.power_mw.tolist() == [2000, 3000, 4000]
    assert np.isnan(trace.temperature_c).all()
    assert (trace.source, trace.power_of, trace.mode, trace.throttled) == ("fake", "VDD_IN", "MAXN", ("hot",))
    assert trace.period_s == 0.2  # the sensor is slower than the sampler
    assert reader.looks == looks


def test_a_long_run_is_kept_whole_at_half_the_rate(monkeypatch):
    monkeypatch.setattr(power_trace, "MOST_SAMPLES", 8)
    sampler = sample(CountingReader(20))
    at_s = sampler.trace(0, 10**18).at_s
    assert len(at_s) < 8
    assert at_s[-1] > 10
    assert at_s[0] == 0
    assert sampler.period_s > 0.001
