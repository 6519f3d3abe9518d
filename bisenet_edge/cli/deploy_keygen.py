"""`bisenet-edge deploy keygen`."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

import click

from bisenet_edge.cli.options import json_option
from bisenet_edge.cli.render import emit, next_command
from bisenet_edge.errors import UsageError

DEFAULT_KEY = "~/.config/bisenet-edge/signing-key"


@click.command("keygen")
@click.option("--out", "key", default=DEFAULT_KEY, show_default=True, metavar="KEY", help="The private key.")
@click.option("--signer", default="", metavar="NAME", help="Who signs, as devices name it (default: you).")
@click.option("--no-passphrase", is_flag=True, help="Leave the private key unprotected, for a build machine.")
@json_option
def command(key: str, signer: str, no_passphrase: bool, as_json: bool) -> None:
    """Make an Ed25519 key pair, and the file by which devices trust it."""
    from bisenet_edge.toolchain.signing import make_key

    if not no_passphrase and not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for a passphrase on",
            fix="bisenet-edge deploy keygen --no-passphrase",
        )
    pair = make_key(Path(key).expanduser(), signer or getpass.getuser(), passphrase=not no_passphrase)
    if as_json:
        emit({name: str(path) for name, path in vars(pair).items()})
        return
    click.echo(f"private key  {pair.private}  (keep it, and keep it to yourself)")
    click.echo(f"public key   {pair.public}")
    click.echo(f"for devices  {pair.trusted_signers}, once per device:")
    click.echo(
        f"  scp {pair.trusted_signers} USER@JETSON:trusted_signers && ssh -t USER@JETSON "
        "sudo install -D -m 644 trusted_signers /etc/bisenet-edge/trusted_signers"
    )
    click.echo("From then on a device takes no bundle that is not signed with a key in that file.")
    next_command(f"bisenet-edge deploy jetson --sign {pair.private}")
