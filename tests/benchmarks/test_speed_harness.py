"""The speed benchmark's machinery: turns, rejection, ratios, the protocol, verdicts. Nothing is measured."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from speed.__main__ import _parser, _plan
from speed.contest import Result, rows_of
from speed.contestants import ENTRANTS, PEERS
from speed.contestants.base import LEAST_SAME, Contestant, usual_input, usual_mask
from speed.contestants.streams import Turnstile
from speed.figures import Line, Ratio, Summary
from speed.floors import floors_of, gmac_per_s
from speed.lane import LaneError, ProcessLane
from speed.machine_load import Reading, busy_s, foreign_share
from speed.material import Material
from speed.plan import FOR_TARGETS, HEAVY, SIZES, Choice, Group, check_names
from speed.plots import plot_contest, plot_scaling
from speed.report import Findings, as_markdown, targets_table
from speed.targets import Target, speed_targets, startup_targets
from speed.turns import Burst, BurstPlan, Patience, Taken, take_turns
from speed.worker import Worker, serve

from bisenet_edge.frame import Size

MACHINE = {"cpu": "a CPU", "cores": 2, "packages": {"torch": "1"}}
CALM = Reading(0.0, 0.0, 0.0)
STAT = """cpu  100 20 30 5000 7 1 2 40 60 0
cpu0 50 10 15 2500 3 0 1 20 30 0
intr 5
"""


class FakeLane:
    """Notes its turns; every burst takes 1 s on both cores, by a clock that the test owns."""

    def __init__(self, name: str, machine: FakeMachine, time_ms: float = 10.0) -> None:
        self.name, self.machine, self.time_ms = name, machine, time_ms

    def burst(self, job: str, plan: BurstPlan) -> Burst:
        self.machine.turns.append((self.name, job))
        self.machine.pass_time(self.name)
        return Burst([self.time_ms] * 3, 2.0, {"frames": 7.0})


class FakeMachine:
    """Two cores. `disturbed` tells before which bursts (by number) others use them."""

    def __init__(self, disturbed: dict[int, float] | None = None) -> None:
        self.turns: list[tuple[str, str]] = []
        self.disturbed = disturbed or {}
        self.reading = CALM

    def pass_time(self, name: str) -> None:
        foreign_s = self.disturbed.get(len(self.turns), 0.0)
        now = self.reading
        self.reading = Reading(now.wall_s + 1.0, now.busy_s + 2.0 + foreign_s, now.own_s)

    def take(self, names: str, jobs: tuple[str, ...] = ("mask",), **patience: object) -> Taken:
        entries = [(FakeLane(name, self), job) for name in names for job in jobs]
        wanted = Patience(**{"rounds": 4, "most_rounds": 8, **patience})  # type: ignore[arg-type]
        return take_turns(entries, BurstPlan(), wanted, look=lambda: self.reading, cores=2)


def summary(*medians_ms: float) -> Summary:
    return Summary.of([[value] for value in medians_ms])


def test_busy_time_counts_stolen_time_and_not_guests_twice():
    assert busy_s(STAT, 100) == pytest.approx(1.93)  # 100 + 20 + 30 + 1 + 2 + 40
    with pytest.raises(ValueError, match="no line 'cpu'"):
        busy_s("cpu0 1 2 3\n", 100)


def test_foreign_share_leaves_out_the_worker_and_the_parent():
    before, after = Reading(10.0, 100.0, 5.0), Reading(12.0, 103.5, 5.5)
    assert foreign_share(before, after, worker_s=2.0, cores=2) == pytest.approx(0.25)
    assert foreign_share(before, after, worker_s=4.0, cores=2) == 0.0  # ticks are coarse: never below 0


def test_the_machine_of_this_test_can_be_read():
    first, second = Reading.now(), Reading.now()
    assert second.wall_s > first.wall_s
    assert second.busy_s >= first.busy_s > 0


def test_every_round_gives_everybody_one_burst_in_another_order():
    machine = FakeMachine()
    taken = machine.take("abcd", rounds=6, most_rounds=6)
    rounds = [machine.turns[start : start + 4] for start in range(0, 24, 4)]
    assert all(sorted(one) == [(name, "mask") for name in "abcd"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert (taken.rounds, taken.rounds_rejected, taken.bursts_rejected) == (6, 0, 0)
    assert FakeMachine().take("abcd", seed=1).bursts.keys() == taken.bursts.keys()


def test_a_disturbed_burst_is_taken_again_and_not_kept():
    machine = FakeMachine({2: 1.0})
    taken = machine.take("ab", rounds=2)
    assert taken.rounds == 2
    assert (taken.bursts_taken, taken.bursts_rejected, taken.rounds_rejected) == (5, 1, 0)
    assert machine.turns[1] == machine.turns[2]
    assert taken.worst_rejected == pytest.approx(0.5)
    assert max(taken.foreign) == 0.0


def test_a_round_that_stays_disturbed_is_thrown_away_for_everybody():
    machine = FakeMachine({2: 1.0, 3: 1.0, 4: 1.0})
    taken = machine.take("ab", rounds=2)
    assert (taken.rounds, taken.rounds_rejected, taken.bursts_rejected) == (2, 1, 3)
    assert all(len(bursts) == 2 for bursts in taken.bursts.values())


def test_a_machine_that_never_calms_down_ends_the_contest():
    taken = FakeMachine(dict.fromkeys(range(100), 1.0)).take("ab", most_rounds=3)
    assert (taken.rounds, taken.rounds_rejected) == (0, 3)
    assert rows_of(taken, {}) == ()


def test_disturbance_below_the_limit_is_kept_and_told():
    taken = FakeMachine({1: 0.2}).take("a", rounds=1, max_foreign=0.2)
    assert taken.to_json()["largest_foreign_share_kept"] == pytest.approx(0.1)


def test_summary_pools_samples_and_keeps_rounds():
    found = Summary.of([[1.0, 2.0, 3.0], [4.0, 5.0]])
    assert (found.p50_ms, found.samples, found.rounds) == (3.0, 5, 2)
    assert found.iqr_ms == pytest.approx(2.0)
    assert found.medians_ms.tolist() == [2.0, 4.5]
    with pytest.raises(ValueError, match="no times"):
        Summary.of([])


def test_ratio_is_paired_a_slow_round_slows_both_sides():
    slow_machine = np.array([1.0, 1.5, 1.0, 2.0, 1.2])
    ratio = Ratio.speedup(summary(*30 * slow_machine), summary(*10 * slow_machine))
    assert ratio.value == ratio.low == ratio.high == pytest.approx(3.0)
    noisy = Ratio.speedup(summary(30, 33, 27, 31, 29), summary(10, 9, 11, 12, 10))
    assert noisy.low < noisy.value < noisy.high


def test_line_through_times():
    pixels = np.array([32768, 230400, 921600, 2097152])
    line = Line.fit(pixels, 0.5 + 15 * pixels / 1e6)
    assert line.fixed_ms == pytest.approx(0.5)
    assert line.ms_per_megapixel == pytest.approx(15)
    assert line.worst == pytest.approx(0, abs=1e-9)


class FakeContestant(Contestant):
    """Segments by brightness; the job "odd" fails."""

    def load(self) -> None:
        self.loaded = True

    def jobs(self):
        def timed(number):
            return 5.0, {"fps": float(number)}

        def odd(number):
            raise RuntimeError("it\nbroke")

        return {**super().jobs(), "timed": timed, "odd": odd}

    def network(self, ready):
        return ready

    def mask(self, frame):
        return (frame[..., 0] > 128).astype(np.uint8)


@pytest.fixture
def material(tmp_path):
    material = Material(tmp_path, "toy", Size(64, 32), 2, trained=True)
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    np.save(tmp_path / "reference.npy", (frames[..., 0] > 128).astype(np.uint8))
    material.save(key="k")
    assert Material.open(tmp_path) == material
    return material


def test_protocol_answers_in_order_and_failures_are_answers(material):
    requests = [
        {"do": "prepare"},
        {"do": "load"},
        {"do": "burst", "job": "mask", "seconds": 0.0, "warm_s": 0.0, "least": 3},
        {"do": "burst", "job": "timed", "seconds": 0.0, "warm_s": 0.0, "least": 2},
        {"do": "burst", "job": "odd", "seconds": 0.0, "warm_s": 0.0, "least": 1},
        {"do": "sing"},
        {"do": "masks", "file": str(material.folder / "m.npy")},
    ]
    answers = io.StringIO()
    text = "".join(json.dumps(request) + "\n" for request in requests)
    serve(lambda: FakeContestant(material, 1), io.StringIO(text), answers)
    _, loaded, masks, timed, odd, unknown, last = map(json.loads, answers.getvalue().splitlines())
    assert loaded["jobs"] == ["network", "mask", "timed", "odd"]
    assert len(masks["times_ms"]) == 3
    assert masks["cpu_s"] >= 0
    assert timed["times_ms"] == [5.0, 5.0]
    assert timed["extra"]["fps"] == pytest.approx(6.5)  # of the samples, without the warm-up
    assert odd == {"error": "RuntimeError: it"}
    assert "sing" in unknown["error"]
    assert last == {}
    assert np.array_equal(np.load(material.folder / "m.npy"), material.reference())


def test_a_burst_ends_after_its_time(material):
    worker = Worker(FakeContestant(material, 1))
    worker.answer({"do": "load"})
    burst = worker.answer({"do": "burst", "job": "network", "seconds": 0.05, "warm_s": 0.0, "least": 1})
    assert len(burst["times_ms"]) > 10


PROGRAM = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "load":
        print(json.dumps({"jobs": ["mask"]}), flush=True)
    elif asked["do"] == "burst":
        print(json.dumps({"times_ms": [1.0] * asked["least"], "cpu_s": 0.5, "extra": {}}), flush=True)
    elif asked["do"] == "refuse":
        print(json.dumps({"error": "ValueError: no"}), flush=True)
    else:
        sys.exit("it fell over")
"""


