"""`bisenet-edge deploy jetson`."""

from __future__ import annotations

from pathlib import Path

import click

from bisenet_edge.boards import DEFAULT_BOARD, boards, load_board
from bisenet_edge.cli.options import artifact_argument, find_or_export, json_option
from bisenet_edge.cli.render import Bars, emit, next_command, table


@click.command("jetson")
@artifact_argument
@click.option("--board", default=DEFAULT_BOARD, show_default=True, help=f"One of {', '.join(boards())}.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bundles"), show_default=True, help="Folder."
)
@click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Private key, or the .pub of one in your ssh agent (deploy keygen makes one).",
)
@json_option
def command(artifact: Path | None, board: str, out: Path, key: Path | None, as_json: bool) -> None:
    """Pack ARTIFACT (default: the newest) with the torch-free runtime into one tar.gz."""
    from bisenet_edge.toolchain.bundle import make_bundle
    from bisenet_edge.toolchain.signing import check_key, sign

    chosen = load_board(board)
    if key:
        check_key(key.expanduser())
    bundle = make_bundle(find_or_export(artifact), chosen, out, Bars())
    signature = sign(bundle.path, key.expanduser()) if key else None
    if as_json:
        signed = {"path": str(signature.path), "key": signature.fingerprint} if signature else None
        emit({**bundle.to_json(), "signature": signed})
        return
    click.echo(
        f"{bundle.path}  {bundle.size_bytes / 1e6:.2f} MB, {len(bundle.files)} files, for {chosen.title}"
    )
    rows = [[part, f"{size / 1e6:.3f}"] for part, size in bundle.part_bytes.items()]
    rows.append(
        ["without the model", f"{(sum(bundle.part_bytes.values()) - bundle.part_bytes['model']) / 1e6:.3f}"]
    )
    click.echo(table(["unpacked", "MB"], rows))
    click.echo(f"sha256 {bundle.sha256}")
    click.echo(f"serial {bundle.serial}")
    if signature:
        click.echo(f"signed {signature.path}, key {signature.fingerprint}")
    else:
        click.echo(
            "not signed: a device that trusts a key will refuse it (bisenet-edge deploy keygen; --sign KEY)"
        )
    click.echo("Latency and power on this board: not measured on a Jetson.")
    sent = " ".join(map(str, [bundle.path, *([signature.path] if signature else []), bundle.verifier]))
    unsigned = "" if signature else " --allow-unsigned"
    next_command(
        f"scp {sent} USER@JETSON: && ssh -t USER@JETSON "
        f"sudo sh {bundle.verifier.name} {bundle.path.name}{unsigned}"
    )
