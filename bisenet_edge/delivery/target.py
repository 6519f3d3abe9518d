"""The devices to work on: what the user typed, or an inventory file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bisenet_edge.boards import boards
from bisenet_edge.config import check_keys, read_toml
from bisenet_edge.errors import ConfigError, UsageError, unknown_name

# No leading "-": ssh would read an option. No white space, quotes or $: nothing that a shell or a
# ProxyCommand of the user's could take for more than a name.
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_ADDRESS = rf"(?:{_NAME}|\[?[0-9A-Fa-f:.]+(?:%{_NAME})?\]?)"
_PLAIN = re.compile(rf"(?:{_NAME}@)?{_ADDRESS}")
_URL = re.compile(rf"ssh://(?:{_NAME}@)?{_ADDRESS}(?::[0-9]{{1,5}})?/?")
_PREFIX = re.compile(r"/[A-Za-z0-9._/+-]*[A-Za-z0-9._+-]")

_DEVICE = {"host": str}
_DEVICE_OPTIONAL = {"board": str, "canary": bool, "group": str, "prefix": str}


@dataclass(frozen=True)
class Target:
    """One device.

    Attributes:
        host: what ssh is given: "jetson@10.0.0.7", "ssh://10.0.0.7:2222", a name from ~/.ssh/config.
        board: of `deploy/boards`; "" = ask the device.
        canary: is worked on before the others, alone.
        group: a word to choose devices by.
        prefix: folder on the device; "" = what the command says.
    """

    host: str
    board: str = ""
    canary: bool = False
    group: str = ""
    prefix: str = ""


def checked_host(host: str) -> str:
    """Give back a host that ssh can only take for a host.

    Raises:
        UsageError: anything else, "-oProxyCommand=..." for example.
    """
    if not (_URL if host.startswith("ssh://") else _PLAIN).fullmatch(host):
        raise UsageError(
            "not a host",
            got=repr(host),
            expected="[user@]name-or-address, ssh://[user@]name:port, or a Host of ~/.ssh/config",
        )
    return host


def checked_prefix(prefix: str) -> str:
    """Give back a folder on the device that needs no quoting anywhere, in a unit file either.

    Raises:
        UsageError: not absolute, "/" itself, "..", or an unusual character.
    """
    if not _PREFIX.fullmatch(prefix) or ".." in prefix.split("/"):
        raise UsageError(
            "not a folder for releases on a device",
            got=repr(prefix),
            expected="an absolute path of letters, digits and . _ / + -",
            fix="leave --prefix out: /opt/bisenet-edge",
        )
    return prefix


def read_inventory(path: Path, group: str = "") -> list[Target]:
    """Read the devices of a fleet: `[[device]]` tables.

    Args:
        path: a TOML file.
        group: only the devices of this group; "" = all.

    Raises:
        ConfigError: not TOML, a key missing, a value of another type, no device.
        UsageError: an unknown key, board or group, with the nearest one proposed; a host that is none.
    """
    tables = read_toml(path, {"device": list})["device"]
    targets = []
    for number, table in enumerate(tables, start=1):
        where = f"{path}, [[device]] {number}"
        if not isinstance(table, dict):
            raise ConfigError(f"{where} is no table", got=repr(table), expected="[[device]] tables")
        target = Target(**check_keys(table, _DEVICE, _DEVICE_OPTIONAL, where))
        checked_host(target.host)
        if target.board and target.board not in boards():
            raise unknown_name(f"board in {where}", target.board, boards())
        if target.prefix:
            checked_prefix(target.prefix)
        targets.append(target)
    if not targets:
        raise ConfigError(f"{path} names no device", expected='[[device]] with host = "user@name"')
    groups = {t.group for t in targets if t.group}
    if group and group not in groups:
        raise unknown_name(f"group in {path}", group, groups or {"(none is given)"})
    return [t for t in targets if not group or t.group == group]


def chosen_targets(hosts: Sequence[str], inventory: Path | None, board: str, group: str) -> list[Target]:
    """The devices of a command line, each once.

    Args:
        hosts: of `--host`.
        inventory: of `--inventory`.
        board: of `--board`: for every device that has none of its own.
        group: of `--group`.

    Raises:
        UsageError: none, the same one twice, or a name that is no host.
        ConfigError: see `read_inventory`.
    """
    if group and inventory is None:
        raise UsageError(
            "a group is chosen from an inventory", got=f"--group {group}", fix="--inventory FILE"
        )
    targets = [Target(checked_host(host)) for host in hosts]
    if inventory is not None:
        targets += read_inventory(inventory, group)
    if not targets:
        raise UsageError("no device is named", fix="--host USER@DEVICE, or --inventory FILE")
    seen: set[tuple[str, str]] = set()
    for target in targets:
        key = (target.host, target.prefix)
        if key in seen:
            raise UsageError("a device is named twice", got=target.host, expected="each device once")
        seen.add(key)
    if board and board not in boards():
        raise unknown_name("board", board, boards())
    return [Target(t.host, t.board or board, t.canary, t.group, t.prefix) for t in targets]
