"""The search's decisions, on made-up scores: which network is taken, in which order, and when it gives up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from torch import nn

from bisenet_edge.metrics import Confusion
from bisenet_edge.runtime.accuracy import Gate
from bisenet_edge.toolchain.quant.ptq import BIAS_CORRECTION, EQUALIZATION, Quantized
from bisenet_edge.toolchain.search import blocks, check_one, search
from bisenet_edge.toolchain.trial import Score

CONVOLUTIONS = ("spatial.a", "spatial.b", "backbone.stem", "backbone.stage8.0", "head.a")
NAMES = ("road", "pole")


@dataclass(frozen=True)
class MadeUp:
    """A confusion with given IoUs: only what a score reads of it."""

    ious: tuple[float, ...]

    def iou(self):
        return np.array(self.ious)

    def miou(self):
        return float(np.mean(self.ious))


FP32 = MadeUp((0.8, 0.6))


def score(drop, *, pole=None, speedup=2.0):
    """A score with this drop of mIoU; `pole` is the drop of the second class (default: the same)."""
    pole = drop if pole is None else pole
    return Score(FP32, MadeUp((0.8 - (2 * drop - pole) / 100, 0.6 - pole / 100)), 10.0 * speedup, 10.0)


class Scripted:
    """Stands for both sides: quantizes into a label of the scheme, and gives the score written for it."""

    def __init__(self, scores, tuned=None):
        self.scores, self.tuned, self.asked = scores, tuned, []

    def quantize(self, scheme):
        network = nn.Module()
        network.scheme = scheme
        return Quantized(network, scheme, ())

    def describe(self):
        return {"data": "made up", "split": "val", "images": 0, "backend": "none"}

    def measure(self, network, progress, step):
        self.asked.append(step)
        if network is self.tuned:
            return self.scores["qat"]
        scheme = network.scheme
        kept = frozenset(CONVOLUTIONS) - scheme.keep_float
        for key in (scheme, (scheme.observer, scheme.corrections), scheme.observer):
            if not scheme.keep_float and key in self.scores:
                return self.scores[key]
        by_block = blocks(CONVOLUTIONS)
        in_float = frozenset(b for b, names in by_block.items() if not kept & set(names))
        return self.scores.get(in_float, self.scores["default"])


@pytest.fixture
def run(monkeypatch):
    def start(scores, gate, observer="mse", fine_tune=None, tuned=None):
        monkeypatch.setattr(
            "bisenet_edge.toolchain.search.quant_convs", lambda network: dict.fromkeys(CONVOLUTIONS)
        )
        scripted = Scripted(scores, tuned)
        return search(scripted, scripted, gate, observer, fine_tune=fine_tune)

    return start


BAD = {"max": score(5), "percentile": score(4), "entropy": score(6), "mse": score(3), "default": score(9)}


def test_blocks_are_the_networks_parts():
    assert blocks(CONVOLUTIONS) == {
        "spatial": ("spatial.a", "spatial.b"),
        "backbone.stem": ("backbone.stem",),
        "backbone.stage8": ("backbone.stage8.0",),
        "head": ("head.a",),
    }


def test_the_observer_asked_for_is_taken_when_it_passes(run):
    found = run({**BAD, "mse": score(0.4), "max": score(0.1)}, Gate(0.5))
    assert found.chosen.name == "PTQ mse"
    assert [step.name for step in found.steps] == ["PTQ mse", "PTQ max", "PTQ percentile", "PTQ entropy"]
    assert not found.sensitivity


def test_another_observer_is_taken_when_only_it_passes(run):
    found = run({**BAD, "entropy": score(0.4), "max": score(0.3)}, Gate(0.5))
    assert found.chosen.name == "PTQ max"


def test_one_class_can_fail_the_gate(run):
    found = run({**BAD, "mse": score(0.1, pole=4), "max": score(0.4, pole=2)}, Gate(0.5, 3))
    assert found.chosen.name == "PTQ max"
    assert found.to_json(NAMES)["steps"][0]["worst_class"] == "pole"


def test_corrections_are_tried_on_the_best_observer(run):
    both = (EQUALIZATION, BIAS_CORRECTION)
    found = run({**BAD, ("mse", both): score(0.2), ("mse", both[:1]): score(0.7)}, Gate(0.5))
    assert found.chosen.quantized.scheme.corrections == both
    assert [step.stage for step in found.steps] == ["ptq"] * 4 + ["correction"] * 3


CORRECTED = {("mse", (EQUALIZATION,)): score(3.5), ("mse", (BIAS_CORRECTION,)): score(3.5)}
CORRECTED[("mse", (EQUALIZATION, BIAS_CORRECTION))] = score(3.5)
STUCK = {**BAD, **CORRECTED}


def test_the_fastest_single_block_in_float_that_passes_is_taken(run):
    scores = {
        **STUCK,
        frozenset({"spatial"}): score(0.1, speedup=1.3),
        frozenset({"backbone.stem"}): score(0.4, speedup=1.9),
        frozenset({"head"}): score(0.6, speedup=2.0),
    }
    found = run(scores, Gate(0.5))
    assert found.chosen.quantized.scheme.keep_float == {"backbone.stem"}
    assert found.chosen.stage == "fallback"
    sensitivity = {b.block: (b.only, b.without) for b in found.sensitivity}
    assert set(sensitivity) == set(blocks(CONVOLUTIONS))
    assert sensitivity["spatial"] == pytest.approx((9, 0.1))


def test_of_equally_fast_blocks_the_more_accurate_is_taken(run):
    scores = {
        **STUCK,
        frozenset({"backbone.stem"}): score(0.4, speedup=1.91),
        frozenset({"head"}): score(0.1, speedup=1.9),
    }
    assert run(scores, Gate(0.5)).chosen.quantized.scheme.keep_float == {"head.a"}


def test_more_blocks_are_added_by_what_they_give_per_time_lost(run):
    scores = {
        **STUCK,
        frozenset({"spatial"}): score(1.0, speedup=1.0),  # gives most, and costs half the speed
        frozenset({"backbone.stem"}): score(2.0, speedup=1.95),
        frozenset({"head"}): score(1.5, speedup=1.98),
        frozenset({"head", "backbone.stem"}): score(0.3, speedup=1.9),
    }
    found = run(scores, Gate(0.5))
    assert found.chosen.quantized.scheme.keep_float == {"head.a", "backbone.stem"}


def test_float_blocks_that_cost_all_the_speed_are_not_taken(run):
    found = run({**STUCK, frozenset({"spatial"}): score(0.1, speedup=1.05)}, Gate(0.5))
    assert found.chosen is None
    (slow,) = [step for step in found.steps if step.passed]
    assert "only 1.05 times as fast" in slow.note


def test_training_comes_last_and_starts_from_the_best_calibrated_network(run):
    tuned = nn.Module()
    started = []

    def fine_tune(start):
        started.append(start.scheme)
        return Quantized(tuned, start.scheme, (), "qat")

    found = run({**STUCK, "qat": score(-0.2)}, Gate(0.5), fine_tune=fine_tune, tuned=tuned)
    assert found.chosen.stage == "qat"
    assert found.chosen is found.steps[-1]
    (scheme,) = started
    assert (scheme.observer, scheme.keep_float) == ("mse", frozenset())


def test_a_promise_that_nothing_keeps(run):
    tuned = nn.Module()
    found = run(
        {**STUCK, "qat": score(1.0)},
        Gate(0.5),
        fine_tune=lambda start: Quantized(tuned, start.scheme, (), "qat"),
        tuned=tuned,
    )
    assert found.chosen is None
    assert found.best.stage == "qat"
    assert "0.50 points beyond the gate" in found.reason
    section = found.to_json(NAMES)
    assert (section["passed"], section["chosen"]) == (False, None)
    assert [step["stage"] for step in section["steps"]][-1] == "qat"


def test_a_drop_that_is_not_a_number_passes_nothing(run):
    found = run(dict.fromkeys([*STUCK], score(float("nan"))), Gate(100))
    assert found.chosen is None


def test_one_finished_network_is_judged_alone(monkeypatch):
    network = nn.Module()
    scripted = Scripted({"qat": score(0.3)}, network)
    quantized = Quantized(network, None, (), "qat")
    assert check_one(quantized, "QAT", scripted, Gate(0.5)).chosen.name == "QAT"
    assert check_one(quantized, "QAT", scripted, Gate(0.2)).chosen is None


def test_a_score_reads_confusions():
    good, bad = Confusion(np.array([[90, 10], [0, 100]])), Confusion(np.array([[80, 20], [0, 100]]))
    made = Score(good, bad, 4.0, 2.0)
    assert made.speedup == 2
    assert made.drop_points == pytest.approx(100 * (good.miou() - bad.miou()))
    assert made.excess_points(Gate(1.0, 2.0)) == pytest.approx(
        max(made.drop_points - 1, made.class_drop_points.max() - 2)
    )


def test_the_networks_blocks_hold_all_their_convolutions(folded):
    from bisenet_edge.toolchain.quant.placement import insert_quantizers, quant_convs

    names = list(quant_convs(insert_quantizers(folded)))
    grouped = blocks(names)
    assert [name for group in grouped.values() for name in group] == sorted(
        names, key=lambda name: list(grouped).index(next(b for b in grouped if name in grouped[b]))
    )
    assert {"spatial", "backbone.stem", "backbone.stage16", "arm32", "ffm", "head"} <= set(grouped)
