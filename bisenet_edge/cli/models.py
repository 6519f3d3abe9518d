"""`bisenet-edge models`: parameters and cost of the networks beside what the paper prints."""

from __future__ import annotations

import click

from bisenet_edge.cli.options import SIZE, json_option
from bisenet_edge.cli.render import emit, next_command, table
from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size

CLASSES = 19
UNITS = """\
Without auxiliary heads, {classes} classes, one image. The paper's table 2 mixes units: for the BiSeNets its
"Parameters" column is MiB of FP32 weights (4 bytes each, 2**20 bytes per MiB) and its "GFLOPS" column
counts multiply-adds (1 GFLOP = 0.5 GMAC), so the paper's figures stand beside MiB and GMAC here."""


@click.command("models")
@click.option("--res", "size", type=SIZE, default="640x360", show_default=True, help="Image size.")
@json_option
def command(size: Size, as_json: bool) -> None:
    """Parameters, FP32 MiB, GMAC and GFLOP of the networks, beside the paper's figures."""
    from bisenet_edge.toolchain.models import cost, zoo

    if size.width % 8 or size.height % 8:
        raise UsageError("cannot count at this size", got=str(size), expected="both sides multiples of 8")
    at_papers_size = size == Size(640, 360)
    rows, values = [], []
    for name, entry in zoo.ZOO.items():
        network = zoo.build(name, CLASSES)
        network.drop_auxiliary_heads()
        ours = cost.count(network, size)
        paper_mib = entry.paper.mib_fp32 if entry.paper else None
        paper_gmacs = entry.paper.gmacs if entry.paper and at_papers_size else None
        rows.append(
            [
                name,
                f"{ours.parameters:,}",
                ours.mib_fp32,
                paper_mib,
                _off(ours.mib_fp32, paper_mib),
                f"{ours.gmacs:.3f}",
                paper_gmacs,
                _off(ours.gmacs, paper_gmacs),
                f"{ours.gflops:.3f}",
            ]
        )
        values.append(
            {
                "model": name,
                "size": str(size),
                "classes": CLASSES,
                "parameters": ours.parameters,
                "mib_fp32": ours.mib_fp32,
                "macs": ours.macs,
                "gmacs": ours.gmacs,
                "gflops": ours.gflops,
                "paper": {"mib_fp32": paper_mib, "gmacs": paper_gmacs},
            }
        )
    if as_json:
        emit({"models": values})
        return
    header = ["model", "parameters", "MiB FP32", "paper", "off", "GMAC", "paper", "off", "GFLOP"]
    click.echo(f"at {size}\n\n{table(header, rows)}\n\n{UNITS.format(classes=CLASSES)}")
    if not at_papers_size:
        click.echo("The paper prints cost at 640x360 only.")
    next_command("bisenet-edge export --int8")


def _off(ours: float, papers: float | None) -> str | None:
    return None if papers is None else f"{(ours / papers - 1) * 100:+.1f} %"
