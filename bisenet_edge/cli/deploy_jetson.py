"""`bisenet-edge deploy jetson`."""

from __future__ import annotations

from pathlib import Path

import click

from bisenet_edge.boards import DEFAULT_BOARD, boards, load_board
from bisenet_edge.cli.deploy_delivery import Source, Wishes, deliver_everywhere, delivery_options
from bisenet_edge.cli.deploy_options import Reach, device_options
from bisenet_edge.cli.options import artifact_argument, find_or_export, json_option
from bisenet_edge.cli.render import Bars, emit, next_command, table
from bisenet_edge.errors import UsageError


@click.command("jetson")
@artifact_argument
@click.option(
    "--board",
    help=f"One of {', '.join(boards())}. Default: {DEFAULT_BOARD}; with --host, what each device is.",
)
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
@device_options(needed=False)
@delivery_options
@json_option
def command(
    *,
    artifact: Path | None,
    board: str | None,
    out: Path,
    key: Path | None,
    reach: Reach,
    wishes: Wishes,
    as_json: bool,
) -> int:
    """Pack ARTIFACT (default: the newest) with the torch-free runtime into one tar.gz.

    With --host or --inventory: push it to these devices, and have each check it, build the engine, test it,
    switch to it and watch its service. A failure leaves the old release running. See deploy/README.md.
    """
    if reach.targets:
        return deliver_everywhere(Source(artifact, out, key), reach, wishes, as_json=as_json)
    if wishes.dry_run:
        raise UsageError("a dry run needs a device to look at", fix="--host USER@DEVICE")
    from bisenet_edge.toolchain.bundle import make_bundle
    from bisenet_edge.toolchain.signing import check_key, sign

    chosen = load_board(board or DEFAULT_BOARD)
    if key:
        check_key(key.expanduser())
    bundle = make_bundle(find_or_export(artifact), chosen, out, Bars())
    signature = sign(bundle.path, key.expanduser()) if key else None
    if as_json:
        signed = {"path": str(signature.path), "key": signature.fingerprint} if signature else None
        emit({**bundle.to_json(), "signature": signed})
        return 0
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
    trust = "" if signature else " --allow-unsigned"
    click.echo(
        f"by hand: scp {sent} USER@JETSON: && ssh -t USER@JETSON "
        f"sudo sh {bundle.verifier.name} {bundle.path.name}{trust}"
    )
    unsigned = "--allow-unsigned " if signature is None else f"--sign {key} "
    next_command(f"bisenet-edge deploy jetson {unsigned}--host USER@JETSON")
    return 0
