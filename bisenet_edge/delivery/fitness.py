"""Whether a device can take a bundle: asked before anything is pushed."""

from __future__ import annotations

from bisenet_edge.boards import boards
from bisenet_edge.delivery.device import Device, Place
from bisenet_edge.delivery.ssh import Connection
from bisenet_edge.errors import DeliveryError


def refuse_without_tools(device: Device) -> None:
    """Refuse a device that lacks what our scripts call.

    Raises:
        DeliveryError: see above.
    """
    if device.missing:
        raise DeliveryError(
            f"{device.host} lacks commands that are needed there",
            got=f"no {', '.join(device.missing)}",
            fix=f"ssh {device.host} sudo apt-get install -y coreutils util-linux tar",
        )


def become_root(connection: Connection, device: Device, place: Place) -> None:
    """From here on, commands run as root where the place needs it.

    Raises:
        DeliveryError: root is needed, and there is no way without a password.
    """
    if device.root == "self" or not (place.service or not device.writable):
        return
    if device.root == "sudo":
        connection.as_root = True
        return
    why = "sudo asks for a password" if device.root == "password" else "sudo is not installed"
    name = device.host.removeprefix("ssh://").rpartition("@")[2]
    raise DeliveryError(
        f"root is needed on {device.host} to install a service and to write to {place.prefix}",
        got=f"user {device.user}; {why}",
        expected="root, or sudo without a password",
        fix=f"--host root@{name}; or there: sudo visudo -f /etc/sudoers.d/bisenet-edge"
        f"     # {device.user} ALL=(root) NOPASSWD: ALL",
    )


def refuse_without_space(device: Device, need_mb: float) -> None:
    """Refuse a device whose disk would fill up.

    Raises:
        DeliveryError: see above.
    """
    if device.free_mb < need_mb:
        raise DeliveryError(
            f"too little space on {device.host}; nothing was pushed",
            got=f"{device.free_mb:.1f} MB free",
            expected=f"{need_mb:.1f} MB",
            fix=f"bisenet-edge deploy prune --keep 2 --host {device.host}",
        )


def fitting_board(device: Device, wanted: str, *, any_machine: bool) -> str:
    """The board that a bundle for this device is made for.

    Args:
        device: as it says itself.
        wanted: what the user named; "" = whatever the device is.
        any_machine: take what was named, whatever the device is.

    Raises:
        DeliveryError: another board than named, or one that is in no table.
    """
    if not wanted and not device.board:
        raise DeliveryError(
            f"{device.host} is a Jetson that is in no table",
            got=device.title,
            expected=", ".join(boards()),
            fix="the nearest one, for example: --board orin-nano --any-machine",
        )
    if any_machine or wanted in ("", device.board):
        return wanted or device.board
    raise DeliveryError(
        f"{device.host} is another board than the bundle is for; nothing was pushed",
        got=f"{device.title} ({device.board or 'in no table'})",
        expected=wanted,
        fix=f"--board {device.board}" if device.board else "if you are sure: --any-machine",
    )
