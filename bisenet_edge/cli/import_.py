"""`bisenet-edge import`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bisenet_edge.cli.options import json_option
from bisenet_edge.cli.render import emit, next_command, note

if TYPE_CHECKING:
    from bisenet_edge.labels import LabelSet
    from bisenet_edge.toolchain.importing.convert import Imported
    from bisenet_edge.toolchain.importing.family import Normalisation

IMPORTED = Path("imported")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "family",
    default="auto",
    show_default=True,
    help="Implementation: coincheung (CoinCheung/BiSeNet), torchseg (ycszen/TorchSeg), or auto.",
)
@click.option(
    "--labels",
    metavar="NAME|FILE",
    help="camvid, cityscapes, coco-stuff or a TOML file of classes (default: cityscapes, for 19 classes).",
)
@click.option("--mean", metavar="R,G,B", help="Of its training, in 0..1 (default: of the implementation).")
@click.option("--std", metavar="R,G,B", help="Likewise.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: imported/MODEL-LABELS.safetensors.")
@json_option
def command(
    file: Path, family: str, labels: str | None, out: Path | None, as_json: bool, **rest: Any
) -> None:
    """Turn FILE (.pth or .safetensors), weights of a public BiSeNet v1, into a checkpoint.

    \b
    bisenet-edge import model_final_v1_city_new.pth
    bisenet-edge import epoch-last.pth --from torchseg --labels classes.toml

    The checkpoint computes the logits of the original; where that departs from the paper is told, and kept in
    the checkpoint. Only weights are read, no Python objects.
    """
    from bisenet_edge.errors import UsageError
    from bisenet_edge.toolchain import checkpoint as checkpoints
    from bisenet_edge.toolchain.importing.convert import ImportOptions, import_checkpoint
    from bisenet_edge.toolchain.importing.departures import departures

    if out is not None and (out.is_dir() or out.suffix != ".safetensors"):
        raise UsageError("--out is no file for a checkpoint", got=str(out), expected="FILE.safetensors")
    options = ImportOptions(family, _label_set(labels), _normalisation(rest["mean"], rest["std"]))
    imported = import_checkpoint(file, options)
    checkpoint = imported.checkpoint
    path = out or IMPORTED / f"{checkpoint.model}-{checkpoint.labels.name}.safetensors"
    before = _file_of(path)
    checkpoints.write(path, checkpoint)
    if before not in ("", checkpoint.recipe["file_sha256"]):
        note(f"note: {path} was made of another file, and is replaced (--out keeps both)")
    if as_json:
        emit(
            {
                "checkpoint": str(path),
                "model": checkpoint.model,
                "family": imported.family.name,
                "labels": checkpoint.labels.to_json(),
                "architecture": checkpoint.architecture,
                "departures": [departure.to_json() for departure in departures(imported.config)],
                "provenance": checkpoint.recipe,
                "ignored": list(imported.ignored),
            }
        )
        return
    click.echo(_told(imported, path))
    for text in imported.family.notes:
        note(f"note: {text}")
    next_command(shlex.join(["bisenet-edge", "export", str(path), "--int8"]))


def _told(imported: Imported, path: Path) -> str:
    from bisenet_edge.toolchain.importing.departures import departures

    checkpoint, architecture = imported.checkpoint, imported.checkpoint.architecture
    blue, green, red = architecture["mean"]
    r_std, g_std, b_std = reversed(architecture["std"])
    heads = architecture["auxiliary_width"]
    lines = {
        "taken for": imported.family.origin,
        "network": checkpoint.model,
        "classes": f"{len(checkpoint.labels)} of '{checkpoint.labels.name}'",
        "FFM gate": architecture["gate"],
        "up-sampling": architecture["upsampling"],
        "main head": f"{architecture['head_width']} channels",
        "auxiliary heads": f"{heads} channels" if heads else "none",
        "mean (RGB)": f"{red:.2f} {green:.2f} {blue:.2f} of 255",
        "deviation (RGB)": f"{r_std:.2f} {g_std:.2f} {b_std:.2f} of 255",
        "left out": ", ".join(imported.ignored) or "nothing",
    }
    told = [f"{path}\n", *(f"{what:<18}{value}" for what, value in lines.items())]
    others = departures(imported.config)
    told += ["", "departs from the paper:" if others else "built as in the paper"]
    told += [f"  {other.what}: {other.here} (paper: {other.paper})" for other in others]
    return "\n".join(told)


def _file_of(path: Path) -> str:
    """SHA-256 of the file that a checkpoint was imported from; "" where there is none."""
    from bisenet_edge.errors import BisenetEdgeError
    from bisenet_edge.toolchain import checkpoint as checkpoints

    try:
        return str(checkpoints.read(path).recipe.get("file_sha256", "another"))
    except BisenetEdgeError:
        return "another" if path.exists() else ""


def _label_set(text: str | None) -> LabelSet | None:
    from bisenet_edge.errors import unknown_name
    from bisenet_edge.labels import CAMVID, CITYSCAPES, COCO_STUFF
    from bisenet_edge.runtime.datasets import read_labels_toml

    if text is None:
        return None
    known = {labels.name: labels for labels in (CAMVID, CITYSCAPES, COCO_STUFF)}
    if text in known:
        return known[text]
    if not text.endswith(".toml") and not Path(text).exists():
        raise unknown_name("label set", text, (*known, "FILE.toml"))
    return read_labels_toml(Path(text))


def _normalisation(mean: str | None, std: str | None) -> Normalisation | None:
    from bisenet_edge.errors import UsageError
    from bisenet_edge.toolchain.importing.family import Normalisation

    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UsageError(
            "--mean and --std belong together", got="one of them", fix="--mean R,G,B --std R,G,B"
        )
    return Normalisation(_three("--mean", mean), _three("--std", std))


def _three(option: str, text: str) -> tuple[float, float, float]:
    from bisenet_edge.errors import UsageError

    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"{option} is not three numbers",
            got=repr(text),
            expected="red, green and blue in 0..1",
            fix=f"for example {option} 0.485,0.456,0.406",
        ) from error
    if not all(0 <= value <= 1 for value in (red, green, blue)) or (
        option == "--std" and min(red, green, blue) == 0
    ):
        raise UsageError(f"{option} is out of range", got=repr(text), expected="numbers in 0..1, std above 0")
    return red, green, blue