def test_lane_of_a_fake_worker():
    with ProcessLane("fake", [sys.executable, "-c", PROGRAM]) as lane:
        lane.load()
        assert lane.jobs == ["mask"]
        assert lane.load_s > 0
        assert lane.burst("mask", BurstPlan(least=4)) == Burst([1.0] * 4, 0.5)
        assert 1 < lane.peak_rss_mb() < 500
        with pytest.raises(LaneError, match="fake: ValueError: no"):
            lane.ask(do="refuse")
        with pytest.raises(LaneError, match="ended with code 1: it fell over"):
            lane.ask(do="die")


def test_turnstile_serves_in_the_order_of_arrival():
    turnstile, served = Turnstile(), []

    def pass_through(number: int) -> None:
        with turnstile:
            served.append(number)

    turnstile.__enter__()
    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=pass_through, args=(number,)))
        threads[-1].start()
        while len(turnstile._waiting) <= number:
            time.sleep(0.001)
    turnstile.__exit__()
    for thread in threads:
        thread.join(5)
    assert served == [0, 1, 2, 3, 4]
    with turnstile:
        pass  # free again


def result_of(times_ms: dict[tuple[str, str], float], **group: object) -> Result:
    bursts = {key: [Burst([value, value], 0.1)] * 3 for key, value in times_ms.items()}
    taken = Taken(bursts)
    wanted = Group("bisenet-xception39", Size(640, 360), 2, (), 3, 0.3)
    same = {name: 0.99 for name, _ in times_ms if not name.startswith("peak")}
    rss_mb = {name: 100.0 for name, _ in times_ms}
    return Result(replace(wanted, **group), rows_of(taken, same), {}, rss_mb, taken, True)  # type: ignore[arg-type]


