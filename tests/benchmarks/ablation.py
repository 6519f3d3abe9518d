"""The paper's ablation (its table of CP, SP, FFM, GP and ARM) on other data: one short schedule for all rows.

    python tests/benchmarks/ablation.py camvid:data/camvid [--epochs 30] [--seeds 1] [--runs runs/ablation]

Trains every row from random weights with the same recipe and seeds, and writes val mIoU beside the paper's
(Cityscapes val, pre-trained, 1000 epochs): what can be compared is the order of the rows. Goes on with an
interrupted run.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import click

from bisenet_edge.cli.render import Bars
from bisenet_edge.resources import replace_when_written
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.models.ablation import ABLATION
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.train import train

RESULTS = Path(__file__).parent / "results" / "ablation.json"


def recipe_of(model: str, data: str, epochs: int, seed: int) -> Recipe:
    """A schedule of minutes per row on two cores: small crops, a moving average."""
    return Recipe(
        model,
        (data,),
        epochs=epochs,
        crop="240x184",
        warmup_steps=50,
        scale_min=0.5,
        scale_max=1.0,
        jitter=0.15,
        ema=0.97,
        eval_every=max(epochs // 4, 1),
        seed=seed,
    )


def markdown(rows: list[dict[str, Any]]) -> str:
    """One line per row: the paper's figure, ours (mean over the seeds, lowest to highest)."""
    lines = ["| row | paper, Cityscapes val | ours | seeds |", "|---|---|---|---|"]
    for row in rows:
        found = [100 * value for value in row["miou"].values()]
        spread = f" ({min(found):.2f} to {max(found):.2f})" if len(found) > 1 else ""
        lines.append(f"| {row['row']} | {row['paper']:.2f} | {mean(found):.2f}{spread} | {len(found)} |")
    return "\n".join(lines)


@click.command()
@click.argument("data")
@click.option("--epochs", type=int, default=30, show_default=True)
@click.option("--seeds", type=int, default=1, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/ablation"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="JSON file of the figures.")
def main(data: str, epochs: int, seeds: int, runs: Path, out: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"row": row.printed, "model": model, "paper": row.miou, "miou": {}} for model, row in ABLATION.items()
    ]
    for seed in range(seeds):
        for row in rows:
            recipe = recipe_of(row["model"], data, epochs, seed)
            best = train(recipe, runs / f"{row['model']}-{seed}", progress=Bars())
            row["miou"][str(seed)] = checkpoints.read(best).metrics["miou"]
            click.echo(f"{row['row']}, seed {seed}: {100 * row['miou'][str(seed)]:.2f}", err=True)
            done = [r for r in rows if r["miou"]]
            settings = recipe_of("", data, epochs, 0).to_json() | {"model": "each row's", "seed": "each"}
            value = {"data": data, "recipe": settings, "machine": describe_machine(), "rows": done}
            with replace_when_written(out) as temporary:
                temporary.write_text(json.dumps(value, indent=1) + "\n")
    click.echo(markdown(rows))


if __name__ == "__main__":
    main()
