"""The bundle: one tar.gz that a device unpacks, tests and installs, without pip and without torch.

    NAME/bisenet-edge.pyz      device command line and runtime, one zip that Python runs
    NAME/artifact/...          the artifact, unchanged
    NAME/board.json            the board file (a device with Python 3.8 reads no TOML)
    NAME/install.sh, bisenet-edge.service, README.txt
    NAME/SHA256SUMS            of all of these

The same artifact, board and version give the same bytes, on any day and under any user.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from bisenet_edge import __version__
from bisenet_edge.artifact import MANIFEST, Artifact, file_sha256
from bisenet_edge.boards import Board
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.resources import data_folder, replace_when_written
from bisenet_edge.runtime.backends import PACKAGES

PYZ = "bisenet-edge.pyz"
SUMS = "SHA256SUMS"
# Zip knows no year before 1980, and GNU tar warns of times before that.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_TAR_TIME_S = 315532800
_PYZ_MAIN = "import sys\n\nfrom bisenet_edge.cli.device import main\n\nsys.exit(main())\n"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        path: the tar.gz.
        name: the one folder in it.
        board: name of the board it was made for.
        artifact: name of the artifact in it.
        sha256: of the tar.gz.
        size_bytes: of the tar.gz.
        files: paths in the folder, sorted.
    """

    path: Path
    name: str
    board: str
    artifact: str
    sha256: str
    size_bytes: int
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "files": list(self.files)}


def make_bundle(artifact: Artifact, board: Board, out: Path, progress: Progress = quiet) -> Bundle:
    """Pack an artifact for a board.

    Args:
        artifact: what to deploy; verified again.
        board: where to.
        out: folder for the tar.gz; made if it is missing. A bundle of the same name is replaced.
        progress: told of each file packed.

    Raises:
        ArtifactError: a file of the artifact is missing or changed.
        SinkError: `out` cannot be written.
    """
    artifact.verify()
    name = f"bisenet-edge-{board.name}-{artifact.manifest.name}"
    files = _bundle_files(artifact, board, name)
    files[SUMS] = _sums(files)
    path = out / f"{name}.tar.gz"
    with replace_when_written(path) as temporary, temporary.open("wb") as file:
        _write_tar(file, name, files, progress)
    return Bundle(
        path=path,
        name=name,
        board=board.name,
        artifact=artifact.manifest.name,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        files=tuple(sorted(files)),
    )


def build_pyz() -> bytes:
    """The device program: root nouns, runtime and the device command line; the same bytes every time."""
    package = Path(__file__).resolve().parent.parent
    members = {f"bisenet_edge/{p.name}": p.read_bytes() for p in package.glob("*.py")}
    for path in (package / "runtime").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            members[f"bisenet_edge/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    # The full command line imports click; the device has its own, and an empty package around it.
    members["bisenet_edge/cli/__init__.py"] = b""
    members.update(
        {f"bisenet_edge/cli/{p.name}": p.read_bytes() for p in (package / "cli").glob("device*.py")}
    )
    members["__main__.py"] = _PYZ_MAIN.encode()
    buffer = io.BytesIO(b"#!/usr/bin/env python3\n")
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()


def _bundle_files(artifact: Artifact, board: Board, name: str) -> dict[str, bytes | Path]:
    """Path in the bundle -> its content, or the file that holds it."""
    deploy = data_folder("deploy")
    words = {"BUNDLE": name, "ENGINES": " ".join(sorted(PACKAGES.values())), "BOARD": board.title}
    files: dict[str, bytes | Path] = {
        PYZ: build_pyz(),
        "install.sh": _filled(deploy / "install.sh.in", words),
        "README.txt": _filled(deploy / "bundle-readme.txt.in", words),
        "bisenet-edge.service": deploy / "bisenet-edge.service",
        "board.json": (json.dumps({**board.to_json(), "made_by": __version__}, indent=2) + "\n").encode(),
        f"artifact/{MANIFEST}": _manifest_of(artifact),
    }
    # Only what the manifest lists: whatever else lies in the folder has no hash to be checked against.
    for relative in artifact.manifest.files:
        files[f"artifact/{relative}"] = artifact.path / relative
    return files


def _manifest_of(artifact: Artifact) -> bytes:
    # What runs by default was chosen by timing on the machine that exported; the device is another one.
    manifest = replace(artifact.manifest, runs=artifact.manifest.precision)
    return (json.dumps(manifest.to_json(), indent=2) + "\n").encode()


def _filled(template: Path, words: dict[str, str]) -> bytes:
    text = template.read_text(encoding="utf-8")
    for key, value in words.items():
        text = text.replace(f"@{key}@", value)
    return text.encode()


def _sums(files: dict[str, bytes | Path]) -> bytes:
    lines = []
    for name in sorted(files):
        content = files[name]
        digest = file_sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        lines.append(f"{digest}  {name}\n")
    return "".join(lines).encode()


def _write_tar(file: BinaryIO, folder: str, files: dict[str, bytes | Path], progress: Progress) -> None:
    # GzipFile would write the file's name and the time into its header.
    packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    with packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for done, name in enumerate(sorted(files), start=1):
            _add(archive, f"{folder}/{name}", files[name])
            progress("packing", done, len(files))


def _add(archive: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    # A fresh TarInfo has user 0 and no names: nothing of the machine that packs it.
    info = tarfile.TarInfo(name)
    info.mtime = _TAR_TIME_S
    info.mode = 0o755 if name.endswith((f"/{PYZ}", "/install.sh")) else 0o644
    data = content.read_bytes() if isinstance(content, Path) else content
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
