"""A file to a device, going on where an earlier attempt stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bisenet_edge.delivery.failures import RemoteCommandError, printable
from bisenet_edge.delivery.ssh import Connection
from bisenet_edge.errors import DeliveryError
from bisenet_edge.progress import Progress, quiet

_CHUNK_BYTES = 1 << 18
_OTHER_CONTENT, _BUSY = 65, 75  # exit statuses of incoming.sh and receive.sh


@dataclass(frozen=True)
class Pushed:
    """How a file got there.

    Attributes:
        size_bytes: of the file.
        found_bytes: of these, what was there already.
    """

    size_bytes: int
    found_bytes: int


def already_there(connection: Connection, folder: str, path: Path) -> int:
    """How many bytes of a file a push would find there; nothing on the device changes.

    Args:
        connection: to the device.
        folder: on the device.
        path: the file here; its name is the name there.

    Raises:
        ConnectionLostError: the connection broke.
    """
    return _offer(connection, folder, path, "look")[0]


def push(connection: Connection, folder: str, path: Path, progress: Progress = quiet) -> Pushed:
    """Bring a file to FOLDER/NAME on the device; its content is compared before it gets that name.

    Args:
        connection: to the device.
        folder: on the device; made if it is missing.
        path: the file here.
        progress: told of bytes.

    Raises:
        DeliveryError: the disk there is full, somebody else is pushing, or the bytes changed on the way.
        ConnectionLostError: the connection broke; the next push goes on from there.
    """
    size = path.stat().st_size
    step = f"pushing {path.name}"
    try:
        there, whole = _offer(connection, folder, path, "write")
        progress(step, there, size)
        if not whole:
            if there < size:
                told = _told(path, there, lambda done: progress(step, done, size))
                connection.send("receive", told, folder, path.name, there)
            connection.run("incoming", "accept", folder, path.name, _digest(path, size))
    except RemoteCommandError as failure:
        raise _explained(connection, failure, folder) from failure
    return Pushed(size, there)


def _offer(connection: Connection, folder: str, path: Path, mode: str) -> tuple[int, bool]:
    """Bytes that are there, and whether they are the whole file under its own name."""
    size = path.stat().st_size
    answer = connection.run("incoming", "offer", folder, path.name, _digest(path, size), mode).split()
    if answer == ["whole"]:
        return size, True
    if len(answer) != 3 or answer[0] != "part" or not answer[1].isdigit():
        raise DeliveryError(
            f"{connection.host} gives an answer that makes no sense", got=printable(" ".join(answer))
        )
    there = int(answer[1])
    # The start of this very file, or of what had the same name before?
    return (there if 0 < there <= size and _digest(path, there) == answer[2] else 0), False


def _told(path: Path, start: int, tell: Callable[[int], None]) -> Iterator[bytes]:
    done = start
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
            done += len(chunk)
            tell(done)


def _digest(path: Path, size: int) -> str:
    """sha256 of the first `size` bytes."""
    digest, left = hashlib.sha256(), size
    with path.open("rb") as file:
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _explained(connection: Connection, failure: RemoteCommandError, folder: str) -> DeliveryError:
    host = connection.host
    if failure.status == _BUSY:
        return DeliveryError(
            f"somebody else is pushing to {host}",
            got=f"{folder} is in use",
            fix="wait for them, then give the same command again",
        )
    if failure.status == _OTHER_CONTENT:
        return DeliveryError(
            f"what arrived on {host} differs from what was sent; it was removed",
            got="another sha256",
            fix="give the same command again; if it happens again, test the device's memory and disk",
        )
    if "No space left" in failure.got or "quota" in failure.got:
        return DeliveryError(
            f"the disk of {host} is full",
            got=failure.got,
            fix=f"bisenet-edge deploy prune --keep 2 --host {host}",
        )
    return failure
