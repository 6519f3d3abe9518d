"""Options of every `deploy` command that goes to devices."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bisenet_edge.delivery.device import PREFIX, Place
from bisenet_edge.delivery.session import Way
from bisenet_edge.delivery.ssh import SshOptions
from bisenet_edge.delivery.target import Target, checked_prefix, chosen_targets

Command = Callable[..., Any]


@dataclass(frozen=True)
class Reach:
    """Which devices, and how they are reached.

    Attributes:
        targets: the devices; empty = none was named.
        way: how.
        parallel: how many at a time.
        words: the options that said so, for the next command.
    """

    targets: tuple[Target, ...]
    way: Way
    parallel: int
    words: tuple[str, ...]

    def again(self, command: str) -> str:
        """Another command for the same devices."""
        return shlex.join([*command.split(), *self.words])


_OPTIONS = (
    click.option("--host", "hosts", multiple=True, metavar="USER@DEVICE", help="A device; may be repeated."),
    click.option(
        "--inventory",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TOML with [[device]] tables: host, and board, canary, group, prefix.",
    ),
    click.option("--group", default="", help="Only the devices of this group of the inventory."),
    click.option("--prefix", default=PREFIX, show_default=True, help="Folder of the releases on a device."),
    click.option("--no-service", is_flag=True, help="Install no service: a try-out, without root."),
    click.option(
        "--parallel",
        type=click.IntRange(1, 64),
        default=4,
        show_default=True,
        help="Devices at a time, after the canaries.",
    ),
    click.option(
        "--ssh-config",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="Instead of ~/.ssh/config.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(0, 20),
        default=4,
        show_default=True,
        help="New attempts after a lost connection.",
    ),
)


def device_options(*, needed: bool) -> Callable[[Command], Command]:
    """Add the options; the command gets one argument `reach` for all of them.

    Args:
        needed: no device named is an error.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_reach(**values: Any) -> Any:
            names = (
                "hosts",
                "inventory",
                "group",
                "prefix",
                "no_service",
                "parallel",
                "ssh_config",
                "retries",
            )
            given = {name: values.pop(name) for name in names}
            return command(reach=_reach(given, values.get("board") or "", needed=needed), **values)

        for option in reversed(_OPTIONS):
            with_reach = option(with_reach)
        return with_reach

    return decorate


def _reach(given: dict[str, Any], board: str, *, needed: bool) -> Reach:
    hosts, inventory = given["hosts"], given["inventory"]
    targets: list[Target] = []
    if needed or hosts or inventory or given["group"]:
        targets = chosen_targets(hosts, inventory, board, given["group"])
    way = Way(
        # Several devices at once cannot all ask on one terminal.
        ssh=SshOptions(config=given["ssh_config"], interactive=len(targets) == 1 and sys.stdin.isatty()),
        place=Place(checked_prefix(given["prefix"]), service=not given["no_service"]),
        retry_waits_s=tuple(min(2.0**attempt, 15.0) for attempt in range(given["retries"])),
    )
    return Reach(tuple(targets), way, given["parallel"], tuple(_words(given)))


def _words(given: dict[str, Any]) -> Iterator[str]:
    for host in given["hosts"]:
        yield from ("--host", host)
    for name in ("inventory", "ssh_config"):
        if given[name] is not None:
            yield from (f"--{name.replace('_', '-')}", str(given[name]))
    if given["group"]:
        yield from ("--group", given["group"])
    if given["prefix"] != PREFIX:
        yield from ("--prefix", given["prefix"])
    if given["no_service"]:
        yield "--no-service"
