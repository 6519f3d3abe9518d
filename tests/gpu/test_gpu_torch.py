"""`benchmarks/gpu_torch.py` runs to its end: on a CPU as a check of itself, and on a CUDA device."""

from __future__ import annotations

import json

import gpu_torch
import pytest
import torch

from bisenet_edge.errors import MissingDependencyError


def test_the_whole_script_runs(device, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_torch, "BURST", 2)
    monkeypatch.setattr(gpu_torch, "RESULTS", tmp_path)
    options = ["--device", device.type, "--size", "64x32", "--samples", "2"]
    if device.type == "cpu":
        options += ["--json", str(tmp_path / "check.json")]
    gpu_torch.main(options)
    printed = capsys.readouterr().out
    (file,) = tmp_path.iterdir()
    told = json.loads(file.read_text())
    assert told["figures"] == (device.type == "cuda")
    if device.type == "cpu":
        # What a CPU gives here must never pass for a figure.
        assert printed.startswith("A CHECK OF THE SCRIPT ON A CPU: NO FIGURE OF ANYTHING")
        assert told["purpose"] == gpu_torch.CHECK_ONLY
    else:
        assert file.name.startswith("gpu_torch.nvidia-")
        assert told["device"] == torch.cuda.get_device_name()
    assert [(row["model"], row["precision"]) for row in told["network"]] == [
        (model, precision) for model in gpu_torch.MODELS for precision in ("fp32", "tf32", "fp16")
    ]
    routes = [row for row in told["frame_to_mask"] if row["model"] == "bisenet-xception39"]
    assert [row["route"] for row in routes] == ["plain", "fused fp32", "fused tf32", "fused fp16"]
    assert routes[0]["over_plain"] == 1.0
    assert routes[0]["pixels_equal_to_plain"] == 1.0
    for row in (*told["network"], *told["frame_to_mask"]):
        assert row["samples"] == 2
        assert row["p50_ms"] > 0
        assert row["p99_ms"] is None


def test_a_cpu_leaves_no_result_file(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_torch, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu_torch, "network_rows", lambda *arguments: [])
    monkeypatch.setattr(gpu_torch, "route_rows", lambda *arguments: [])
    gpu_torch.main(["--device", "cpu"])
    assert list(tmp_path.iterdir()) == []


def test_the_papers_cards_stand_beside(monkeypatch):
    monkeypatch.setattr(
        gpu_torch, "Network", lambda *arguments: type("Still", (), {"sample": lambda self: 2.0})()
    )
    rows = gpu_torch.network_rows("bisenet-xception39", gpu_torch.SIZES[0], torch.device("cpu"), 20)
    assert rows[0]["titan_x"]["time_ms"] == 5.0
    assert rows[0]["titan_xp_unconfirmed"]["device"] == "NVIDIA Titan XP"
    assert [row["over_fp32"] for row in rows] == [1.0, 1.0, 1.0]


def test_masks_that_differ_stop_the_script(monkeypatch):
    def wrong_route(*arguments):
        return lambda frame: frame[..., 0] % 11

    monkeypatch.setattr(gpu_torch, "fused_route", wrong_route)
    with pytest.raises(RuntimeError, match="of the masks' pixels are equal"):
        gpu_torch.route_rows("bisenet-xception39", gpu_torch.Size(64, 32), torch.device("cpu"), 10)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, so nothing is refused")
def test_without_a_cuda_device_it_says_so():
    with pytest.raises(MissingDependencyError, match="no CUDA device"):
        gpu_torch.main([])


@pytest.mark.parametrize("samples", ["0", "5", "15"])
def test_samples_fill_bursts(samples, capsys):
    with pytest.raises(SystemExit):
        gpu_torch.main(["--device", "cpu", "--samples", samples])
    assert "multiple of 10" in capsys.readouterr().err
