"""`bisenet-edge deploy rollback`."""

from __future__ import annotations

import click

from bisenet_edge.cli.deploy_options import Reach, device_options
from bisenet_edge.cli.deploy_text import show_results
from bisenet_edge.cli.options import json_option
from bisenet_edge.cli.render import next_command


@click.command("rollback")
@device_options(needed=True)
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@json_option
def command(reach: Reach, dry_run: bool, as_json: bool) -> int:
    """Go back to the previous release on each device, and restart its service."""
    from bisenet_edge.delivery.fleet import everywhere
    from bisenet_edge.delivery.upkeep import rollback

    results = everywhere(
        reach.targets, lambda target: rollback(target, reach.way, dry_run=dry_run), reach.parallel
    )
    code = show_results("rollback", results, as_json=as_json)
    if not as_json:
        next_command(reach.again("bisenet-edge deploy status"))
    return code
