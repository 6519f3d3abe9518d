"""`bisenet-edge deploy prune`."""

from __future__ import annotations

import click

from bisenet_edge.cli.deploy_options import Reach, device_options
from bisenet_edge.cli.deploy_text import show_results
from bisenet_edge.cli.options import json_option
from bisenet_edge.cli.render import next_command


@click.command("prune")
@device_options(needed=True)
@click.option(
    "--keep",
    type=click.IntRange(1, 1000),
    default=2,
    show_default=True,
    help="Releases that stay; the current and the previous one always do.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@json_option
def command(reach: Reach, keep: int, dry_run: bool, as_json: bool) -> int:
    """Remove old releases, and bundles that were pushed, from each device."""
    from bisenet_edge.delivery.fleet import everywhere
    from bisenet_edge.delivery.upkeep import prune

    results = everywhere(
        reach.targets, lambda target: prune(target, reach.way, keep, dry_run=dry_run), reach.parallel
    )
    code = show_results("prune", results, as_json=as_json)
    if not as_json:
        next_command(reach.again("bisenet-edge deploy status"))
    return code
