"""`bisenet-edge calibrate select`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bisenet_edge.cli.options import json_option
from bisenet_edge.cli.render import Bars, emit, next_command, points, table

if TYPE_CHECKING:
    from bisenet_edge.toolchain.quant.calibration_recipe import CalibrationRecipe, Coverage

RECIPES = Path("calibration")


@click.command("select")
@click.option("--data", required=True, metavar="URI", help="Choose from this data set's train split.")
@click.option("--count", type=click.IntRange(min=1), default=64, show_default=True, help="How many pictures.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice.")
@click.option("--out", type=click.Path(path_type=Path), help="Recipe (default: calibration/NAME.toml).")
@json_option
def command(data: str, count: int, seed: int, out: Path | None, as_json: bool) -> None:
    """Choose calibration pictures so that every class is covered, and write a recipe with their hashes."""
    from bisenet_edge.toolchain.quant.calibration_recipe import CalibrationRecipe
    from bisenet_edge.toolchain.quant.select_frames import write_selection

    wanted = CalibrationRecipe(data, count, seed)
    path = out or RECIPES / f"{_data_name(data)}-{count}-seed{seed}.toml"
    recipe = write_selection(wanted, path, Bars())
    if as_json:
        emit({"path": str(path), **recipe.provenance()})
        return
    _print(path, recipe)
    # Streets to verify on are drawn without being asked for.
    verify = [] if data.startswith("synthetic:") else ["--data", data]
    next_command(shlex.join(["bisenet-edge", "export", "--int8", "--calibration", str(path), *verify]))


def _data_name(data: str) -> str:
    """What a recipe's file is called after: the data set's scheme, or of a folder the name of its classes."""
    from bisenet_edge.runtime.datasets import open_dataset

    dataset = open_dataset(data, "train")
    scheme = data.partition(":")[0]
    name = dataset.labels.name if scheme == "folder" else scheme
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or scheme


def _print(path: Path, recipe: CalibrationRecipe) -> None:
    from bisenet_edge.toolchain.quant.select_frames import SHOWS

    click.echo(f"{path}\n\n{recipe.count} pictures of {recipe.data} train, seed {recipe.seed}\n")
    header = ["class", "pictures", "of", "% of their pixels", "of the split's"]
    rows = [
        [c.name, c.images, c.available, points(c.pixels), points(c.split_pixels)] for c in recipe.coverage
    ]
    click.echo(table(header, rows))
    click.echo(f"\nA picture counts for a class that fills at least {SHOWS:.1%} of it.")
    absent = [c for c in recipe.coverage if not c.available]
    missed = [c for c in recipe.coverage if c.available and not c.images]
    if absent:
        click.echo(f"warning: no picture of the train split shows {_names(absent)}")
    if missed:
        click.echo(f"warning: too few pictures to show {_names(missed)}; give a larger --count")


def _names(classes: Sequence[Coverage]) -> str:
    return ", ".join(c.name for c in classes)
