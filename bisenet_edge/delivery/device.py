"""What a device is and what it runs, as it says itself."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bisenet_edge.delivery.failures import ConnectionLostError, printable
from bisenet_edge.delivery.ssh import Connection
from bisenet_edge.errors import DeliveryError
from bisenet_edge.runtime import jetson

SERVICE = "bisenet-edge.service"
PREFIX = "/opt/bisenet-edge"
_FPS = re.compile(r"([0-9.]+) FPS")
_AGE = re.compile(r"frame age p50 ([0-9.]+) ms(?:, p99 ([0-9.]+) ms)?")


@dataclass(frozen=True)
class Place:
    """Where on a device releases go.

    Attributes:
        prefix: the folder; see `target.checked_prefix`.
        service: a systemd service runs what is installed there; without one, root is not needed.
    """

    prefix: str = PREFIX
    service: bool = True


@dataclass(frozen=True)
class ServiceState:
    """The service as systemd sees it.

    Attributes:
        state: "active", "failed", "activating", ...; "" = systemd does not know it, or is not there.
        restarts: how often systemd has started it again since it was started.
        text: what the service says of itself ("29.8 FPS, frame age p50 41.0 ms, ...").
        fps: from the text; None = it does not say.
        age_p50_ms: frame age, likewise.
        age_p99_ms: likewise.
    """

    state: str = ""
    restarts: int | None = None
    text: str = ""
    fps: float | None = None
    age_p50_ms: float | None = None
    age_p99_ms: float | None = None


@dataclass(frozen=True)
class Device:
    """One look at a device.

    Attributes:
        host: as given to ssh.
        name: its host name.
        user: whom we are there.
        root: "self" (we are root), "sudo" (without a password), "password" (sudo asks for one), "absent".
        writable: the prefix, or the folder it would be made in, may be written without root.
        missing: commands that a deployment needs and that are not there.
        free_mb: on the file system of the prefix, 10^6 bytes.
        board: name in `deploy/boards`; "cpu" = no Jetson; "" = a Jetson that is in no table.
        title: the board in words.
        current: the release that runs; "" = none.
        previous: the one before it.
        releases: all that are there.
        serial: of the release that runs; "" = it has none.
        artifact: name of the artifact in it.
        installed_for: the board that it was made for.
        service: how it is doing.
        job: the last deployment or rollback, with its exit status or "unfinished".
    """

    host: str
    name: str
    user: str
    root: str
    writable: bool
    missing: tuple[str, ...]
    free_mb: float
    board: str
    title: str
    current: str
    previous: str
    releases: tuple[str, ...]
    serial: str
    artifact: str
    installed_for: str
    service: ServiceState
    job: str

    def to_json(self) -> dict[str, Any]:
        """The attributes by name."""
        return dataclasses.asdict(self)

    @property
    def running(self) -> str:
        """What it runs, in words."""
        if not self.current:
            return "nothing of ours is installed"
        state = f", service {self.service.state}" if self.service.state else ""
        return f"{self.current}{state}"


def look(connection: Connection, place: Place) -> Device:
    """Ask a device; nothing on it changes.

    Raises:
        ConnectionLostError: the connection broke.
        DeliveryError: what came back is no answer.
    """
    said = _Said()
    for line in connection.lines("probe", place.prefix, SERVICE if place.service else "none"):
        said.take(line)
    if said.last("end") != "probe":
        raise ConnectionLostError(f"{connection.host} broke off in the middle of its answer")
    try:
        return _device(connection.host, said)
    except (ValueError, KeyError) as error:
        raise DeliveryError(
            f"{connection.host} gives an answer that makes no sense",
            got=f"{type(error).__name__}: {error}",
            fix=f"ssh {connection.host} true     # does its login shell print anything by itself?",
        ) from error


class _Said:
    """The lines of the probe: words, files, what systemd says."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.unit: dict[str, str] = {}

    def take(self, line: str) -> None:
        key, _, value = line.partition(" ")
        if key == "file":
            path, _, content = value.partition(" ")
            try:
                self.files[path] = base64.b64decode(content, validate=True)
            except binascii.Error:
                return
        elif key == "unit":
            name, _, text = value.partition("=")
            self.unit[name] = printable(text)
        else:
            self.words[key] = printable(value.strip())

    def last(self, key: str) -> str:
        return self.words.get(key, "")

    def json(self, path: str) -> dict[str, Any]:
        """A JSON file; empty where it is absent or damaged: a broken release must not hide its device."""
        try:
            value = json.loads(self.files.get(path, b"{}"))
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def _device(host: str, said: _Said) -> Device:
    prefix = next((p.rpartition("/current/")[0] for p in said.files if "/current/" in p), "")
    release = said.json(f"{prefix}/current/release.json")
    board, title = _board(said.files)
    return Device(
        host=host,
        name=said.last("hostname"),
        user=said.words["user"],
        root=said.words["root"],
        writable=said.words["writable"] == "yes",
        missing=tuple(said.last("missing").split()),
        free_mb=int(said.words["free_kib"]) * 1024 / 1e6,
        board=board,
        title=title,
        current=said.last("current"),
        previous=said.last("previous"),
        releases=tuple(name for name in said.last("releases").split() if name != "*"),
        serial=printable(str(release.get("serial", ""))),
        artifact=printable(str(said.json(f"{prefix}/current/artifact/manifest.json").get("name", ""))),
        installed_for=printable(str(said.json(f"{prefix}/current/board.json").get("name", ""))),
        service=_service(said.unit),
        job=said.last("job"),
    )


def _board(files: dict[str, bytes]) -> tuple[str, str]:
    """Its board and its title, by the same tables that the device itself uses."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in files.items():
            if name.startswith(("/proc/device-tree/", "/sys/firmware/", "/etc/nv_tegra_release")):
                path = root / name.lstrip("/")
                # The device chooses the name: it stays below our folder.
                if ".." in Path(name).parts:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        found = jetson.detect(root)
    if found is None:
        return "cpu", "no Jetson"
    return found.board, printable(found.title)


def _service(unit: dict[str, str]) -> ServiceState:
    text = unit.get("StatusText", "")
    fps, age = _FPS.search(text), _AGE.search(text)
    restarts = unit.get("NRestarts", "")
    return ServiceState(
        state=unit.get("ActiveState", ""),
        restarts=int(restarts) if restarts.isdigit() else None,
        text=text,
        fps=float(fps.group(1)) if fps else None,
        age_p50_ms=float(age.group(1)) if age else None,
        age_p99_ms=float(age.group(2)) if age and age.group(2) else None,
    )
