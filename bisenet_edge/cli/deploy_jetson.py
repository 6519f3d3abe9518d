"""`bisenet-edge deploy jetson`."""

from __future__ import annotations

from pathlib import Path

import click

from bisenet_edge.boards import DEFAULT_BOARD, boards, load_board
from bisenet_edge.cli.options import artifact_argument, find_or_export, json_option
from bisenet_edge.cli.render import Bars, emit, next_command


@click.command("jetson")
@artifact_argument
@click.option("--board", default=DEFAULT_BOARD, show_default=True, help=f"One of {', '.join(boards())}.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bundles"), show_default=True, help="Folder."
)
@json_option
def command(artifact: Path | None, board: str, out: Path, as_json: bool) -> None:
    """Pack ARTIFACT (default: the newest) with the torch-free runtime into one tar.gz."""
    from bisenet_edge.toolchain.bundle import make_bundle

    chosen = load_board(board)
    bundle = make_bundle(find_or_export(artifact), chosen, out, Bars())
    if as_json:
        emit(bundle.to_json())
        return
    click.echo(
        f"{bundle.path}  {bundle.size_bytes / 1e6:.2f} MB, {len(bundle.files)} files, for {chosen.title}"
    )
    click.echo(f"sha256 {bundle.sha256}")
    click.echo("Latency and power on this board: not measured on a Jetson.")
    next_command(
        f"scp {bundle.path} USER@JETSON: && ssh USER@JETSON "
        f"'tar xzf {bundle.path.name} && sudo {bundle.name}/install.sh'"
    )
