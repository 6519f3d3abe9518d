"""The profiler: what it times, in which order, and what it says of it. The clock is a fake: no sleeping."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.power.reader import PowerReader, Reading
from bisenet_edge.runtime.profile import profiler
from bisenet_edge.runtime.profile.paper import PAPER_DEVICE_XP, PRINTED, PRINTED_XP, paper_speed
from bisenet_edge.runtime.profile.profiler import Case, ProfileOptions, profile
from bisenet_edge.runtime.profile.result import CaseResult, drift_reasons, precision_ratios

MS = 1_000_000
SIZE = Size(64, 32)


class FakeClock:
    """Each reading is 1 ms later; a fake session adds its own time."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += MS
        return self.now_ns


class FakeSession(Session):
    backend = "fake"

    def __init__(
        self, clock: FakeClock, precision: str, cost_ms: float, log: list, size: Size = SIZE
    ) -> None:
        manifest = Manifest("toy", "2026-01-01T00:00:00Z", "bisenet-xception39", CAMVID, size, "int8")
        super().__init__(Artifact(Path("toy"), manifest), precision)
        self.clock, self.cost_ms, self.log = clock, cost_ms, log

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self.log.append(self.precision)
        self.clock.now_ns += round(self.cost_ms * MS)
        mask[:] = len(self.log) % 11


def frames(count: int = 2, height: int = 48, width: int = 96) -> list[np.ndarray]:
    return [np.full((height, width, 3), 40 * i, np.uint8) for i in range(count)]


def run(samples: int = 100, burst: int = 10, drift_ms: float = 0.0):
    clock, log = FakeClock(), []
    int8, fp32 = FakeSession(clock, "int8", 4, log), FakeSession(clock, "fp32", 19, log)
    if drift_ms:
        grow = int8._infer

        def slower(frame: np.ndarray, mask: np.ndarray) -> None:
            grow(frame, mask)
            int8.cost_ms += drift_ms

        int8._infer = slower  # type: ignore[method-assign]
    cases = [Case("a int8", int8), Case("a fp32", fp32)]
    options = ProfileOptions(samples=samples, burst=burst)
    return profile(cases, frames(), options, clock_ns=clock), log


def test_stage_times_come_from_the_clock() -> None:
    result, _ = run()
    int8, fp32 = result.cases
    # Between two readings 1 ms passes; the sessions add 4 and 19.
    assert np.allclose(int8.stage_ms, [1, 1, 5, 1])
    assert np.allclose(fp32.stage_ms, [1, 1, 20, 1])
    assert np.allclose(int8.frame_to_mask_ms, 6)
    assert int8.fps_p50 == pytest.approx(1000 / 8)
    assert int8.fps_throughput == pytest.approx(1000 / 8)
    assert int8.to_json()["stages"]["infer"]["p99_ms"] == 5
    assert result.conclusive
    assert result.source == Size(96, 48)


def test_the_ratio_is_int8_over_fp32() -> None:
    result, _ = run()
    (ratio,) = result.ratios
    assert ratio.ratio == pytest.approx(6 / 21)
    assert ratio.low == ratio.high == pytest.approx(6 / 21)  # no spread in, none out
    assert ratio.to_json()["speedup"] == 3.5


def test_int8_stands_against_every_float_fp32_first() -> None:
    cases = [case_of(np.full(100, ms), flavour) for flavour, ms in (("int8", 3), ("bf16", 4), ("fp32", 6))]
    over_fp32, over_bf16 = (ratio.to_json() for ratio in precision_ratios(cases, burst=10))
    assert (over_fp32["against"], over_fp32["int8_over_fp32"]) == ("fp32", 0.5)
    assert (over_bf16["against"], over_bf16["int8_over_fp32"]) == ("bf16", 0.75)
    assert (over_bf16["ci95"], over_bf16["speedup"]) == ([0.75, 0.75], 1.33)
    assert set(over_fp32) == set(over_bf16)
    # Without INT8 there is nothing to hold against.
    assert precision_ratios(cases[1:], burst=10) == ()


