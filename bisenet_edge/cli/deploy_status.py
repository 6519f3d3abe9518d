"""`bisenet-edge deploy status`."""

from __future__ import annotations

import click

from bisenet_edge.cli.deploy_options import Reach, device_options
from bisenet_edge.cli.deploy_text import show_status
from bisenet_edge.cli.options import json_option
from bisenet_edge.cli.render import next_command


@click.command("status")
@device_options(needed=True)
@json_option
def command(reach: Reach, as_json: bool) -> int:
    """What each device is, which release it runs, and how its service is doing. Changes nothing."""
    from bisenet_edge.delivery.fleet import everywhere
    from bisenet_edge.delivery.upkeep import status

    code = show_status(
        everywhere(reach.targets, lambda target: status(target, reach.way), reach.parallel), as_json=as_json
    )
    if not as_json:
        next_command(reach.again("bisenet-edge deploy jetson"))
    return code
