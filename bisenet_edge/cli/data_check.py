"""`bisenet-edge data check`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from bisenet_edge.cli.app import EXIT_ERROR
from bisenet_edge.cli.options import json_option
from bisenet_edge.cli.render import Bars, emit, next_command, points, table

if TYPE_CHECKING:
    from bisenet_edge.runtime.datasets.survey import SplitSurvey, Survey

ALL = "all"
SIZES_TOLD = 4


@click.command("check")
@click.argument("spec", metavar="URI")
@click.option("--split", default=ALL, show_default=True, help="train, val, test or all.")
@json_option
def command(spec: str, split: str, as_json: bool) -> int:
    """Read every picture and label of a data set, count what it has, and tell all that is wrong with it.

    URI is cityscapes:PATH[?labels=ids|trainids], camvid:PATH, coco-stuff:PATH, folder:PATH or synthetic:.
    Exit code 1 when there is a problem.
    """
    from bisenet_edge.errors import unknown_name
    from bisenet_edge.runtime.datasets.opening import SPLITS
    from bisenet_edge.runtime.datasets.survey import survey

    if split not in (ALL, *SPLITS):
        raise unknown_name("split", split, (ALL, *SPLITS))
    result = survey(spec, None if split == ALL else [split], Bars())
    if as_json:
        emit(result.to_json())
    else:
        _print(result)
    return EXIT_ERROR if result.problems else 0


def _print(result: Survey) -> None:
    labels = result.splits[0].labels_of
    click.echo(f"{result.uri}: {len(labels)} classes of '{labels.name}'")
    if result.splits[0].code:
        click.echo(f"label files: {result.splits[0].code}")
    click.echo()
    for split in result.splits:
        click.echo(_about(split))
    _print_classes(result)
    click.echo(
        f"\nread {sum(s.read for s in result.splits)} pictures, {result.pictures_per_s:.1f} per second"
    )
    for note in result.notes:
        click.echo(f"note: {note}")
    if not result.problems:
        click.echo("no problems")
        train = ["bisenet-edge", "train", "--model", "bisenet-xception39", "--data", result.uri]
        next_command(shlex.join(train))
        return
    click.echo(f"\n{sum(p.count for p in result.problems)} files with a problem")
    for problem in result.problems:
        click.echo(
            f"{problem.count:>6}  {problem.fault.value}; the first: {problem.file or problem.first.got}"
        )
    click.echo(f"\nthe first problem: {result.problems[0].first}")
    next_command(shlex.join(["bisenet-edge", "data", "check", result.uri]))


def _about(split: SplitSurvey) -> str:
    told = [f"{size} ({count})" for size, count in split.sizes.most_common(SIZES_TOLD)]
    rest = len(split.sizes) - SIZES_TOLD
    sizes = ", ".join(told) + (f" and {rest} more sizes" if rest > 0 else "")
    void = "" if split.read == 0 else f", void {split.void_share:.2%}"
    return f"{split.split}: {split.pictures} pictures, {split.labels} labels, {sizes or 'none read'}{void}"


def _print_classes(result: Survey) -> None:
    header, rows = ["class"], [[name] for name in result.splits[0].labels_of.names]
    cells: list[list[object]] = [list(row) for row in rows]
    for split in result.splits:
        header += [f"{split.split} %", "pictures"]
        for i, row in enumerate(cells):
            row += [points(split.class_share(i)), int(split.shown[i])]
    click.echo(f"\n{table(header, cells)}\n\nshares are of the labelled pixels")
