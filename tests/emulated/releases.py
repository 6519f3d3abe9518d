"""Variants of a bundle, packed and signed by hand: what a device must take, and what it must take back."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

PYZ = "bisenet-edge.pyz"
# Only the service fails: the installer's own calls, without systemd, go well.
CRASHES = """import os, sys
if 'NOTIFY_SOCKET' in os.environ:
    sys.exit('this release is broken')
"""
SILENT = """import os, socket, time
if 'NOTIFY_SOCKET' in os.environ:
    address = os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', address)
    time.sleep(3600)
"""
"""Says that it is ready and delivers nothing."""


def variant(release: Path, folder: Path, *, program: str = "", readme: str = "") -> Path:
    """A copy of an unpacked bundle that differs; its SHA256SUMS fit.

    Args:
        release: unpacked bundle.
        folder: where the copy goes, under the same name.
        program: Python that runs before the device program does.
        readme: instead of the one in it.
    """
    copy = folder / release.name
    shutil.copytree(release, copy)
    if readme:
        (copy / "README.txt").write_text(readme)
    if program:
        with zipfile.ZipFile(copy / PYZ) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members["__main__.py"] = program.encode() + members["__main__.py"]
        with zipfile.ZipFile(copy / PYZ, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    sums = copy / "SHA256SUMS"
    names = [line.split("  ", 1)[1] for line in sums.read_text().splitlines()]
    digests = [hashlib.sha256((copy / name).read_bytes()).hexdigest() for name in names]
    sums.write_text("".join(f"{digest}  {name}\n" for digest, name in zip(digests, names)))
    return copy


def make_key(folder: Path) -> Path:
    """An Ed25519 key without a password; `trusted_signers`, for a device, lies beside it."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text()
    (folder / "trusted_signers").write_text(f'tester namespaces="bisenet-edge" {public}')
    return key


def pack(release: Path, packed: Path, key: Path) -> None:
    """Write `packed` (NAME.tar.gz) and its signature."""
    with tarfile.open(packed, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(release.rglob("*")):
            if path.is_file():
                name = f"{release.name}/{path.relative_to(release)}"
                info = archive.gettarinfo(str(path), name)
                info.mode = 0o755 if path.name in (PYZ, "install.sh") else 0o644
                with path.open("rb") as file:
                    archive.addfile(info, file)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "bisenet-edge", str(packed)]
    subprocess.run(command, check=True, capture_output=True)
