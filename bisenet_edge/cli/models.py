"""`bisenet-edge models`: parameters and cost of the networks beside what the paper prints."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from bisenet_edge.cli.options import SIZE, json_option
from bisenet_edge.cli.render import emit, next_command, table
from bisenet_edge.frame import Size

if TYPE_CHECKING:
    from bisenet_edge.toolchain.models.cost import Cost
    from bisenet_edge.toolchain.models.zoo import PaperRow

CLASSES = 19
PAPERS_SIZE = Size(640, 360)
UNITS = """\
Without auxiliary heads, {classes} classes, one image. "paper": what the paper's table 2 prints, in the unit
that it is in. The table mixes them: for the BiSeNets "Parameters" is MiB of FP32 weights (4 bytes each,
2**20 bytes per MiB) and "GFLOPS" counts multiply-adds; for the others it is millions of parameters, and two
operations per multiply-add. "off": ours against it, in that unit."""

NETWORKS = """\
bisenet-*: Yu et al. 2018, those in -cp... are the rows of its ablation; bisenetv2: Yu et al. 2021; dlc: Li et
al. 2017; enet: Paszke et al. 2016; icnet: Zhao et al. 2018; segnet: Badrinarayanan et al. 2015; sq: Treml et
al. 2016. Built from the papers, as far as those say. Two come with weights: bisenet-xception39, and
bisenet-resnet18 (bisenet-edge export bisenet-resnet18-camvid --int8). To train
another: bisenet-edge train --model NAME --data URI"""


@click.command("models")
@click.option("--res", "size", type=SIZE, default="640x360", show_default=True, help="Image size.")
@json_option
def command(size: Size, as_json: bool) -> None:
    """The networks that can be trained and exported: parameters and cost, beside the paper's figures."""
    from bisenet_edge.toolchain.models import cost, zoo

    rows, values = [], []
    padded: dict[str, Size] = {}
    for name, entry in zoo.ZOO.items():
        computed, ours = cost.of_model(name, CLASSES, size)
        if computed != size:
            padded[name] = computed
        paper = entry.paper or zoo.PaperRow()
        if size != PAPERS_SIZE:
            paper = replace(paper, gmacs=None, gflops=None)
        rows.append(_row(name, ours, paper))
        values.append(_json(name, size, computed, ours) | {"paper": asdict(paper) if entry.paper else None})
    if as_json:
        emit({"models": values})
        return
    header = ["model", "parameters", "MiB FP32", "paper", "off", "GMAC", "GFLOP", "paper", "off"]
    click.echo(f"at {size}\n\n{table(header, rows)}\n\n{UNITS.format(classes=CLASSES)}")
    if size != PAPERS_SIZE:
        click.echo(f"The paper prints cost at {PAPERS_SIZE} only.")
    if padded:
        told = ", ".join(f"{name} {computed}" for name, computed in padded.items())
        click.echo(f"Computed at a larger size, as sides must be multiples: {told}.")
    click.echo(f"\n{NETWORKS}")
    next_command("bisenet-edge export --int8")


def _row(name: str, ours: Cost, paper: PaperRow) -> list[Any]:
    millions = ours.parameters / 1e6
    weights = _beside((paper.mib_fp32, ours.mib_fp32, "MiB"), (paper.parameters_m, millions, "M"))
    work = _beside((paper.gmacs, ours.gmacs, "GMAC"), (paper.gflops, ours.gflops, "GFLOP"))
    cost = [f"{ours.gmacs:.3f}", f"{ours.gflops:.3f}"]
    return [name, f"{ours.parameters:,}", ours.mib_fp32, *weights, *cost, *work]


def _beside(*figures: tuple[float | None, float, str]) -> tuple[str | None, str | None]:
    """What the paper prints, with its unit, and how far ours is off: of the first that it prints."""
    for printed, ours, unit in figures:
        if printed is not None:
            return f"{printed} {unit}", _off(ours, printed)
    return None, None


def _json(name: str, size: Size, computed: Size, ours: Cost) -> dict[str, Any]:
    return {
        "model": name,
        "size": str(size),
        "computed_size": str(computed),
        "classes": CLASSES,
        "parameters": ours.parameters,
        "mib_fp32": ours.mib_fp32,
        "macs": ours.macs,
        "gmacs": ours.gmacs,
        "gflops": ours.gflops,
    }


def _off(ours: float, papers: float) -> str:
    return f"{(ours / papers - 1) * 100:+.1f} %"
