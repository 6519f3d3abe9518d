"""The bundle: one tar.gz that a device checks, unpacks, tests and installs, without pip and without torch.

    NAME/release.json          board, artifact, contract, calibration, accuracy, licences, serial
    NAME/bisenet-edge.pyz      device command line and runtime, one zip that Python runs
    NAME/artifact/...          the artifact, with as many golden frames as are small
    NAME/board.json            the board file (a device with Python 3.8 reads no TOML)
    NAME/install.sh, service.sh, verify-and-install.sh, bisenet-edge.service, bisenet-edge.env
    NAME/sbom.cdx.json, LICENSE, README.txt
    NAME/SHA256SUMS            of all of these

The same artifact, board and version give the same bytes, on any day and under any user.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from bisenet_edge import __version__
from bisenet_edge.artifact import MANIFEST, Artifact, Manifest, check_name, file_sha256
from bisenet_edge.boards import Board
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.resources import data_folder, licence_file, replace_when_written
from bisenet_edge.runtime.backends import PACKAGES
from bisenet_edge.runtime.selftest import GOLDEN
from bisenet_edge.toolchain.pyz import build_pyz, pyz_members
from bisenet_edge.toolchain.release import RELEASE, made_at, release_json
from bisenet_edge.toolchain.sbom import SBOM, bill

PYZ = "bisenet-edge.pyz"
SUMS = "SHA256SUMS"
VERIFIER = "verify-and-install.sh"
GOLDEN_BYTES = 450_000
"""Golden frames that a bundle carries: as many as fit in here, and one at least. Every frame has hundreds of
thousands of pixels to compare; without the model a bundle of 640x360 stays below 1 MB."""
_INSTALLER = ("service.sh", VERIFIER, "bisenet-edge.service", "bisenet-edge.env")
# GNU tar warns of times before 1980.
_TAR_TIME_S = 315532800

Content = bytes | Path
"""Of a file in the bundle: the bytes, or the file that holds them."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        path: the tar.gz.
        verifier: the script that checks and installs it on a device, beside it.
        name: the one folder in it.
        serial: by which a device tells old from new.
        board: name of the board it was made for.
        artifact: name of the artifact in it.
        sha256: of the tar.gz.
        size_bytes: of the tar.gz.
        part_bytes: part -> bytes, unpacked.
        files: paths in the folder, in their order in the archive.
    """

    path: Path
    verifier: Path
    name: str
    serial: str
    board: str
    artifact: str
    sha256: str
    size_bytes: int
    part_bytes: dict[str, int]
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "path": str(self.path),
            "verifier": str(self.verifier),
            "files": list(self.files),
        }


def make_bundle(artifact: Artifact, board: Board, out: Path, progress: Progress = quiet) -> Bundle:
    """Pack an artifact for a board.

    Args:
        artifact: what to deploy; verified again.
        board: where to.
        out: folder for the tar.gz; made if it is missing. A bundle of the same name is replaced, and its
            signature, which would not fit any more, removed.
        progress: told of each file packed.

    Raises:
        ArtifactError: a file of the artifact is missing or changed, or it does not tell its time.
        UsageError: the artifact's name is none that a file may have, or SOURCE_DATE_EPOCH is no number.
        SinkError: `out` cannot be written.
    """
    artifact.verify()
    check_name(artifact.manifest.name)
    name = f"bisenet-edge-{board.name}-{artifact.manifest.name}"
    manifest = device_manifest(artifact)
    files = _bundle_files(artifact, manifest, board, name)
    release = json.loads(_bytes(files[RELEASE]))
    path = out / f"{name}.tar.gz"
    with replace_when_written(path) as temporary:
        with temporary.open("wb") as file:
            _write_tar(file, name, files, progress)
        path.with_name(f"{path.name}.sig").unlink(missing_ok=True)
    verifier = out / VERIFIER
    with replace_when_written(verifier) as temporary:
        temporary.write_bytes(_bytes(files[VERIFIER]))
        temporary.chmod(0o755)
    return Bundle(
        path=path,
        verifier=verifier,
        name=name,
        serial=release["serial"],
        board=board.name,
        artifact=manifest.name,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        part_bytes=_part_bytes(files),
        files=tuple(_in_order(files)),
    )


def device_manifest(artifact: Artifact) -> Manifest:
    """An artifact's manifest as it goes to a device."""
    files, frames_bytes = dict(artifact.manifest.files), 0
    count = sum(bool(re.fullmatch(rf"{GOLDEN}/frame-\d+\.png", file)) for file in files)
    for number in range(count):
        names = [file for file in files if re.fullmatch(rf"{GOLDEN}/(frame|mask\.[^/]*)-{number}\.png", file)]
        frames_bytes += sum((artifact.path / file).stat().st_size for file in names)
        if number and frames_bytes > GOLDEN_BYTES:
            for file in names:
                del files[file]
    # What runs by default was chosen by timing on the machine that exported; the device is another one.
    return replace(artifact.manifest, files=files, runs=artifact.manifest.precision)


