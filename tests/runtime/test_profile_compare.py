"""Two profiles: verdicts from samples that are known to be faster or slower, and what is refused."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from bisenet_edge.errors import ArtifactError
from bisenet_edge.runtime.profile.compare import compare, differences, load_profile, refusal

MACHINE = {
    "board": "",
    "cpu": "A CPU",
    "architecture": "x86_64",
    "cores": 2,
    "packages": {"openvino": "2026.4.1", "numpy": "2.0"},
}


def case_of(factor=1.0, precision="int8", seed=0, spread=0.03, size="640x360"):
    times_ms = factor * 10 * np.random.default_rng(seed).lognormal(0, spread, 200)
    return {
        "name": f"toy {size} {precision}",
        "model": "toy",
        "size": size,
        "backend": "openvino",
        "precision": precision,
        "engine": {"threads": 2},
        "samples": {"resize_ms": [0.5] * 200, "infer_ms": (times_ms - 0.5).tolist()},
    }


def profile_of(*cases, **others):
    told = {"cases": list(cases), "burst": 10, "reasons": [], "source": "1280x720", "power": None}
    return {**told, "machine": copy.deepcopy(MACHINE), **others}


@pytest.mark.parametrize(
    ("factor", "allowed", "verdict"),
    [
        (1.0, 0.05, "same"),
        (1.2, 0.05, "slower"),
        (0.8, 0.05, "faster"),
        (1.2, 0.30, "same"),
        (1.02, 0.05, "same"),
        (1.05, 0.05, "inconclusive"),  # the interval reaches over the allowance
    ],
)
def test_the_verdict_follows_the_interval(factor, allowed, verdict):
    found = compare(profile_of(case_of(factor, seed=1)), profile_of(case_of()), allowed)
    (case,) = found.cases
    assert (case.verdict, found.verdict) == (verdict, verdict)
    assert case.low < case.ratio < case.high
    assert case.ratio == pytest.approx(factor, rel=0.02)
    assert case.now_ms / case.before_ms == case.ratio


def test_noise_is_inconclusive_not_a_regression():
    found = compare(profile_of(case_of(1.1, seed=1, spread=0.9)), profile_of(case_of(spread=0.9)))
    assert found.verdict == "inconclusive"
    assert found.cases[0].low < 1.05 < found.cases[0].high


def test_the_worst_case_decides():
    now = profile_of(case_of(0.8, seed=1), case_of(1.3, "fp32", seed=2), case_of(1.0, seed=3, size="96x64"))
    before = profile_of(case_of(), case_of(1.0, "fp32"), case_of(size="96x64"))
    found = compare(now, before)
    assert [case.verdict for case in found.cases] == ["faster", "slower", "same"]
    assert found.verdict == "slower"


def test_cases_that_only_one_has_are_named():
    found = compare(
        profile_of(case_of(), case_of(precision="bf16")), profile_of(case_of(), case_of(precision="fp32"))
    )
    assert found.verdict == "same"
    assert found.unmatched == (
        "toy 640x360 openvino bf16 (only now)",
        "toy 640x360 openvino fp32 (only before)",
    )
    nothing = compare(profile_of(case_of(size="96x64")), profile_of(case_of()))
    assert (nothing.verdict, nothing.cases) == ("inconclusive", ())
    assert "no case is in both profiles" in nothing.reasons


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p["machine"].update(cpu="Another"), "cpu differs: A CPU before, Another now"),
        (lambda p: p["machine"].update(board="Jetson"), "board differs: unknown before, Jetson now"),
        (
            lambda p: p["machine"]["packages"].update(openvino="2027.1"),
            "openvino differs: 2026.4.1 before, 2027.1 now",
        ),
        (lambda p: p.update(source="640x480"), "camera frames differs: 1280x720 before, 640x480 now"),
        (lambda p: p.update(power={"mode": "15W"}), "power mode differs: MAXN before, 15W now"),
        (
            lambda p: p["cases"][0]["engine"].update(gpu="Orin"),
            "gpu of toy 640x360 openvino int8: unknown before, Orin now",
        ),
        (
            lambda p: p["cases"][0]["engine"].update(threads=4),
            "threads of toy 640x360 openvino int8: 2 before, 4 now",
        ),
    ],
)
def test_another_machine_is_no_comparison_unless_forced(change, says):
    before = profile_of(case_of(), power={"mode": "MAXN"})
    now = profile_of(case_of(1.5, seed=1), power={"mode": "MAXN"})
    change(now)
    found = compare(now, before)
    assert found.verdict == "inconclusive"
    assert any(says in reason for reason in found.reasons)
    assert "compare all the same with --force" in found.reasons
    assert compare(now, before, force=True).verdict == "slower"


def test_packages_that_do_not_compute_may_differ():
    now = profile_of(case_of())
    now["machine"]["packages"]["numpy"] = "3.0"
    assert differences(now, profile_of(case_of())) == ()


@pytest.mark.parametrize("which", ["now", "before"])
def test_an_inconclusive_profile_gives_no_verdict(which):
    profiles = {"now": profile_of(case_of(1.5, seed=1)), "before": profile_of(case_of())}
    profiles[which]["reasons"] = ["it drifted"]
    found = compare(profiles["now"], profiles["before"])
    assert found.verdict == "inconclusive"
    assert found.cases[0].verdict == "slower"  # the figures are shown all the same


def test_a_profile_of_elsewhere_is_refused_before_measuring():
    refused = refusal(profile_of(case_of()))
    assert refused is not None
    assert refused.verdict == "inconclusive"
    assert any(reason.startswith("cpu differs: A CPU before") for reason in refused.reasons)


@pytest.mark.parametrize("wrap", [lambda p: {"profile": p, "export": {}}, lambda p: p])
def test_a_report_and_saved_json_are_both_read(tmp_path, wrap):
    profile = profile_of(case_of())
    (tmp_path / "report.json").write_text(json.dumps(wrap(profile)))
    assert load_profile(tmp_path / "report.json") == load_profile(tmp_path) == profile


def _without_samples(profile):
    del profile["cases"][0]["samples"]


def _ragged(profile):
    profile["cases"][0]["samples"]["infer_ms"] = [1.0]


def _text(profile):
    profile["cases"][0]["samples"]["infer_ms"][3] = "fast"


def _null(profile):
    profile["cases"][0]["samples"]["infer_ms"][3] = None


def _burst(profile):
    profile["burst"] = 30


def _zero_burst(profile):
    profile["burst"] = 0


def _no_machine(profile):
    del profile["machine"]


@pytest.mark.parametrize(
    "damage",
    [_without_samples, _ragged, _text, _null, _burst, _zero_burst, _no_machine],
    ids=lambda f: f.__name__,
)
def test_a_damaged_report_is_one_clear_error(tmp_path, damage):
    profile = profile_of(case_of())
    damage(profile)
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"profile": profile}))
    with pytest.raises(ArtifactError, match="no profile to compare with") as caught:
        load_profile(path)
    assert str(path) in str(caught.value)
    assert "bisenet-edge profile --json > before.json" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '"text"', "{}", '{"profile": null}', '{"cases": 3}', "null"]
)
def test_a_foreign_file_is_one_clear_error(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ArtifactError, match="no profile to compare with"):
        load_profile(tmp_path)
    with pytest.raises(ArtifactError, match="No such file"):
        load_profile(tmp_path / "nowhere.json")


def test_json_of_a_comparison():
    told = compare(profile_of(case_of(1.3, seed=1)), profile_of(case_of())).to_json()
    assert json.loads(json.dumps(told)) == told
    assert (told["verdict"], told["max_regression"]) == ("slower", 0.05)
    assert set(told["cases"][0]) == {"case", "before_ms", "now_ms", "ratio", "low", "high", "verdict"}
