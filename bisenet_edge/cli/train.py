"""`bisenet-edge train`."""

from __future__ import annotations

import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bisenet_edge.cli.options import DATA_FORMS, SIZE, given_words
from bisenet_edge.cli.render import Bars, next_command
from bisenet_edge.frame import Size

if TYPE_CHECKING:
    from bisenet_edge.toolchain.processes import Worker
    from bisenet_edge.toolchain.run_state import EpochResult

RENDEZVOUS = ("nnodes", "node_rank", "rdzv_backend", "rdzv_endpoint", "rdzv_id")


@click.command("train")
@click.option("--model", help="A name of `bisenet-edge models`: bisenet-xception39, bisenet-resnet18, ...")
@click.option("--data", multiple=True, metavar="URI", help=f"{DATA_FORMS} (repeatable).")
@click.option("--recipe", type=click.Path(path_type=Path), help="TOML file; options given here win over it.")
@click.option("--epochs", type=click.IntRange(min=1))
@click.option("--batch", type=click.IntRange(min=1), help="Pictures per step, of all processes (paper: 16).")
@click.option("--crop", metavar="WxH", help="Training crop (default: 480x360).")
@click.option(
    "--accumulate", type=click.IntRange(min=1), help="Parts a batch is worked on in, to save memory."
)
@click.option(
    "--precision", type=click.Choice(["bf16", "fp16", "fp32"]), help="Of convolutions (default: bf16)."
)
@click.option("--init", metavar="CHECKPOINT", help="Start from these weights instead of random ones.")
@click.option("--learning-rate", type=float, help="Start of the poly schedule (paper: 2.5e-2; QAT: 2e-4).")
@click.option("--seed", type=click.IntRange(min=0))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--nproc", type=click.IntRange(min=1), help="Processes on this machine, one per GPU.")
@click.option("--nnodes", type=click.IntRange(min=1), help="Machines; give the same command on each.")
@click.option("--node-rank", type=click.IntRange(min=0), help="Number of this machine (backend static).")
@click.option("--rdzv-backend", type=click.Choice(["c10d", "static"]), help="How machines meet (c10d).")
@click.option("--rdzv-endpoint", metavar="HOST:PORT", help="Where they meet: the first machine.")
@click.option("--rdzv-id", help="Name of the run, the same on each machine.")
@click.option("--qat", is_flag=True, help="Fine-tune a checkpoint in INT8 instead of training a new one.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="With --qat: which (default: shipped).")
@click.option("--ranges", help="With --qat: learned (default) or frozen.")
@click.option("--distillation", type=float, help="With --qat: weight of the FP32 logits (default: 10).")
@click.option("--res", "size", type=SIZE, help="With --qat: input size to calibrate at (default: 640x360).")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run (default: runs/MODEL).")
@click.pass_context
def command(context: click.Context, qat: bool, **options: Any) -> int:
    """Train with the paper's recipe; run again to go on after an interruption.

    \b
    bisenet-edge train --model bisenet-xception39 --data camvid:PATH
    bisenet-edge train --model bisenet-xception39 --data camvid:PATH --nproc 4
    bisenet-edge train --qat --data camvid:PATH
    """
    from bisenet_edge.toolchain.processes import ToldElsewhereError, joined

    launching = {name: options.pop(name) for name in ("nproc", *RENDEZVOUS)}
    try:
        if any(value is not None for value in launching.values()) and "TORCHELASTIC_RUN_ID" not in os.environ:
            _launch(context, launching, qat)
            return 0
        if qat:
            best, data = _fine_tune(options)
        else:
            with joined(options.pop("device")) as worker:
                best, data = _train(worker, options)
                if not worker.first:
                    return 0
    except ToldElsewhereError as error:
        return error.exit_code
    click.echo(f"best checkpoint: {best}")
    next_command(shlex.join(["bisenet-edge", "export", str(best), "--int8", "--data", data]))
    return 0


def _launch(context: click.Context, options: dict[str, Any], qat: bool) -> None:
    """Give this very command to every process; they see that they were launched and train."""
    from bisenet_edge.errors import UsageError
    from bisenet_edge.toolchain.launch import Launch, launch

    if qat:
        raise UsageError(
            "fine-tuning in INT8 runs in one process", got="--qat with --nproc", fix="leave --nproc out"
        )
    how = Launch(
        processes=options["nproc"] or 1,
        machines=options["nnodes"] or 1,
        backend=options["rdzv_backend"] or "c10d",
        endpoint=options["rdzv_endpoint"] or "",
        run_id=options["rdzv_id"] or "",
        machine_rank=options["node_rank"] or 0,
    )
    debug = ["--debug"] if "--debug" in sys.argv else []  # taken out of the words before click sees them
    launch(["train", *debug, *given_words(context)], how)


def _train(worker: Worker, options: dict[str, Any]) -> tuple[Path, str]:
    from bisenet_edge.errors import UsageError
    from bisenet_edge.toolchain.memory import keep_freed_memory
    from bisenet_edge.toolchain.recipe import Recipe
    from bisenet_edge.toolchain.train import train

    for name in ("checkpoint", "ranges", "distillation", "size"):
        if options.pop(name) is not None:
            word = "--res" if name == "size" else f"--{name}"
            raise UsageError(
                "this belongs to fine-tuning in INT8", got=word, fix="add --qat, or leave it out"
            )
    recipe, out = options.pop("recipe"), options.pop("out")
    chosen = Recipe.read(recipe, **options) if recipe else Recipe.from_options(**options)
    folder = out or Path("runs") / chosen.model
    if worker.device.type == "cpu":
        keep_freed_memory()
    best = train(chosen, folder, device=worker, on_epoch=_tell, note=_note, progress=Bars())
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
    waiting = "" if math.isnan(result.waiting) else f", {result.waiting * 100:.0f} % waiting for pictures"
    click.echo(f"epoch {result.epoch}/{result.epochs}: loss {result.loss:.4f}{miou}{waiting}")


def _note(text: str) -> None:
    click.echo(text, err=True)
