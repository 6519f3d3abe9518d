"""One bundle to one device, from the first look to the switch.

Every step can be repeated. A connection that breaks is made again, and the work goes on where it stands:
the push at the byte it had reached, the installation where the device is with it by now. Where it stays
broken, the device finishes or goes back by itself, and the same command finds out which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bisenet_edge.delivery.device import Device
from bisenet_edge.delivery.fitness import fitting_board, refuse_without_space
from bisenet_edge.delivery.job import Step, Work
from bisenet_edge.delivery.push import already_there, push
from bisenet_edge.delivery.result import HostResult
from bisenet_edge.delivery.session import Session, Way
from bisenet_edge.delivery.ssh import Connection
from bisenet_edge.delivery.target import Target
from bisenet_edge.progress import Progress, quiet

STEPS = (
    "verify",
    "unpack",
    "machine",
    "files",
    "compile",
    "selftest",
    "latency",
    "switch",
    "service",
    "health",
    "done",
)
"""What a device does with a bundle, in this order."""


@dataclass(frozen=True)
class Payload:
    """What is pushed.

    Attributes:
        path: the bundle, NAME.tar.gz.
        signature: NAME.tar.gz.sig beside it; None = unsigned.
        sha256: of the bundle.
        unpacked_bytes: of the files in it.
    """

    path: Path
    signature: Path | None
    sha256: str
    unpacked_bytes: int


@dataclass(frozen=True)
class Delivery:
    """What is to be done, the same for every device.

    Attributes:
        payload_for: board -> what is pushed to such a board; called from several threads.
        installer: text of the script that verifies, unpacks and installs a bundle.
        options: for the installer, after the bundle and what follows from the place.
        any_machine: do not compare the device with the board of the bundle.
    """

    payload_for: Callable[[str], Payload]
    installer: str
    options: tuple[str, ...] = ()
    any_machine: bool = False


def deliver(target: Target, delivery: Delivery, way: Way, progress: Progress = quiet) -> HostResult:
    """Bring a bundle to a device and have it installed there.

    Args:
        target: the device.
        delivery: what.
        way: how to get there.
        progress: told of bytes ("pushing NAME") and of steps.

    Returns:
        what became of it; a device that fails is a result, not an exception.
    """
    session = Session(target, way)
    return session.run(lambda connection: _deliver(session, connection, delivery, progress))


def plan(target: Target, delivery: Delivery, way: Way) -> HostResult:
    """Say what `deliver` would do, after looking; nothing on the device changes."""
    session = Session(target, way)
    return session.run(lambda connection: _plan(session, connection, delivery))


def _deliver(session: Session, connection: Connection, delivery: Delivery, progress: Progress) -> HostResult:
    def tell(step: Step) -> None:
        if step.name in STEPS:
            progress(step.name, STEPS.index(step.name) + 1, len(STEPS))

    _, payload = _prepare(session, connection, delivery)
    session.doing = "pushing"
    pushed = push(connection, f"{session.place.prefix}/incoming", payload.path, progress)
    if payload.signature is not None:
        push(connection, f"{session.place.prefix}/incoming", payload.signature)
    if not session.result.size_bytes:
        session.result = replace(session.result, size_bytes=pushed.size_bytes, found_bytes=pushed.found_bytes)
    return session.finish(connection, _work(session, delivery, payload), STEPS[-1], tell)


def _plan(session: Session, connection: Connection, delivery: Delivery) -> HostResult:
    device, payload = _prepare(session, connection, delivery)
    there = already_there(connection, f"{session.place.prefix}/incoming", payload.path)
    size = payload.path.stat().st_size
    return replace(
        session.result,
        verdict="planned",
        size_bytes=size,
        found_bytes=there,
        notes=tuple(_plan_lines(session, connection, device, payload, size - there)),
    )


def _prepare(session: Session, connection: Connection, delivery: Delivery) -> tuple[Device, Payload]:
    """Look, and stop here where it cannot end well."""
    device = session.look(connection)
    board = fitting_board(device, session.target.board, any_machine=delivery.any_machine)
    session.result = replace(session.result, board=board)
    payload = delivery.payload_for(board)
    if session.job is None:
        # Pushed, copied for checking, unpacked, and room for the engine that is built of it.
        size = payload.path.stat().st_size
        refuse_without_space(device, (2 * size + 2 * payload.unpacked_bytes) / 1e6)
    return device, payload


def _work(session: Session, delivery: Delivery, payload: Payload) -> Work:
    place = session.place
    words = [f"{place.prefix}/incoming/{payload.path.name}", "--sha256", payload.sha256]
    words += ["--prefix", place.prefix]
    words += [] if place.service else ["--no-service"]
    words += ["--any-machine"] if delivery.any_machine else []
    signed = payload.signature.read_text("utf-8", "replace") if payload.signature else ""
    return Work.of(delivery.installer, [*words, *delivery.options], signed)


def _plan_lines(
    session: Session, connection: Connection, device: Device, payload: Payload, left_bytes: int
) -> Iterator[str]:
    signed = "signed" if payload.signature else "unsigned"
    to_go = f"{left_bytes / 1e6:.1f} MB to go, {device.free_mb:.0f} MB free"
    yield f"push {payload.path.name} ({signed}): {to_go}"
    yield f"as {'root by sudo' if connection.as_root else device.user}, into {session.place.prefix}"
    yield f"there: {', '.join(STEPS)}"
    if not session.place.service:
        yield "no service is installed or restarted"
