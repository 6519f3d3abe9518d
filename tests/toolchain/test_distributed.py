"""Two processes on one machine, over gloo: the run that one process makes of the whole batch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn

from bisenet_edge.errors import ConfigError, UsageError
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.launch import Launch
from bisenet_edge.toolchain.losses import Share, labelled, training_loss
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.processes import Worker, joined, sum_over_processes
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.synchronised import synchronised, with_summed_gradients
from bisenet_edge.toolchain.train import train

RECIPE = """model = "bisenet-xception39"
data = ["synthetic:?count=16&size=96x64"]
epochs = 3
batch = 8
crop = "64x64"
learning_rate = 1e-4
precision = "fp32"
eval_every = 1
ema = 0.5
"""
# Of sums in another order. Normalisation over the 8 numbers of a global pool, and ReLUs next to 0, make much
# of it: after 6 steps FP32 and FP64 in one process differ by 2e-3. In FP64 two processes are within 1e-6.
LOSS_TOLERANCE = 1e-2


def command(folder, *words):
    return [sys.executable, "-m", "bisenet_edge", "train", "--recipe", str(folder / "r.toml"), *words]


def environment(**more):
    known = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    return {**known, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **more}


def finished(words):
    return subprocess.run(words, capture_output=True, text=True, timeout=600, check=False, env=environment())


def losses(folder):
    history = checkpoints.read(folder / "last.safetensors").metrics["history"]
    return [epoch["loss"] for epoch in history]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "r.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def alone(place):
    train(Recipe.read(place / "r.toml"), place / "one", device="cpu")
    return checkpoints.read(place / "one" / "last.safetensors")


@pytest.fixture(scope="module")
def two(place):
    told = finished(command(place, "--nproc", "2", "--out", str(place / "two")))
    assert told.returncode == 0, told.stderr
    return told, checkpoints.read(place / "two" / "last.safetensors")


def test_two_processes_have_the_loss_curve_of_one(alone, two):
    _, both = two
    for one, other in zip(alone.metrics["history"], both.metrics["history"], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=LOSS_TOLERANCE)


def test_only_the_first_process_tells_and_writes(two):
    told, both = two
    assert told.stdout.count("epoch 1/3") == 1
    assert told.stdout.count("best checkpoint") == 1
    assert "Warning" not in told.stderr
    assert set(both.tensors) >= {"head.classifier.weight", "ema/module.head.classifier.weight"}


def in_its_second_epoch(place, folder):
    """A run of two processes: that of the launcher, and the ids of the two."""
    words = command(place, "--nproc", "2", "--out", str(folder))
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    end = time.monotonic() + 300
    while not (folder / "last.safetensors").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return process, [int(child) for child in children]


def wait_until_gone(processes):
    end = time.monotonic() + 30
    while any(Path(f"/proc/{number}").exists() for number in processes):
        assert time.monotonic() < end, "a process of the run lives on"
        time.sleep(0.05)


def test_a_killed_run_goes_on_with_another_number_of_processes(place, alone):
    folder = place / "killed"
    launcher, workers = in_its_second_epoch(place, folder)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    _, told = launcher.communicate(timeout=120)
    assert launcher.returncode == 1
    assert told.count("error:") == 1
    assert "SIGKILL" in told
    assert "Traceback" not in told
    wait_until_gone(workers)
    assert len(losses(folder)) < 3
    train(Recipe.read(place / "r.toml"), folder, device="cpu")
    assert losses(folder) == pytest.approx(
        [epoch["loss"] for epoch in alone.metrics["history"]], rel=LOSS_TOLERANCE
    )


def test_ctrl_c_stops_all_and_is_told_once(place):
    launcher, workers = in_its_second_epoch(place, place / "interrupted")
    launcher.send_signal(signal.SIGINT)
    _, told = launcher.communicate(timeout=120)
    assert launcher.returncode == 130
    assert told.strip() == "interrupted: what was not finished is not written"
    wait_until_gone(workers)


def test_without_their_launcher_processes_stop(place):
    launcher, workers = in_its_second_epoch(place, place / "orphans")
    launcher.kill()
    _, told = launcher.communicate(timeout=120)
    wait_until_gone(workers)
    assert told.startswith("error: the launcher of this training run is gone")


def test_under_torchrun(place, two):
    _, ours = two
    words = command(place, "--epochs", "3", "--out", str(place / "torchrun"))[1:]
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *words]
    told = finished(run)
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("best checkpoint") == 1
    expected = [epoch["loss"] for epoch in ours.metrics["history"]]
    assert losses(place / "torchrun") == pytest.approx(expected, rel=LOSS_TOLERANCE)


def test_what_goes_wrong_in_all_is_told_once(place):
    told = finished(command(place, "--nproc", "2", "--data", "folder:/nowhere", "--out", str(place / "bad")))
    assert told.returncode == 1
    assert told.stderr.count("error:") == 1
    assert "/nowhere" in told.stderr
    assert "Traceback" not in told.stderr
    assert not (place / "bad" / "last.safetensors").exists()


def test_two_machines_meet_at_an_endpoint(place):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--nnodes", "2", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test", "--epochs", "1"]
    words = command(place, *where, "--out", str(place / "machines"))
    both = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        for _ in range(2)
    ]
    told = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert sum(out.count("best checkpoint") for out, _ in told) == 1


def test_several_machines_need_a_place_to_meet():
    with pytest.raises(UsageError, match="place to meet"):
        Launch(machines=2)


def test_fine_tuning_in_int8_is_for_one_process(place):
    told = finished(
        [sys.executable, "-m", "bisenet_edge", "train", "--qat", "--data", "synthetic:", "--nproc", "2"]
    )
    assert told.returncode == 2
    assert "one process" in told.stderr


def test_a_batch_that_does_not_fall_into_parts(place, tmp_path):
    worker = Worker(torch.device("cpu"), 0, 3)
    with pytest.raises(ConfigError, match="parts of one size") as caught:
        train(Recipe.read(place / "r.toml"), tmp_path, device=worker)
    assert caught.value.fix == "--batch 9"


def test_an_environment_that_torchrun_would_not_make(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="not as torchrun does"), joined("cpu"):
        pass


def small_network():
    torch.manual_seed(0)
    # Without ReLU, whose kinks would hide a small error behind a large one.
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)]
    return nn.Sequential(*layers).double()


def step(network, images, scale):
    (network(images).square() * torch.arange(1, 6).view(1, 5, 1, 1)).sum().mul(scale).backward()


def trained_in_fp64(worker):
    """The real network and its loss for a few steps of 8 pictures: losses, and the first step's gradients."""
    torch.manual_seed(0)
    network = synchronised(zoo.build("bisenet-xception39", 4), worker).double()
    called = with_summed_gradients(network, worker)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    recipe = Recipe("bisenet-xception39", ("synthetic:",))
    generator = torch.Generator().manual_seed(1)
    losses, gradients = [], {}
    for _ in range(4):
        images = torch.randint(0, 256, (8, 3, 64, 64), generator=generator).double()
        labels = torch.randint(0, 4, (8, 64, 64), generator=generator).to(torch.uint8)
        labels[:3, 8:] = 255  # the first process has fewer labelled pixels
        own = slice(worker.rank * 8 // worker.size, (worker.rank + 1) * 8 // worker.size)
        share = Share(sum_over_processes(labelled(labels[own], recipe)), 1, worker.size)
        loss = training_loss(called(images[own]), labels[own], recipe, None, share)
        optimizer.zero_grad()
        (loss * worker.size).backward()
        gradients = gradients or {name: p.grad.clone() for name, p in network.named_parameters()}
        optimizer.step()
        losses.append(float(sum_over_processes(loss.detach())))
    return losses, gradients


def one_of_two(rank, port, images, results):
    torch.set_num_threads(1)
    store = distributed.TCPStore("127.0.0.1", port, 2, rank == 0)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    worker = Worker(torch.device("cpu"), rank, 2)
    network = synchronised(small_network(), worker)
    called = with_summed_gradients(network, worker)
    step(called, images[rank::2], 2)
    gradients = {name: p.grad for name, p in network.named_parameters()}
    trained = trained_in_fp64(worker)
    if rank == 0:
        torch.save({"gradients": gradients, "state": network.state_dict(), "trained": trained}, results)
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """Pictures, and what two processes made of them."""
    images = torch.randn(6, 3, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = str(tmp_path_factory.mktemp("spread") / "r.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(one_of_two, (port, images, results), nprocs=2)
    return images, torch.load(results, weights_only=True)


def test_synchronised_normalisation_is_that_of_the_whole_batch(spread):
    images, told = spread
    whole = small_network()
    step(whole, images, 1)
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(told["gradients"][name], parameter.grad, rtol=1e-9, atol=1e-9)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(told["state"][name], value, rtol=1e-6, atol=1e-7)


def test_in_fp64_two_processes_make_the_steps_of_one(spread):
    losses, gradients = spread[1]["trained"]
    expected, whole = trained_in_fp64(Worker(torch.device("cpu")))
    assert losses == pytest.approx(expected, rel=1e-6)  # the loss itself is summed in FP32
    for name, gradient in whole.items():
        off = float((gradients[name] - gradient).norm() / gradient.norm().clamp(min=1e-9))
        assert off < 1e-4, name
