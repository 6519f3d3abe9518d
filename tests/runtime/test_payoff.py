"""INT8 must pay: the choice from made-up times, and one real run that asserts no times."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import ArtifactError, BackendError
from bisenet_edge.runtime.backends import native_float16, open_session
from bisenet_edge.runtime.profile.payoff import OPTIONS, Payoff, decide, int8_pays

BURST = 10
MACHINE = {"board": "", "cpu": "A CPU", "packages": {"openvino": "2026.4.0"}}


def decided(machine: dict = MACHINE, **medians_ms: float) -> Payoff:
    """The choice from 200 times of each flavour, 5 % of noise on each and 20 % on rounds, which all share."""
    noise = np.random.default_rng(0)
    rounds = np.repeat(noise.normal(1, 0.2, 20), BURST)
    times_ms = {name: ms * rounds * noise.normal(1, 0.05, 200) for name, ms in medians_ms.items()}
    return decide(times_ms, BURST, "openvino", machine)


def test_int8_is_chosen_where_it_is_faster() -> None:
    payoff = decided(int8=6.0, bf16=10.0, fp32=20.0)
    assert (payoff.chosen, payoff.conclusive) == ("int8", True)
    assert payoff.high < 1
    assert payoff.reason == (
        f"INT8 takes {payoff.ratio:.2f} of BF16's time (95 % interval {payoff.low:.2f} to {payoff.high:.2f}) "
        "on OpenVINO 2026.4.0, A CPU"
    )


@pytest.mark.parametrize(("bf16", "fp32", "fastest"), [(6.0, 20.0, "bf16"), (20.0, 6.0, "fp32")])
def test_the_fastest_float_is_chosen_where_int8_is_slower(bf16: float, fp32: float, fastest: str) -> None:
    payoff = decided(int8=10.0, bf16=bf16, fp32=fp32)
    assert (payoff.chosen, payoff.against, payoff.conclusive) == (fastest, fastest, True)
    assert payoff.low > 1
    assert payoff.reason.endswith(f"A CPU: {fastest.upper()} is faster here")


def test_a_tie_keeps_int8_and_says_so() -> None:
    payoff = decided(int8=10.0, fp32=10.0)
    assert (payoff.chosen, payoff.against, payoff.conclusive) == ("int8", "fp32", False)
    assert payoff.low <= 1 <= payoff.high
    assert payoff.reason.endswith(": not clearly faster here, kept for its size and the target's sake")


def test_int8_stands_against_the_fastest_float_not_the_slowest() -> None:
    """Twice as fast as FP32, and still the wrong choice where the CPU computes BF16."""
    assert decided(int8=10.0, fp32=20.0).chosen == "int8"
    assert decided(int8=10.0, fp32=20.0, bf16=8.0).chosen == "bf16"


def test_a_board_is_named_by_its_name() -> None:
    board = {**MACHINE, "board": "NVIDIA Jetson Orin Nano"}
    assert decided(board, int8=5.0, fp32=9.0).reason.endswith(", NVIDIA Jetson Orin Nano")


def test_the_json_holds_what_was_decided() -> None:
    payoff = decided(int8=10.0, bf16=8.0, fp32=20.0)
    told = json.loads(json.dumps(payoff.to_json()))
    assert [case["precision"] for case in told["cases"]] == ["int8", "bf16", "fp32"]
    by_name = {case["precision"]: case for case in told["cases"]}
    assert told["int8_over_float"] == pytest.approx(
        by_name["int8"]["p50_ms"] / by_name["bf16"]["p50_ms"], abs=1e-3
    )
    assert told["ci95"][0] <= told["int8_over_float"] <= told["ci95"][1]
    assert {key: told[key] for key in ("chosen", "float", "backend", "machine", "conclusive", "reason")} == {
        "chosen": "bf16",
        "float": "bf16",
        "backend": "openvino",
        "machine": MACHINE,
        "conclusive": True,
        "reason": payoff.reason,
    }


def test_a_real_artifact_is_timed_in_every_native_precision(small_artifact) -> None:
    told: list[tuple[str, int, int]] = []
    payoff = int8_pays(Artifact.open(small_artifact), progress=lambda *step: told.append(step))
    half = native_float16("openvino")
    flavours = ["int8", half, "fp32"] if half else ["int8", "fp32"]
    assert payoff.backend == "openvino"
    assert [name for name, _ in payoff.cases] == flavours
    assert all(times.samples == OPTIONS.samples and times.min_ms > 0 for _, times in payoff.cases)
    medians_ms = {name: times.p50_ms for name, times in payoff.cases}
    assert payoff.against == min(flavours[1:], key=medians_ms.__getitem__)
    assert payoff.ratio == pytest.approx(medians_ms["int8"] / medians_ms[payoff.against])
    assert payoff.low <= payoff.high
    assert payoff.chosen == (payoff.against if payoff.low > 1 else "int8")
    assert payoff.machine["cpu"] in payoff.reason
    assert {step for step, _, _ in told} == {"warming up", "profiling"}


def test_the_clock_can_be_given(small_artifact) -> None:
    """On a clock that gains 100 ms with every reading all precisions are equally fast."""
    readings_ns = count(step=100_000_000)
    payoff = int8_pays(
        Artifact.open(small_artifact), backend="onnxruntime", clock_ns=lambda: next(readings_ns)
    )
    assert {times.p50_ms for _, times in payoff.cases} == {100.0}
    assert (payoff.chosen, payoff.ratio, payoff.conclusive) == ("int8", 1.0, False)
    assert payoff.reason.startswith(
        "INT8 takes 1.00 of FP32's time (95 % interval 1.00 to 1.00) on ONNX Runtime "
    )


@pytest.mark.parametrize("runs", ["int8", "bf16", "fp32"])
def test_what_was_chosen_runs_by_default(small_artifact, runs: str) -> None:
    artifact = Artifact.open(small_artifact)
    chosen = Artifact(artifact.path, replace(artifact.manifest, runs=runs))
    if runs == "bf16" and not native_float16("openvino"):
        # Chosen on another machine: said, not replaced by something else.
        with pytest.raises(BackendError, match="BF16") as caught:
            open_session(chosen, backend="openvino")
        assert "--precision" in caught.value.fix
        return
    with open_session(chosen, backend="openvino") as session:
        assert session.precision == runs


def test_an_artifact_without_int8_is_refused(with_artifact) -> None:
    path = with_artifact / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {file: sha for file, sha in manifest["files"].items() if "model.int8" not in file}
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="no int8 model"):
        int8_pays(Artifact.open(with_artifact))
