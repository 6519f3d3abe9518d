"""What is done with devices between deployments: status, rollback, prune."""

from __future__ import annotations

from dataclasses import replace

from bisenet_edge.delivery.device import look
from bisenet_edge.delivery.failures import RemoteCommandError, printable
from bisenet_edge.delivery.job import Work
from bisenet_edge.delivery.result import HostResult
from bisenet_edge.delivery.session import Session, Way
from bisenet_edge.delivery.ssh import Connection, remote_script
from bisenet_edge.delivery.target import Target
from bisenet_edge.errors import DeliveryError

_BUSY = 75


def status(target: Target, way: Way) -> HostResult:
    """What a device is, runs, and how its service is doing; nothing on it changes."""
    session = Session(target, way)

    def ask(connection: Connection) -> HostResult:
        session.doing = "asking what the device is"
        device = look(connection, session.place)
        return replace(session.result, verdict="ok", board=device.board, runs=device.running, device=device)

    return session.run(ask)


def rollback(target: Target, way: Way, options: tuple[str, ...] = (), *, dry_run: bool = False) -> HostResult:
    """Go back to the previous release, by the installer of the one that runs.

    Args:
        target: the device.
        way: how to get there.
        options: for install.sh.
        dry_run: only look.
    """
    session = Session(target, way)

    def go_back(connection: Connection) -> HostResult:
        device = session.look(connection)
        session.result = replace(session.result, board=device.board)
        if not device.previous or device.previous == device.current:
            raise DeliveryError(
                f"there is no release to go back to on {device.host}",
                got=device.running,
                fix=f"bisenet-edge deploy jetson --host {device.host}",
            )
        if dry_run:
            return replace(
                session.result, verdict="planned", notes=(f"from {device.current} to {device.previous}",)
            )
        no_service = () if session.place.service else ("--no-service",)
        words = (session.place.prefix, device.current, device.previous, *no_service, *options)
        # One key for every rollback: a command that is given again after a cut must find the first one,
        # not go back and forth.
        work = Work(remote_script("rollback"), words, "rollback")
        return session.finish(connection, work, "rollback", lambda step: None)

    return session.run(go_back)


def prune(target: Target, way: Way, keep: int, *, dry_run: bool = False) -> HostResult:
    """Remove old releases and what was pushed.

    Args:
        target: the device.
        way: how to get there.
        keep: releases that stay, the current and the previous one among them.
        dry_run: only look.
    """
    session = Session(target, way)

    def remove(connection: Connection) -> HostResult:
        device = session.look(connection)
        session.doing = "removing"
        try:
            lines = connection.run(
                "prune", session.place.prefix, keep, "look" if dry_run else "remove"
            ).splitlines()
        except RemoteCommandError as failure:
            raise _explained(device.host, failure) from failure
        removed = [line.split(" ", 2)[1:] for line in lines if line.startswith("remove ")]
        freed_mb = sum(int(kib) for kib, _ in removed) * 1024 / 1e6
        notes = [printable(path) for _, path in removed]
        notes.append(f"{freed_mb:.1f} MB {'would be ' if dry_run else ''}freed")
        return replace(
            session.result, verdict="planned" if dry_run else "ok", board=device.board, notes=tuple(notes)
        )

    return session.run(remove)


def _explained(host: str, failure: RemoteCommandError) -> DeliveryError:
    if failure.status != _BUSY:
        return failure
    return DeliveryError(
        f"a deployment is running on {host}; nothing was removed",
        got="its lock is held",
        fix=f"wait for it: bisenet-edge deploy status --host {host}",
    )
