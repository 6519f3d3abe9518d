"""Two processes that work on their batch in parts, and one of two processes that is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.train import train

RECIPE = """model = "bisenet-xception39"
data = ["synthetic:?count=8&size=96x64"]
epochs = {epochs}
batch = 8
accumulate = 2
crop = "64x64"
learning_rate = 1e-4
precision = "fp32"
eval_every = 1000
"""
# Sums in another order; a ReLU whose input is next to 0 then falls to its other side.
LOSS_TOLERANCE = 1e-3


def started(recipe, folder):
    words = ["train", "--recipe", str(recipe), "--nproc", "2", "--out", str(folder)]
    return subprocess.Popen(
        [sys.executable, "-m", "bisenet_edge", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        start_new_session=True,
    )


def losses(folder):
    history = checkpoints.read(folder / "last.safetensors").metrics["history"]
    return [epoch["loss"] for epoch in history]


def environment_of(pid):
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(word.decode().split("=", 1) for word in words if b"=" in word)


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_parts_of_two_processes_are_the_parts_of_one(tmp_path):
    """Gradients of all parts add up before they are summed over processes, once."""
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE.format(epochs=2))
    train(Recipe.read(recipe), tmp_path / "one", device="cpu")
    process = started(recipe, tmp_path / "two")
    _, told = process.communicate(timeout=600)
    assert process.returncode == 0, told
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=LOSS_TOLERANCE)
    one, two = (checkpoints.read(tmp_path / n / "last.safetensors").tensors for n in ("one", "two"))
    head = "momentum/head.classifier.weight"
    assert (two[head] - one[head]).norm() / one[head].norm() < 0.02


@pytest.mark.parametrize("rank", [0, 1])
def test_one_process_that_is_killed_ends_all_and_the_launcher_says_so(tmp_path, rank):
    recipe, folder = tmp_path / "r.toml", tmp_path / "run"
    recipe.write_text(RECIPE.format(epochs=1000))
    launcher = started(recipe, folder)
    try:
        end = time.monotonic() + 300
        while not (folder / "last.safetensors").exists() and launcher.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        workers = [pid for pid in children_of(launcher.pid) if "RANK" in environment_of(pid)]
        assert len(workers) == 2
        (victim,) = [pid for pid in workers if environment_of(pid)["RANK"] == str(rank)]
        os.kill(victim, signal.SIGKILL)
        _, told = launcher.communicate(timeout=120)
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
    assert launcher.returncode == 1
    assert f"process {rank} was killed by SIGKILL" in told
    assert told.count("error:") == 1
    assert "Traceback" not in told
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert losses(folder)  # the last whole epoch is there to go on from
