"""Each way a profile can mislead is a reason that names what to do."""

from __future__ import annotations

import numpy as np
import pytest

from bisenet_edge.frame import Size
from bisenet_edge.runtime.power.trace import PowerTrace
from bisenet_edge.runtime.profile.result import CaseResult
from bisenet_edge.runtime.profile.stability import Limits, drift_reasons, machine_reasons, spread_reasons

LOOKS = 30
NOTHING = np.full(LOOKS, np.nan)


def trace_of(**values) -> PowerTrace:
    told = {
        "power_mw": NOTHING,
        "temperature_c": NOTHING,
        "gpu_mhz": NOTHING,
        "cpu_mhz": NOTHING,
        **values,
    }
    return PowerTrace(np.arange(LOOKS) / 10, **told)


def case_of(times_ms: np.ndarray) -> CaseResult:
    stage_ms = np.zeros((len(times_ms), 4))
    stage_ms[:, 2] = times_ms
    starts_s = np.arange(len(times_ms), dtype=float)
    return CaseResult("640x360 int8", "toy", Size(64, 32), "fake", "int8", {}, stage_ms, starts_s)


def ramp(first: float, last: float) -> np.ndarray:
    return np.repeat([first, (first + last) / 2, last], LOOKS // 3)


def test_a_steady_machine_gives_no_reason():
    steady = trace_of(gpu_mhz=ramp(1000, 1000), cpu_mhz=ramp(2000, 2000), temperature_c=ramp(60, 65))
    assert machine_reasons(steady, True, Limits()) == machine_reasons(steady, False, Limits()) == ()
    assert machine_reasons(None, True, Limits()) == machine_reasons(trace_of(), False, Limits()) == ()


@pytest.mark.parametrize(("last_mhz", "bad"), [(1040, False), (1060, True), (940, True)])
def test_the_clock_of_what_computes_may_not_change(last_mhz, bad):
    of_gpu, of_cpu = trace_of(gpu_mhz=ramp(1000, last_mhz)), trace_of(cpu_mhz=ramp(1000, last_mhz))
    assert bool(machine_reasons(of_gpu, True, Limits())) is bad
    assert bool(machine_reasons(of_cpu, False, Limits())) is bad
    # The other one's clock says nothing.
    assert machine_reasons(of_gpu, False, Limits()) == machine_reasons(of_cpu, True, Limits()) == ()
    assert machine_reasons(of_gpu, True, Limits(max_clock_drift=0.1)) == ()


def test_a_gpu_clock_that_swings_is_a_reason_a_cpu_clock_is_not():
    swinging = np.tile([600.0, 1000.0], LOOKS // 2)
    (reason,) = machine_reasons(trace_of(gpu_mhz=swinging), True, Limits())
    assert reason.startswith(
        "the GPU clock changed from 600 to 1000 MHz, by more than 5%: sudo jetson_clocks"
    )
    assert machine_reasons(trace_of(cpu_mhz=swinging), False, Limits()) == ()


def test_one_stray_look_is_no_reason():
    clocks = np.full(LOOKS, 1000.0)
    clocks[7] = 300
    assert machine_reasons(trace_of(gpu_mhz=clocks), True, Limits()) == ()


def test_the_remedy_fits_the_machine():
    clocks = ramp(1000, 2000)
    (pc,) = machine_reasons(trace_of(cpu_mhz=clocks), False, Limits())
    (jetson,) = machine_reasons(trace_of(cpu_mhz=clocks, mode="MODE_15W"), False, Limits())
    assert pc.endswith(": sudo cpupower frequency-set -g performance")
    assert jetson.endswith(": sudo jetson_clocks")


@pytest.mark.parametrize(("last_c", "bad"), [(59, False), (61, True), (30, False)])
def test_warming_up_is_a_reason(last_c, bad):
    reasons = machine_reasons(trace_of(temperature_c=ramp(50, last_c)), False, Limits())
    assert [("more than 10 K" in reason, "profile again" in reason) for reason in reasons] == [
        (True, True)
    ] * bad


def test_throttling_is_a_reason_whatever_the_figures():
    (reason,) = machine_reasons(trace_of(throttled=("gpu-throttle-alert",)), True, Limits())
    assert "gpu-throttle-alert" in reason
    assert "let it cool down" in reason


def test_a_few_looks_prove_nothing():
    few = PowerTrace(*[np.arange(5.0)] * 5)
    assert machine_reasons(few, True, Limits()) == ()


def test_too_few_samples_ask_for_the_number_that_is_enough():
    rng = np.random.default_rng(0)
    # Whole bursts are slow or fast: ten bursts leave the median anywhere between the two.
    noisy = case_of(np.repeat(rng.choice([4.0, 8.0], 20), 10))
    (reason,) = spread_reasons([noisy], 10, 0.10)
    assert reason.startswith("640x360 int8: too few samples")
    wanted = int(reason.rsplit(" ", 1)[1])
    assert wanted > 200
    assert wanted % 100 == 0
    steady = case_of(rng.normal(5, 0.5, 200))
    assert spread_reasons([steady], 10, 0.10) == ()
    assert spread_reasons([noisy], 10, 0.9) == ()


def test_drift_names_a_remedy():
    (reason,) = drift_reasons([case_of(np.repeat([1.0, 1.0, 2.0], 100))], 0.15)
    assert reason.startswith("640x360 int8: frame to mask changed by +100.0%")
    assert reason.endswith("close other programs and profile again")