def some_result() -> Result:
    return result_of(
        {
            ("ours-int8", "mask"): 5.0,
            ("ours-int8", "network"): 4.0,
            ("ours-int8-files", "video"): 5.0,
            ("ours-int8-files", "flow"): 4.5,
            ("ort-fp32", "mask"): 41.0,
            ("ort-fp32", "network"): 16.0,
            ("peak-openvino-int8", "peak"): 10.0,
        }
    )


def test_verdicts_of_one_run():
    result = some_result()
    floors = floors_of(result, work_of(gmac=3.065))
    found = {target.text: target for target in speed_targets(result, floors)}
    assert found["frame -> mask, INT8, over plain ONNX Runtime FP32"].measured.value == pytest.approx(8.2)
    assert found["frame -> mask, INT8, over plain ONNX Runtime FP32"].verdict == "reached"
    assert found["network only, INT8, over ONNX Runtime FP32"].verdict == "NOT reached"  # 4.0 of 4.5
    assert found["frame -> mask, INT8, over a competent OpenVINO user"].verdict == "not measured"
    video = found["video file -> masks, of bare inference throughput"]
    assert video.measured.value == pytest.approx(0.8)  # of the network alone, which is faster than the flow
    floor = found["network only, INT8, over its compute floor"]
    assert floor.reached is (floor.measured.value <= 3.2)
    assert floor.measured.value == pytest.approx(
        4.0 / (3.065 / gmac_per_s(result, "peak-openvino-int8") * 1e3)
    )


def work_of(gmac: float):
    from speed.floors import Work

    return Work(gmac, 40.0)


def test_a_target_inside_the_spread_says_so():
    wobbly = Target("m", "t", 8.0, Ratio(8.2, 7.7, 8.6))
    assert wobbly.verdict == "reached, within the spread"
    assert replace(wobbly, wanted=9.0).verdict == "NOT reached"
    assert replace(wobbly, at_most=True).verdict == "NOT reached, within the spread"


def test_start_up_targets_take_the_warm_default_engine():
    row = {"name": "openvino, cached", "round_medians_ms": [900.0, 1000.0, 1100.0], "peak_rss_mb": 310.0}
    first, memory = startup_targets("m", {"starts": [{**row, "name": "openvino, cold"}, row]})
    assert (first.measured.value, first.verdict) == (1.0, "reached")
    assert memory.verdict == "NOT reached"
    assert [target.verdict for target in startup_targets("m", {})] == ["not measured"] * 2


