"""A run from URIs: exit codes, signals in real processes, what systemd hears of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import List

import cv2
import numpy as np
import pytest
from pipeline_doubles import SIZE, EchoSession, ListSink, NumberSource
from test_service import Systemd

from bisenet_edge.artifact import Artifact, Manifest, hash_files, write_manifest
from bisenet_edge.labels import CAMVID
from bisenet_edge.latency import LatencySummary
from bisenet_edge.runtime.pipeline import launch
from bisenet_edge.runtime.pipeline.launch import exit_code
from bisenet_edge.runtime.pipeline.run import RunOptions, run
from bisenet_edge.runtime.pipeline.run_report import SinkReport
from bisenet_edge.runtime.pipeline.segmenter import Segmenter

PROGRAM = Path(__file__).with_name("live_process.py")
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "toy"
    folder.mkdir()
    (folder / "model.int8.onnx").write_bytes(b"not read by the null engine")
    write_manifest(folder, Manifest("toy", "2026-01-01", "toy", CAMVID, SIZE, "int8", hash_files(folder)))
    return folder


def start(artifact: Path, folder: Path, *words: str, environ=None) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), "run", *words, "--artifact", str(artifact), "--backend", "null"]
    return subprocess.Popen(
        [*command, "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environ or {})},
    )


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    end_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.02)


def lines_of(path: Path) -> List[str]:
    return path.read_text().splitlines() if path.exists() else []


def frames_of(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    return count


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")])
def test_a_signal_under_load_ends_a_live_run_with_whole_files(artifact, tmp_path, number, name) -> None:
    with start(artifact, tmp_path, "camera", "a.avi", "masks/", "jsonl://log.jsonl") as process:
        wait_for(lambda: len(lines_of(tmp_path / "log.jsonl")) > 30, process)
        process.send_signal(number)
        printed, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    assert errors == ""
    report = json.loads(printed)
    assert report["ended_by"] == name
    assert report["frames_captured"] == report["frames_delivered"] + report["frames_dropped"]
    video, masks, log = report["sinks"]
    for sink in report["sinks"]:
        assert sink["failure"] == ""
        assert sink["written"] + sink["dropped"] == report["frames_delivered"]
    # A recording keeps time: of 200 frames per second it shows 30.
    assert video["written"] >= frames_of(tmp_path / "a.avi") > 0
    assert len(list((tmp_path / "masks").glob("*.png"))) == masks["written"]
    assert len([json.loads(line) for line in lines_of(tmp_path / "log.jsonl")]) == log["written"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_what_the_first_one_waits_for(artifact, tmp_path, number) -> None:
    systemd = Systemd(str(tmp_path / "notify"))
    heard: List[List[str]] = []

    def said(line: str) -> bool:
        heard.extend(systemd.heard())
        return any(line in lines for lines in heard)

    words = ["camera", "hanging", "jsonl://log.jsonl"]
    with start(artifact, tmp_path, *words, environ=systemd.environ) as process:
        wait_for(lambda: len(lines_of(tmp_path / "log.jsonl")) > 5, process)
        process.send_signal(number)
        wait_for(lambda: said("STOPPING=1"), process)
        process.send_signal(number)
        printed, errors = process.communicate(timeout=TIMEOUT_S)
    systemd.close()
    # The first one alone would have waited for the sink, and ended with a report.
    assert (process.returncode, printed, errors) == (130, "", "")
    assert all(json.loads(line) for line in lines_of(tmp_path / "log.jsonl"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_while_it_is_opened_ends_it_without_waiting(artifact, tmp_path, number, status) -> None:
    with start(artifact, tmp_path, "slow-to-open", "a.avi") as process:
        assert process.stdout.readline() == "opening\n"
        process.send_signal(number)
        printed, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, printed, errors) == (status, "", "")
    assert list(tmp_path.iterdir()) == []


def test_systemd_hears_of_the_whole_life(artifact, tmp_path) -> None:
    address = str(tmp_path / "notify")
    systemd = Systemd(address)
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "600000"}
    heard: List[List[str]] = []

    def fed() -> bool:
        heard.extend(systemd.heard())
        return sum("WATCHDOG=1" in lines for lines in heard) >= 3

    with start(artifact, tmp_path, "camera", "null://", environ=environ) as process:
        wait_for(fed, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT_S)
    heard.extend(systemd.heard())
    systemd.close()
    assert process.returncode == 0
    flat = [lines[0] for lines in heard]
    assert flat[0] == "STATUS=opening camera"
    assert flat.index("READY=1") < next(i for i, lines in enumerate(heard) if "WATCHDOG=1" in lines)
    assert flat[-1] == "STOPPING=1"
    assert flat.count("STOPPING=1") == 1
    assert any("FPS, frame age p50" in line for line in flat)


def test_systemd_hears_how_the_engine_is_built_and_once_of_the_end_of_a_file(
    artifact, tmp_path, monkeypatch
) -> None:
    systemd = Systemd(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.environ["NOTIFY_SOCKET"])
    steps = []

    def build(*_, progress, **__):
        progress("building the engine", 3, 8)
        return EchoSession()

    monkeypatch.setattr(launch, "open_session", build)
    monkeypatch.setattr(launch, "open_source", lambda *_, **__: NumberSource(3))
    launch.camera_to_mask(
        Artifact.open(artifact),
        launch.Job("numbers", ("null://",)),
        RunOptions(),
        lambda *step: steps.append(step),
    )
    heard = systemd.heard()
    systemd.close()
    flat = [lines[0] for lines in heard]
    told = flat.index("STATUS=building the engine, 3 of 8")
    assert heard[told][1] == "EXTEND_TIMEOUT_USEC=60000000"
    assert told < flat.index("READY=1")
    assert flat.count("STOPPING=1") == 1
    assert steps[0] == ("building the engine", 3, 8)


@pytest.mark.parametrize("live", [False, True])
def test_only_files_are_segmented_several_frames_at_a_time(artifact, monkeypatch, live) -> None:
    # A camera's newest frame must not wait behind others.
    asked = []

    def build(*_, throughput, **__):
        asked.append(throughput)
        return EchoSession()

    monkeypatch.setattr(launch, "open_session", build)
    monkeypatch.setattr(launch, "open_source", lambda *_, **__: NumberSource(3, live=live))
    launch.camera_to_mask(Artifact.open(artifact), launch.Job("numbers", ("null://",)), RunOptions())
    assert asked == [not live]


def test_an_engine_that_hangs_is_left_behind_and_told(artifact, tmp_path) -> None:
    with start(artifact, tmp_path, "camera", "null://", environ={"TEST_ENGINE": "hanging"}) as process:
        assert process.stdout.readline() == "in a frame\n"
        process.send_signal(signal.SIGTERM)
        # Its close blocks for ever, as that of a GPU does whose queue never ends.
        printed, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, printed) == (1, "")
    assert "the engine does not finish a frame" in errors


def test_limits_and_budget(artifact, tmp_path) -> None:
    words = ["camera", "null://", "--frames", "120", "--latency-budget-ms"]
    cases = {"1000000": 0, "0.000001": 3}
    for budget, status in cases.items():
        with start(artifact, tmp_path, *words, budget) as process:
            printed, errors = process.communicate(timeout=TIMEOUT_S)
        # Live: a few frames may be dropped on a busy machine, and fewer than 100 give no percentile.
        report = json.loads(printed)
        assert report["frames_captured"] == 120
        assert process.returncode == (status if report["frames_delivered"] >= 100 else 4), errors
        assert report["within_budget"] in ({0: True, 3: False}[status], None)


def test_a_budget_from_the_environment_of_a_service(artifact, tmp_path) -> None:
    environ = {"BISENET_EDGE_LATENCY_BUDGET_MS": "0.000001"}
    with start(artifact, tmp_path, "camera", "null://", "--seconds", "0.2", environ=environ) as process:
        printed, _ = process.communicate(timeout=TIMEOUT_S)
    report = json.loads(printed)
    assert report["ended_by"] == "seconds"
    assert report["deadline_misses"] == report["frames_delivered"]
    assert process.returncode in (3, 4)


def test_a_failed_sink_is_told_at_once_and_again_at_the_end_and_is_exit_1(artifact, tmp_path) -> None:
    with start(artifact, tmp_path, "camera", "null://", "full", "--frames", "100") as process:
        printed, errors = process.communicate(timeout=TIMEOUT_S)
    reason = "OSError: [Errno 28] No space left on device"
    assert process.returncode == 1
    assert errors.splitlines() == [
        f"sink full failed and was closed: {reason}",
        f"error: sink full failed: {reason}",
    ]
    report = json.loads(printed)
    assert report["frames_captured"] == 100
    assert [sink["failure"] for sink in report["sinks"]] == ["", reason]
    assert report["sinks"][1]["written"] == 2


def summary(p99_ms: float) -> LatencySummary:
    return replace(LatencySummary.of(np.full(200, 5.0)), p99_ms=p99_ms)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0),
        ({"latency_budget_ms": 10.0, "frame_age": summary(9.0)}, 0),
        ({"latency_budget_ms": 10.0, "frame_age": summary(11.0)}, 3),
        ({"latency_budget_ms": 10.0, "frame_age": summary(float("nan"))}, 4),
        ({"latency_budget_ms": 10.0, "frame_age": summary(11.0), "ended_by": "SIGTERM"}, 0),
        ({"latency_budget_ms": 10.0, "frame_age": summary(11.0), "ended_by": "SIGINT"}, 3),
        ({"sinks": (SinkReport("a.mp4", 1, 2, "disk full", None),)}, 1),
        ({"sinks": (SinkReport("a.mp4", 1, 2, "disk full", None),), "ended_by": "SIGTERM"}, 1),
    ],
)
def test_exit_codes(changes, status) -> None:
    report = run(NumberSource(3), Segmenter(EchoSession()), [ListSink()])
    assert exit_code(replace(report, **changes)) == status