def _bundle_files(artifact: Artifact, manifest: Manifest, board: Board, name: str) -> dict[str, Content]:
    """Path in the bundle -> its content."""
    deploy = data_folder("deploy")
    words = {"BUNDLE": name, "ENGINES": " ".join(sorted(PACKAGES.values())), "BOARD": board.title}
    modules = pyz_members()
    files: dict[str, Content] = {
        PYZ: build_pyz(modules),
        "install.sh": _filled(deploy / "install.sh.in", words),
        "README.txt": _filled(deploy / "bundle-readme.txt.in", words),
        "LICENSE": licence_file(),
        "board.json": _json({**board.to_json(), "made_by": __version__}),
        f"artifact/{MANIFEST}": _json(manifest.to_json()),
        **{script: deploy / script for script in _INSTALLER},
        # Only what the manifest lists: whatever else lies in the folder has no hash to be checked against.
        **{f"artifact/{relative}": artifact.path / relative for relative in manifest.files},
    }
    made = made_at(manifest)
    digests = {path: _sha256(content) for path, content in files.items()}
    # For programs only, and a third of the size without indentation.
    files[SBOM] = json.dumps(bill(name, manifest, made, modules, digests), separators=(",", ":")).encode()
    files[RELEASE] = _json(release_json(name, board, manifest, made, _part_bytes(files)))
    files[SUMS] = "".join(f"{_sha256(files[path])}  {path}\n" for path in sorted(files)).encode()
    return files


def _part_bytes(files: dict[str, Content]) -> dict[str, int]:
    """Part -> bytes, unpacked."""
    sizes = dict.fromkeys(("program", "model", "golden frames", "installer", "papers"), 0)
    for path, content in files.items():
        sizes[_part(path)] += len(content) if isinstance(content, bytes) else content.stat().st_size
    return sizes


def _part(path: str) -> str:
    if path == PYZ:
        return "program"
    if path.startswith(f"artifact/{GOLDEN}/"):
        return "golden frames"
    if path.endswith(".onnx"):
        return "model"
    return "installer" if path in (*_INSTALLER, "install.sh", "board.json") else "papers"


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _bytes(content: Content) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _sha256(content: Content) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_sha256(content)


def _filled(template: Path, words: dict[str, str]) -> bytes:
    text = template.read_text(encoding="utf-8")
    for key, value in words.items():
        text = text.replace(f"@{key}@", value)
    return text.encode()


def _in_order(files: dict[str, Content]) -> list[str]:
    # First what says what it is: a device reads that before all else.
    return sorted(files, key=lambda path: (path != RELEASE, path))


def _write_tar(file: BinaryIO, folder: str, files: dict[str, Content], progress: Progress) -> None:
    # GzipFile would write the file's name and the time into its header.
    packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    with packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for done, name in enumerate(_in_order(files), start=1):
            _add(archive, f"{folder}/{name}", files[name])
            progress("packing", done, len(files))


def _add(archive: tarfile.TarFile, name: str, content: Content) -> None:
    # A fresh TarInfo has user 0 and no names: nothing of the machine that packs it.
    info = tarfile.TarInfo(name)
    info.mtime = _TAR_TIME_S
    info.mode = 0o755 if name.endswith((f"/{PYZ}", "/install.sh", f"/{VERIFIER}")) else 0o644
    data = _bytes(content)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
