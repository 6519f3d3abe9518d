"""What these tests need of the machine; without it they are skipped, with the line that mends it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PACKAGE_OF = {
    "mmdebstrap": "mmdebstrap",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "qemu-aarch64-static": "qemu-user-static",
    "ssh-keygen": "openssh-client",
    "buildah": "buildah crun",
}
"""Program -> the Debian packages it comes with."""


def need_root(what: str) -> None:
    if os.geteuid() != 0:
        pytest.skip(f"{what} needs root: sudo make test-jetson")


def need_programs(*names: str) -> None:
    missing = [PACKAGE_OF[name] for name in names if shutil.which(name) is None]
    if missing:
        packages = " ".join(dict.fromkeys(missing))
        pytest.skip(f"sudo apt-get install -y --no-install-recommends {packages}")


def need_own_binfmt() -> None:
    """Linux 6.7 and newer give each user namespace a binfmt_misc of its own."""
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    if release < (6, 7):
        pytest.skip(f"aarch64 programs need Linux 6.7 or newer; this is {os.uname().release}")


def need_cgroup2() -> Path:
    """Where the unified cgroup hierarchy is mounted, writable."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(",") and os.access(folder, os.W_OK):
            return Path(folder)
    pytest.skip("a booted systemd needs a writable cgroup2: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
