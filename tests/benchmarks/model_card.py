"""Make a training run's best checkpoint the shipped one: float16 weights, measured, with a model card.

    python tests/benchmarks/model_card.py runs/shipped/best.safetensors camvid:data/camvid synthetic:

Writes bisenet_edge/weights/NAME.safetensors and NAME.md. What is measured is the float16 checkpoint as it
is shipped, in FP32 arithmetic, at each picture's own size, on the val split of every data set named.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from bisenet_edge.metrics import Confusion
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.train_data import evaluate

CARD = """# {name}

{model}, {classes} classes ({label_set}), {parameters:,} parameters without the auxiliary heads.

- **For**: trying bisenet-edge, its demo and its tests; a start for training on your own streets. Not for
  driving anything: it has seen {seen}.
- **Data**: {data}.
  CamVid (Brostow, Fauqueur, Cipolla 2009, in the 480x360, 11-class form of the SegNet tutorial) is free
  for non-commercial research use, which limits the use of these weights alike; its pictures are not in this
  repository.{drawn}
- **Trained by**: the runs named in [{stem}.toml]({stem}.toml), from random
  weights, seed {seed}; of the last one, epoch {epoch} of {epochs}, chosen by val mIoU on CamVid.
- **Measured by**: `{command}`,
  float16 weights, FP32 arithmetic, pictures at their own size.
- **INT8**: `bisenet-edge export --int8`, then `bisenet-edge check`, measure what quantization costs.

IoU in points, val splits:

{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", nargs="+")
    arguments = parser.parse_args()
    loaded = checkpoints.read(arguments.checkpoint)
    target = shipped_checkpoint().with_name(f"{loaded.model}-{loaded.labels.name}.safetensors")
    checkpoints.write(target, loaded, half=True)
    shipped = checkpoints.read(target)
    confusions = {uri: measure(shipped, uri) for uri in arguments.data}
    measured = {uri: {"miou": round(c.miou(), 4)} for uri, c in confusions.items()}
    checkpoints.write(target, replace(shipped, metrics={**shipped.metrics, "float16": measured}))
    command = f"python tests/benchmarks/model_card.py {arguments.checkpoint} {' '.join(arguments.data)}"
    target.with_suffix(".md").write_text(card(target.stem, shipped, confusions, command), encoding="utf-8")
    print(target.with_suffix(".md").read_text(encoding="utf-8"))


def measure(checkpoint: Checkpoint, uri: str) -> Confusion:
    dataset = open_dataset(uri, "val")
    return evaluate(checkpoint.build(), list(dataset), len(dataset.labels))


def card(stem: str, checkpoint: Checkpoint, confusions: dict[str, Confusion], command: str) -> str:
    network = checkpoint.build()
    network.drop_auxiliary_heads()
    header = ["class", *confusions]
    rows = [
        [name, *[f"{100 * c.iou()[index]:.1f}" for c in confusions.values()]]
        for index, name in enumerate(checkpoint.labels.names)
    ]
    rows.append(["**mIoU**", *[f"**{100 * c.miou():.2f}**" for c in confusions.values()]])
    rows.append(["pixel accuracy", *[f"{100 * c.pixel_accuracy():.1f}" for c in confusions.values()]])
    lines = ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]
    drawn = any(uri.startswith("synthetic:") for uri in checkpoint.recipe["data"])
    return CARD.format(
        name=stem,
        stem=stem,
        model=checkpoint.model,
        classes=len(checkpoint.labels),
        seen="367 pictures of one city" + (" and drawings of streets" if drawn else ""),
        drawn=" The synthetic streets are this project's own." if drawn else "",
        label_set=checkpoint.labels.name,
        parameters=int(np.sum([p.numel() for p in network.parameters()])),
        data=", ".join(f"`{uri}`" for uri in checkpoint.recipe["data"]) + ", train splits",
        epoch=checkpoint.progress["epoch"],
        epochs=checkpoint.recipe["epochs"],
        seed=checkpoint.recipe["seed"],
        command=command,
        table="\n".join(lines),
    )


if __name__ == "__main__":
    main()
