"""How many calibration images are enough: the drop of INT8 against their number, for several choices of each.

    python tests/benchmarks/calibration_images.py --data camvid:data/camvid [CHECKPOINT]

For every count and seed: the choice of `bisenet-edge calibrate select`, post-training quantization on it, and
mIoU of the exported graph against FP32 on the val split, on the CPU's engine. Prints a Markdown table, mean
(lowest to highest) over the seeds, and writes calibration_images.json and .png into --out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bisenet_edge.frame import Size
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.quant.calibration_recipe import CalibrationRecipe
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.ptq import COLLAPSE, PostTraining, Scheme
from bisenet_edge.toolchain.quant.select_frames import load
from bisenet_edge.toolchain.trial import Score, Trial

COUNTS = (8, 16, 32, 64, 128)
SEEDS = (0, 1, 2)
MEASURES = {"drop_points": "mIoU drop, points", "worst_class_drop_points": "worst class's drop, points"}
POINT, LINE, INK = "#7fa7d6", "#1f5fa8", "#333333"

Cell = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?", default=shipped_checkpoint())
    parser.add_argument(
        "--data", required=True, help="chosen from its train split, measured on its val split"
    )
    parser.add_argument("--res", type=Size.parse, default=Size(640, 360))
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--observer", default="mse")
    parser.add_argument("--collapse", choices=COLLAPSE, default="auto")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    study = measure(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(study, indent=2)
    (arguments.out / "calibration_images.json").write_text(text + "\n", encoding="utf-8")
    draw(study, arguments.out / "calibration_images.png")
    print(markdown(study))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    checkpoint = checkpoints.read(arguments.checkpoint)
    folded = fold(checkpoint.build())
    cells: list[Cell] = []
    with Trial(folded, arguments.res, open_dataset(arguments.data, "val"), "openvino") as trial:
        for count in arguments.counts:
            for seed in arguments.seeds:
                frames = load(CalibrationRecipe(arguments.data, count, seed), arguments.res).frames
                post = PostTraining(folded, frames, arguments.collapse)
                quantized = post.quantize(Scheme(arguments.observer))
                score = trial.measure(quantized.network)
                pairs = {"collapsed_pairs": len(quantized.collapsed)}
                cells.append(
                    {"count": count, "seed": seed, **figures(score, checkpoint.labels.names), **pairs}
                )
                print(f"{count} images, seed {seed}: drop {score.drop_points:+.2f} points", flush=True)
        described = trial.describe()
    return {
        "machine": describe_machine(),
        "checkpoint": {"model": checkpoint.model, "sha256": checkpoint.sha256},
        "size": str(arguments.res),
        "observer": arguments.observer,
        "collapse": arguments.collapse,
        **described,
        "fp32_miou": round(score.fp32.miou(), 6),
        "cells": cells,
    }


def figures(score: Score, names: Sequence[str]) -> Cell:
    drops = score.class_drop_points
    worst = int(np.nanargmax(drops))
    return {
        "miou": round(score.int8.miou(), 6),
        "drop_points": round(score.drop_points, 4),
        "worst_class": names[worst],
        "worst_class_drop_points": round(float(drops[worst]), 4),
    }


def by_count(study: dict[str, Any], key: str) -> dict[int, list[float]]:
    counts = sorted({cell["count"] for cell in study["cells"]})
    return {n: [cell[key] for cell in study["cells"] if cell["count"] == n] for n in counts}


def markdown(study: dict[str, Any]) -> str:
    seeds = len({cell["seed"] for cell in study["cells"]})
    lines = [
        f"\n{study['checkpoint']['model']} at {study['size']}, {study['observer']}, calibrated on "
        f"{study['data']} train, measured on its {study['images']} val pictures: FP32 mIoU "
        f"{100 * study['fp32_miou']:.2f}; mean (lowest to highest) of {seeds} seed(s)\n",
        "| images | mIoU drop, points | worst class's drop, points | the worst class |",
        "|---|---|---|---|",
    ]
    spreads = {key: by_count(study, key) for key in MEASURES}
    for count in spreads["drop_points"]:
        worst = sorted({cell["worst_class"] for cell in study["cells"] if cell["count"] == count})
        values = [spread(spreads[key][count]) for key in MEASURES]
        lines.append("| " + " | ".join([str(count), *values, ", ".join(worst)]) + " |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def draw(study: dict[str, Any], path: Path) -> None:
    """One panel per measure: every seed a dot, the mean a line; 0 = as good as FP32."""
    figure = Figure((8.4, 3.4), layout="constrained", dpi=150)
    for axes, (key, title) in zip(figure.subplots(1, 2), MEASURES.items()):
        values = by_count(study, key)
        counts = list(values)
        for count, drops in values.items():
            axes.plot([count] * len(drops), drops, "o", color=POINT, markersize=5)
        axes.plot(counts, [np.mean(drops) for drops in values.values()], color=LINE, linewidth=1.8)
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlabel("calibration images")
        axes.set_title(title, fontsize=10, loc="left", color=INK)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        "Dots: seeds. Line: their mean. 0: as good as FP32", fontsize=9, color=INK, x=0.01, ha="left"
    )
    figure.savefig(path)


if __name__ == "__main__":
    main()
