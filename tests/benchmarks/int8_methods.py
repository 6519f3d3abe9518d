"""What each way to INT8 costs: method x observer x calibration seed, by the product's own commands.

    python tests/benchmarks/int8_methods.py CHECKPOINT camvid:data/camvid [--qat-epochs 3] [--out FILE]

Runs `bisenet-edge export --int8` and `bisenet-edge check` for every observer and seed, and once more per
seed with `--method qat`; takes the latency ratio from what export measured (INT8 and FP32 interleaved).
Goes on with an interrupted run: cases that are in the file already are not made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import click

from bisenet_edge.resources import replace_when_written
from bisenet_edge.runtime.machine import describe_machine

OBSERVERS = ("mse", "max", "percentile", "entropy")
RESULTS = Path(__file__).parent / "results"


def edge(*words: str) -> dict[str, Any]:
    """Run one command of bisenet-edge and read its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "bisenet_edge", *words, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(f"bisenet-edge {' '.join(words)}\n{done.stderr}")
    return dict(json.loads(done.stdout))


def measure(checkpoint: Path, data: str, words: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "artifact")
        manifest = edge("export", str(checkpoint), "--int8", "--data", data, "--out", out, *words)
        accuracy = edge("check", out, "--data", data)
    payoff = manifest["measured"]["payoff"]
    times = {case["precision"]: case["p50_ms"] for case in payoff["cases"]}
    return {
        "fp32_miou": accuracy["fp32"]["miou"],
        "int8_miou": accuracy["int8"]["miou"],
        "drop_points": accuracy["drop_points"],
        "worst_class_drop_points": max(d for d in accuracy["class_drop_points"] if d is not None),
        "pixel_agreement": accuracy["pixel_agreement"],
        "int8_over_fp32": times["int8"] / times["fp32"],
    }


def cases(observers: Sequence[str], qat_epochs: int, seeds: int) -> dict[str, list[str]]:
    """Name of a case -> the words of its export."""
    found = {}
    for seed in range(seeds):
        for observer in observers:
            found[f"PTQ {observer} seed {seed}"] = ["--method", "ptq", "--observer", observer]
        if qat_epochs:
            found[f"QAT mse seed {seed}"] = ["--method", "qat", "--qat-epochs", str(qat_epochs)]
    return {name: [*words, "--seed", name.rsplit(" ", 1)[1]] for name, words in found.items()}


def markdown(measured: dict[str, dict[str, Any]]) -> str:
    """One row per method and observer: mean over the seeds, and (lowest to highest)."""
    lines = [
        "| method | observer | FP32 mIoU | INT8 mIoU | drop | worst class | equal pixels | INT8 / FP32 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in dict.fromkeys(name.rsplit(" seed ", 1)[0] for name in measured):
        rows = [row for name, row in measured.items() if name.rsplit(" seed ", 1)[0] == group]
        drops = [row["drop_points"] for row in rows]
        worst = [row["worst_class_drop_points"] for row in rows]
        method, observer = group.split()
        lines.append(
            f"| {method} | {observer} | {100 * mean(r['fp32_miou'] for r in rows):.2f} "
            f"| {100 * mean(r['int8_miou'] for r in rows):.2f} "
            f"| {mean(drops):.2f} ({min(drops):.2f} to {max(drops):.2f}) "
            f"| {mean(worst):.2f} ({min(worst):.2f} to {max(worst):.2f}) "
            f"| {100 * mean(r['pixel_agreement'] for r in rows):.2f} % "
            f"| {mean(r['int8_over_fp32'] for r in rows):.2f} |"
        )
    return "\n".join(lines)


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True))
@click.argument("data")
@click.option("--observer", "observers", multiple=True, default=OBSERVERS, show_default=True)
@click.option("--qat-epochs", type=int, default=3, show_default=True, help="0 = no QAT.")
@click.option("--seeds", type=int, default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file of the figures.")
def main(
    checkpoint: Path, data: str, observers: Sequence[str], qat_epochs: int, seeds: int, out: Path | None
) -> None:
    path = out or RESULTS / f"int8_methods.{checkpoint.stem}.json"
    known = json.loads(path.read_text())["measured"] if path.exists() else {}
    measured: dict[str, dict[str, Any]] = {}
    for name, words in cases(observers, qat_epochs, seeds).items():
        measured[name] = known.get(name) or measure(checkpoint, data, words)
        click.echo(f"{name}: drop {measured[name]['drop_points']:.2f}", err=True)
        result = {
            "checkpoint": checkpoint.name,
            "data": data,
            "qat_epochs": qat_epochs,
            "machine": describe_machine(),
            "measured": {**known, **measured},
        }
        with replace_when_written(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
    order = sorted(measured, key=lambda name: name.rsplit(" seed ", 1)[0])
    click.echo(markdown({name: measured[name] for name in order}))


if __name__ == "__main__":
    main()
