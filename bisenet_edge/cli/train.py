"""`bisenet-edge train`."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bisenet_edge.cli.options import DATA_FORMS, SIZE
from bisenet_edge.cli.render import Bars, next_command
from bisenet_edge.frame import Size

if TYPE_CHECKING:
    from bisenet_edge.toolchain.loop import EpochResult


@click.command("train")
@click.option("--model", help="bisenet-xception39 or bisenet-resnet18.")
@click.option("--data", multiple=True, metavar="URI", help=f"{DATA_FORMS} (repeatable).")
@click.option("--recipe", type=click.Path(path_type=Path), help="TOML file; options given here win over it.")
@click.option("--epochs", type=click.IntRange(min=1))
@click.option("--batch", type=click.IntRange(min=1), help="Pictures per step (paper: 16).")
@click.option("--init", metavar="CHECKPOINT", help="Start from these weights instead of random ones.")
@click.option("--learning-rate", type=float, help="Start of the poly schedule (paper: 2.5e-2; QAT: 2e-4).")
@click.option("--seed", type=click.IntRange(min=0))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--qat", is_flag=True, help="Fine-tune a checkpoint in INT8 instead of training a new one.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="With --qat: which (default: shipped).")
@click.option("--ranges", help="With --qat: learned (default) or frozen.")
@click.option("--distillation", type=float, help="With --qat: weight of the FP32 logits (default: 10).")
@click.option("--res", "size", type=SIZE, help="With --qat: input size to calibrate at (default: 640x360).")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run (default: runs/MODEL).")
def command(qat: bool, **options: Any) -> None:
    """Train with the paper's recipe; run again to go on after an interruption.

    \b
    bisenet-edge train --model bisenet-xception39 --data camvid:PATH
    bisenet-edge train --qat --data camvid:PATH
    """
    best, data = _fine_tune(options) if qat else _train(options)
    click.echo(f"best checkpoint: {best}")
    next_command(shlex.join(["bisenet-edge", "export", str(best), "--int8", "--data", data]))


def _train(options: dict[str, Any]) -> tuple[Path, str]:
    from bisenet_edge.errors import UsageError
    from bisenet_edge.toolchain.recipe import Recipe
    from bisenet_edge.toolchain.train import train

    for name in ("checkpoint", "ranges", "distillation", "size"):
        if options.pop(name) is not None:
            word = "--res" if name == "size" else f"--{name}"
            raise UsageError(
                "this belongs to fine-tuning in INT8", got=word, fix="add --qat, or leave it out"
            )
    recipe, out, device = options.pop("recipe"), options.pop("out"), options.pop("device")
    chosen = Recipe.read(recipe, **options) if recipe else Recipe.from_options(**options)
    folder = out or Path("runs") / chosen.model
    best = train(chosen, folder, device=device, on_epoch=_tell, note=_note, progress=Bars())
    return best, chosen.data[0]


def _fine_tune(options: dict[str, Any]) -> tuple[Path, str]:
    from bisenet_edge.errors import UsageError
    from bisenet_edge.resources import shipped_checkpoint
    from bisenet_edge.toolchain import checkpoint as checkpoints
    from bisenet_edge.toolchain.int8 import start_of
    from bisenet_edge.toolchain.qat import QatRecipe, fine_tune

    loaded = checkpoints.read(options.pop("checkpoint") or shipped_checkpoint())
    if options["model"] not in (None, loaded.model):
        raise UsageError("the checkpoint is of another network", got=options["model"], expected=loaded.model)
    options["model"] = loaded.model
    recipe, out, device = options.pop("recipe"), options.pop("out"), options.pop("device")
    size = options.pop("size") or Size(640, 360)
    chosen = QatRecipe.read(recipe, **options) if recipe else QatRecipe.from_options(**options)
    folder = out or Path("runs") / f"{chosen.model}-qat"
    bars = Bars()
    start = start_of(loaded, chosen, size, bars)
    tuned = fine_tune(start, chosen, folder, device=device, on_epoch=_tell, progress=bars)
    report = tuned.report
    click.echo(
        f"val mIoU: FP32 {report['fp32_miou'] * 100:.2f}, INT8 calibrated {report['start_miou'] * 100:.2f}, "
        f"INT8 fine-tuned {report['best_miou'] * 100:.2f}"
    )
    return tuned.best, chosen.data[0]


def _tell(result: EpochResult) -> None:
    miou = "" if math.isnan(result.miou) else f", val mIoU {result.miou * 100:.2f}"
    click.echo(f"epoch {result.epoch}/{result.epochs}: loss {result.loss:.4f}{miou}")


def _note(text: str) -> None:
    click.echo(text, err=True)