def test_each_artifact_gets_what_is_its_own() -> None:
    clock, large = FakeClock(), Size(128, 64)
    cases = [
        Case(f"{size} {flavour}", FakeSession(clock, flavour, cost_ms, [], size))
        for size, flavour, cost_ms in ((SIZE, "int8", 4), (SIZE, "fp32", 19), (large, "int8", 9))
    ]
    drifting = cases[2].session
    drifting.__dict__["_infer"] = lambda frame, mask: setattr(clock, "now_ns", round(clock.now_ns * 1.01))
    options = ProfileOptions(samples=100)
    whole = profile(cases, frames(), options, clock_ns=clock)
    first, second = (
        whole.part(whole.cases[:2]),
        whole.part(whole.cases[2:]),
    )
    assert [case.name for case in (*first.cases, *second.cases)] == [case.name for case in whole.cases]
    assert (first.ratios, second.ratios) == (whole.ratios, ())
    assert (first.reasons, second.reasons) == ((), whole.reasons)
    assert not second.conclusive
    assert (first.machine, first.source, first.burst) == (whole.machine, whole.source, whole.burst)


def test_cases_take_turns_in_bursts() -> None:
    _, log = run(samples=100, burst=10)
    # 10 bursts of 10 with one unrecorded run before each, after the warm-ups.
    measured = log[-2 * 10 * 11 :]
    assert measured == (["int8"] * 11 + ["fp32"] * 11) * 10


def test_warm_up_lasts_ten_runs_and_half_a_second() -> None:
    _, log = run()
    int8_warm = log[: len(log) - 2 * 10 * 11].count("int8")
    # A run of 8 ms and one reading to look at the time: 0.5 s takes more than ten of them.
    assert int8_warm >= 0.5 / 0.010
    slow = FakeSession(clock := FakeClock(), "int8", 400, warm := [])
    profile([Case("slow", slow)], frames(), ProfileOptions(), clock_ns=clock)
    assert len(warm) - 20 * 11 == profiler.WARMUP_RUNS


def test_samples_are_rounded_up_to_whole_bursts() -> None:
    result, _ = run(samples=105, burst=10)
    assert len(result.cases[0].stage_ms) == 110


def test_a_drifting_case_makes_the_profile_inconclusive() -> None:
    result, _ = run(drift_ms=0.1)
    assert not result.conclusive
    (reason,) = result.reasons
    assert reason.startswith("a int8: ")
    assert "15%" in reason


@pytest.mark.parametrize(("last", "bad"), [(1.14, False), (1.16, True), (0.84, True)])
def test_drift_compares_the_thirds(last: float, bad: bool) -> None:
    case = case_of(np.repeat([1.0, 1.0, last], 100))
    assert bool(drift_reasons([case], 0.15)) is bad
    assert case.drift == pytest.approx(last - 1)


def case_of(infer_ms: np.ndarray, precision: str = "int8", size: Size = SIZE) -> CaseResult:
    stage_ms = np.zeros((len(infer_ms), 4))
    stage_ms[:, 2] = infer_ms
    start_s = np.arange(len(infer_ms), dtype=float)
    return CaseResult("x", "bisenet-xception39", size, "fake", precision, {}, stage_ms, start_s)


def test_the_interval_holds_under_shared_slowness() -> None:
    """A machine that is slow in half of the rounds slows both: the ratio stays sharp."""
    noise = np.random.default_rng(3)
    slow = np.repeat(noise.choice([1.0, 3.0], 20), 10)
    int8 = case_of(5 * slow * noise.normal(1, 0.01, 200))
    fp32 = case_of(20 * slow * noise.normal(1, 0.01, 200), "fp32")
    (paired,) = precision_ratios([int8, fp32], burst=10)
    assert 0.2 < paired.low <= 0.25 <= paired.high < 0.3
    # The same samples in an order that pairs slow rounds with fast ones: the interval must say so.
    moved = case_of(np.roll(fp32.frame_to_mask_ms, 10), "fp32")
    (unpaired,) = precision_ratios([int8, moved], burst=10)
    assert unpaired.high - unpaired.low > 3 * (paired.high - paired.low)


def test_ratios_only_compare_like_with_like() -> None:
    other_size = case_of(np.full(100, 9.0), "fp32", Size(128, 64))
    assert precision_ratios([case_of(np.full(100, 3.0)), other_size], burst=10) == ()


