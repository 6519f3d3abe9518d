"""`bisenet-edge train`."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import click

from bisenet_edge.cli.render import Bars, next_command


@click.command("train")
@click.option("--model", help="bisenet-xception39 or bisenet-resnet18.")
@click.option(
    "--data", multiple=True, metavar="URI", help="camvid:PATH, folder:PATH or synthetic: (repeatable)."
)
@click.option("--recipe", type=click.Path(path_type=Path), help="TOML file; options given here win over it.")
@click.option("--epochs", type=click.IntRange(min=1))
@click.option("--batch", type=click.IntRange(min=1), help="Pictures per step (paper: 16).")
@click.option("--learning-rate", type=float, help="Start of the poly schedule (paper: 2.5e-2).")
@click.option("--seed", type=click.IntRange(min=0))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run (default: runs/MODEL).")
def command(recipe: Path | None, device: str, out: Path | None, **options: object) -> None:
    """Train with the paper's recipe; run again to go on after an interruption.

    \b
    bisenet-edge train --model bisenet-xception39 --data camvid:PATH
    """
    from bisenet_edge.toolchain.recipe import Recipe
    from bisenet_edge.toolchain.train import EpochResult, train

    chosen = Recipe.read(recipe, **options) if recipe else Recipe.from_options(**options)
    folder = out or Path("runs") / chosen.model

    def tell(result: EpochResult) -> None:
        miou = "" if math.isnan(result.miou) else f", val mIoU {result.miou * 100:.2f}"
        click.echo(f"epoch {result.epoch}/{result.epochs}: loss {result.loss:.4f}{miou}")

    best = train(chosen, folder, device=device, on_epoch=tell, progress=Bars())
    click.echo(f"best checkpoint: {best}")
    next_command(shlex.join(["bisenet-edge", "export", str(best), "--int8", "--data", chosen.data[0]]))
