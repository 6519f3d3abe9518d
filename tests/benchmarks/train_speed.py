"""Pictures per second of our training beside the plain PyTorch loop, on this machine, in one run.

    python tests/benchmarks/train_speed.py [--rounds 5] [--batch 16] [--model bisenet-xception39 ...]

The plain loop is what a careful user writes: BF16 autocast, channels_last, each batch augmented and stacked
before its step, losses of three heads at the label's full size, SGD. Ours is the product's: batches made
ahead by threads, losses at 1/4 of the size, freed memory kept. Each runs in a process of its own; they
take turns, a few steps at a time, and one waits while the other works. The ratio is taken within rounds.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch.nn import functional as F

from bisenet_edge.labels import IGNORE_INDEX
from bisenet_edge.resources import replace_when_written
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.toolchain.augment import augment
from bisenet_edge.toolchain.loader import Loader
from bisenet_edge.toolchain.memory import keep_freed_memory
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.processes import Worker, device_of
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.step import Stepper
from bisenet_edge.toolchain.train import _Network
from bisenet_edge.toolchain.train_data import TrainData, load_data

RESULTS = Path(__file__).parent / "results" / "train_speed.json"
GOAL = 2.5
STEPS = 2  # in a turn


def plain_steps(recipe: Recipe, data: TrainData, device: torch.device) -> Iterator[None]:
    """The plain loop; each `next` is one step."""
    torch.manual_seed(0)
    network = zoo.build(recipe.model, len(data.labels))
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    rng = np.random.default_rng(0)
    while True:
        chosen = rng.integers(0, len(data.train), recipe.batch)
        made = [augment(data.train[int(index)], recipe, rng) for index in chosen]
        images = torch.from_numpy(np.stack([one.image for one in made])).to(device)
        label = torch.from_numpy(np.stack([one.label for one in made])).to(device).long()
        x = images.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            outputs = network(x)
        full = [
            F.interpolate(logits.float(), size=label.shape[1:], mode="bilinear", align_corners=False)
            for logits in outputs
        ]
        loss = sum(F.cross_entropy(logits, label, ignore_index=IGNORE_INDEX) for logits in full)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        float(loss.detach())  # type: ignore[union-attr]
        yield


def our_steps(recipe: Recipe, data: TrainData, device: torch.device, waited: list[float]) -> Iterator[None]:
    """The product's loop, by its own parts; `waited` gets the seconds that each step waited."""
    trainee = _Network(recipe, data, Worker(device))
    stepper = Stepper(trainee)
    trainee.module.train()
    with Loader(data.train, recipe, trainee.worker) as loader:
        while True:
            before_s = loader.waited_s
            float(stepper.step(loader.take()))
            waited.append(loader.waited_s - before_s)
            yield


def seconds(step: Callable[[], None], count: int) -> float:
    start_s = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - start_s


def side(name: str, recipe: Recipe, pipe: Connection) -> None:
    """One of the two, in a process of its own: takes steps when told, tells (seconds, seconds waited)."""
    data, device, waited = load_data(recipe), device_of("auto"), [0.0]
    if name == "ours" and device.type == "cpu":
        keep_freed_memory()
    loop = plain_steps(recipe, data, device) if name == "plain" else our_steps(recipe, data, device, waited)
    for _ in range(2):
        next(loop)
    pipe.send(None)
    while count := pipe.recv():
        waited.clear()
        taken_s = seconds(lambda: next(loop), count)
        pipe.send((taken_s, sum(waited)))


def started(name: str, recipe: Recipe) -> Connection:
    """Start a side and wait until it is warm."""
    ours, theirs = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    spawn.Process(target=side, args=(name, recipe, theirs), daemon=True).start()
    ours.recv()
    return ours


def measure(recipe: Recipe, rounds: int) -> dict[str, Any]:
    pipes = {name: started(name, recipe) for name in ("plain", "ours")}
    taken: dict[str, list[float]] = {"plain": [], "ours": []}
    waited_s = 0.0
    for number in range(rounds):
        for name in list(pipes) if number % 2 else reversed(list(pipes)):
            pipes[name].send(STEPS)
            taken_s, waiting_s = pipes[name].recv()
            taken[name].append(taken_s)
            waited_s += waiting_s
            click.echo(f"{recipe.model} {name}: {STEPS * recipe.batch / taken_s:.1f} pictures/s", err=True)
    for pipe in pipes.values():
        pipe.send(0)
    ratios = [slow / fast for slow, fast in zip(taken["plain"], taken["ours"], strict=True)]
    pictures = STEPS * recipe.batch
    return {
        "model": recipe.model,
        "batch": recipe.batch,
        "crop": recipe.crop,
        "pictures_per_s": {name: pictures / statistics.median(values) for name, values in taken.items()},
        "ratio": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
        "waiting": waited_s / sum(taken["ours"]),
    }


@click.command()
@click.option("--model", "models", multiple=True, default=("bisenet-xception39", "bisenet-resnet18"))
@click.option("--batch", type=int, default=16, show_default=True)
@click.option("--crop", default="480x360", show_default=True)
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="JSON file of the figures.")
def main(models: tuple[str, ...], batch: int, crop: str, rounds: int, out: Path) -> None:
    chosen = device_of("auto")
    rows = []
    for model in models:
        data_set = f"synthetic:?count={2 * batch}&size=480x360"
        recipe = Recipe(model, (data_set,), batch=batch, crop=crop, learning_rate=1e-3, epochs=1000)
        rows.append(measure(recipe, rounds))
    print("| network | plain, pictures/s | ours | times as fast (goal: 2.5) | waiting for pictures |")
    print("|---|---|---|---|---|")
    for row in rows:
        speed, ratio = row["pictures_per_s"], row["ratio"]
        reached = "" if ratio["median"] >= GOAL else ", not reached"
        print(
            f"| {row['model']} | {speed['plain']:.1f} | {speed['ours']:.1f} | {ratio['median']:.2f} "
            f"({ratio['lowest']:.2f} to {ratio['highest']:.2f}{reached}) | {100 * row['waiting']:.1f} % |"
        )
    value = {"machine": describe_machine(), "device": str(chosen), "rounds": rounds, "rows": rows}
    with replace_when_written(out) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