def test_report_has_every_contestant_and_says_what_is_no_measurement():
    result = some_result()
    findings = Findings(MACHINE, 0.06, [result], [floors_of(result, work_of(3.065))])
    findings.targets = speed_targets(result, findings.floors[0])
    text = as_markdown(findings)
    assert "8.20 (8.20 to 8.20)" in text
    assert all(f"`{name}`" in text for name in ("ours-int8", "ort-fp32"))
    assert "NOT A MEASUREMENT" not in text
    assert "NOT A MEASUREMENT" in as_markdown(replace(findings, max_foreign=1.0))
    assert targets_table(findings.targets) in text
    told = json.loads(json.dumps(findings.to_json()))
    assert told["valid"] is True
    assert told["contests"][0]["turns"]["rounds"] == 3


def test_pictures_are_drawn(tmp_path):
    result = some_result()
    plot_contest(result, tmp_path / "contest.png")
    sizes = [
        {"size": size, "pixels": pixels, "job": "mask", "p50_ms": pixels / 1e5, "iqr_ms": 0.1}
        for size, pixels in (("256x128", 32768), ("640x360", 230400))
    ]
    line = {"fixed_ms": 0.0, "ms_per_megapixel": 10.0, "worst": 0.0}
    scaling = [{"model": "m", "sizes": sizes, "lines": {"mask": line}}]
    row = {"fps": 30.0, "least_fps": 30.0, "age_p50_ms": 8.0, "age_p99_ms": 12.0, "peak_rss_mb": 170.0}
    streams = [{"model": "m", "size": "640x360", "cameras": [{"cameras": n, **row} for n in (1, 2)]}]
    plot_scaling(scaling, streams, tmp_path / "scaling.png")
    for name in ("contest.png", "scaling.png"):
        assert cv2.imread(str(tmp_path / name)).std() > 10
    text = as_markdown(Findings(MACHINE, 0.06, scaling=scaling, streams=streams))
    assert "0.00 ms + 10.00 ms per megapixel" in text
    assert "Cameras that share one engine: m 640x360" in text


def test_too_few_calm_rounds_are_invalid():
    result = some_result()
    few = replace(result, taken=Taken({("a", "mask"): [Burst([1.0], 0.1)]}))
    assert result.valid
    assert not few.valid
    assert not Findings({}, 0.06, [result, few]).valid


def test_plan_puts_slow_preparation_in_one_place_only():
    groups = Choice(("a", "b"), SIZES, (1, 2)).groups()
    assert len(groups) == 12
    with_heavy = [group for group in groups if set(HEAVY) & set(group.names)]
    main = [("a", SIZES[0], 2), ("b", SIZES[0], 2)]
    assert [(group.model, group.size, group.threads) for group in with_heavy] == main
    assert {(group.rounds, group.burst_s) for group in groups} == {(10, 0.3), (5, 0.15)}
    named = Choice(("a",), names=("torch-compile-fp32",), heavy=False).groups()
    assert [group.names for group in named] == [("torch-compile-fp32",)]
    few = Choice(("a",), SIZES, (1, 2), crossed=False).groups()
    assert [(group.size, group.threads) for group in few] == [
        (SIZES[0], 1),
        (SIZES[0], 2),
        (SIZES[1], 2),
        (SIZES[2], 2),
    ]


def seconds_of(*words: str) -> float:
    parser = _parser()
    return _plan(parser, parser.parse_args(list(words)))[0].seconds()


def test_the_estimate_grows_with_what_is_asked_for():
    assert seconds_of("--targets") < seconds_of() < 1500
    assert seconds_of("--targets") < 420
    assert seconds_of("--full") < 1800
    assert seconds_of("--rounds", "20") > seconds_of()
    with pytest.raises(SystemExit):
        seconds_of("--contestants", "ours-int8,ncn")


def test_every_contestant_can_be_imported_and_claims_a_known_precision():
    for name, entrant in ENTRANTS.items():
        found = entrant.load_class()
        assert found.title, name
        assert found.precision in LEAST_SAME, name
    assert set(FOR_TARGETS) <= set(ENTRANTS)
    assert "nncf-int8-ppp" in PEERS
    with pytest.raises(ValueError, match="no contestant 'ncn'"):
        check_names(("ours-int8", "ncn"))


def test_usual_preprocessing_and_argmax():
    frame = np.full((4, 6, 3), (128, 192, 0), np.uint8)
    image = usual_input(frame)
    assert image.shape == (1, 3, 4, 6)
    assert image.dtype == np.float32
    assert image[0, :, 2, 3].tolist() == [0.0, 1.0, -2.0]
    logits = np.zeros((1, 3, 2, 2), np.float32)
    logits[0, 2, 0, 1] = 1
    assert usual_mask(logits).tolist() == [[0, 2], [0, 0]]