@pytest.mark.parametrize("samples", [0, 99])
def test_too_few_samples_are_refused(samples: int) -> None:
    with pytest.raises(UsageError, match="too few samples"):
        ProfileOptions(samples=samples)


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [np.zeros((48, 96), np.uint8)],
        [np.zeros((48, 96, 3), np.float32)],
        [*frames(1), *frames(1, height=64)],
    ],
)
def test_unusable_frames_are_refused(bad: list) -> None:
    session = FakeSession(clock := FakeClock(), "int8", 4, [])
    with pytest.raises(UsageError, match="these frames"):
        profile([Case("a", session)], bad, ProfileOptions(), clock_ns=clock)


def test_no_cases_and_equal_names_are_refused() -> None:
    session = FakeSession(FakeClock(), "int8", 4, [])
    for cases in ([], [Case("a", session), Case("a", session)]):
        with pytest.raises(UsageError, match="these cases"):
            profile(cases, frames(), ProfileOptions())


def test_progress_ends_at_the_end() -> None:
    told: list[tuple[str, int, int]] = []
    session = FakeSession(clock := FakeClock(), "int8", 4, [])
    profile(
        [Case("a", session)],
        frames(),
        ProfileOptions(samples=100),
        lambda *step: told.append(step),
        clock_ns=clock,
    )
    assert ("warming up", 1, 1) in told
    assert told[-1] == ("profiling", 10, 10)


def test_the_paper_stands_beside() -> None:
    printed = paper_speed("bisenet-xception39", Size(640, 360))
    assert printed is not None
    assert (printed.time_ms, printed.fps) == (5.0, 203.5)
    assert paper_speed("bisenet-xception39", Size(641, 359)) is None
    assert paper_speed("bisenet-resnet18", Size(640, 360), PAPER_DEVICE_XP).fps == 205.7
    case = case_of(np.full(100, 5.0), size=Size(1280, 720))
    assert case.to_json()["paper"]["fps"] == 82.3
    # The paper rounds to whole milliseconds; its two columns must agree.
    # Both are rounded: where a frame takes long, the rate is the coarser figure.
    assert all(
        abs(1000 / p.fps - p.time_ms) <= 0.56 or round(1000 / p.time_ms, 1) == p.fps
        for p in (*PRINTED, *PRINTED_XP)
    )


def test_the_machine_is_described() -> None:
    machine = describe_machine()
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert machine["packages"]["numpy"] == np.__version__
    assert profiler.peak_rss_mb() > 10


class ScriptedReader(PowerReader):
    """A Jetson whose GPU clock falls from look to look."""

    source, power_of, mode = "fake", "VDD_IN", "MODE_15W"

    def __init__(self) -> None:
        self.looks = 0

    def read(self) -> Reading:
        self.looks += 1
        return Reading(5000.0, 50.0, max(300.0, 900.0 - 20 * self.looks), None)


def test_a_profile_looks_at_the_sensors_meanwhile() -> None:
    session = FakeSession(FakeClock(), "int8", 0, [])
    session.backend = "tensorrt"
    # The real clock: a fake one would be moved by the thread that looks.
    slow = session._infer

    def slower(frame: np.ndarray, mask: np.ndarray) -> None:
        time.sleep(0.012)
        slow(frame, mask)

    session._infer = slower  # type: ignore[method-assign]
    options = ProfileOptions(samples=150, burst=50)
    result = profile([Case("a", session)], frames(), options, power=ScriptedReader())
    assert result.power is not None
    assert result.power.power_of == "VDD_IN"
    energy = result.cases[0].energy
    assert energy is not None
    assert energy.mean_mw == 5000
    assert any("jetson_clocks" in reason for reason in result.machine_reasons)
    told = result.to_json()
    assert told["cases"][0]["energy"]["mj_per_frame"] > 5000 * 0.012
    assert told["power"]["mode"] == "MODE_15W"
    assert not told["conclusive"]


def test_without_a_reader_nothing_is_claimed() -> None:
    told = run()[0].to_json()
    assert told["power"] is None
    assert told["cases"][0]["energy"] is None
