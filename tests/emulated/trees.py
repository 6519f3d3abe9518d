"""Debian trees and the wheels in them: made once, kept in the user's cache, copied for each use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from namespaces import REGISTER_QEMU, in_namespaces

MIRROR = os.environ.get("DEBIAN_URI", "http://deb.debian.org/debian")
SUITE = "bookworm"
PYTHON = "3.11"
"""What that suite has: between JetPack 6 (3.10) and JetPack 7 (3.12)."""
SITE = f"/usr/local/lib/python{PYTHON}/dist-packages"
"""Where Debian's Python finds what was installed beside its own packages."""

_BASE = (
    "bash,dash,base-files,base-passwd,passwd,coreutils,util-linux,mount,findutils,grep,sed,tar,gzip,procps,"
    "openssh-client,libc-bin"
)
_PYTHON = "python3,python3-minimal,libstdc++6"
_SYSTEMD = "systemd,systemd-sysv,login,libnss-systemd,libpam-systemd,dbus,dbus-daemon"
PLAIN = f"{_BASE},{_PYTHON}"
BOOTABLE = f"{_BASE},{_PYTHON},{_SYSTEMD}"
BASE_IMAGE = "ca-certificates"
"""For `variant="apt"`: a tree in which apt-get works, as in a base image."""

# Newest first: pip takes a wheel of any of them, and the suite's glibc is 2.36.
_MANYLINUX = ("2_35", "2_34", "2_31", "2_28", "2_27", "2_17", "2014")


def cache_folder() -> Path:
    """Where trees and wheels are kept; BISENET_EDGE_TEST_CACHE moves it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("BISENET_EDGE_TEST_CACHE") or Path(base) / "bisenet-edge-tests")


@dataclass(frozen=True)
class Made:
    """A folder in the cache that appears when it is whole."""

    path: Path

    @classmethod
    def by(cls, name: str, *words: str) -> Made:
        digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
        return cls(cache_folder() / f"{name}-{digest}")

    def with_command(self, command: Sequence[str], target: Path, emulated: bool = False) -> Path:
        """Run `command`, which makes `target`, unless that was done before.

        Args:
            command: a program and its words.
            target: folder that it makes; renamed when it is whole.
            emulated: it runs ARM programs.
        """
        if not self.path.is_dir():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            if emulated:
                done = in_namespaces(f'{REGISTER_QEMU}exec "$@"', *command, timeout_s=1200)
            else:
                done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode:
                shutil.rmtree(target, ignore_errors=True)
                raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
            target.rename(self.path)
        return self.path


def debian_tree(arch: str, packages: str, variant: str = "extract") -> Path:
    """A tree of packages that are unpacked and, but with another variant, not configured: do not change it.

    Args:
        arch: "amd64" or "arm64".
        packages: names with commas between them.
        variant: of mmdebstrap(1); "extract" runs nothing of `arch`.
    """
    made = Made.by(f"{SUITE}-{arch}-{variant}", packages)
    making = made.path.with_name(f".{made.path.name}.{os.getpid()}")
    command = ["mmdebstrap", "--mode=root", "--quiet", f"--arch={arch}", f"--variant={variant}"]
    emulated = arch == "arm64" and variant != "extract"
    if emulated:
        command.append("--skip=check/qemu")  # it would look for QEMU in the binfmt_misc of this machine
    command += [f"--include={packages}", SUITE, str(making), MIRROR]
    return made.with_command(command, making, emulated)


def wheels(machine: str, *packages: str) -> Path:
    """Packages of PyPI for the suite's Python on "x86_64" or "aarch64", unpacked in one folder."""
    made = Made.by(f"wheels-{machine}-cp{PYTHON}", *packages)
    making = made.path.with_name(f".{made.path.name}.{os.getpid()}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", PYTHON, "--target", str(making)]
    for version in _MANYLINUX:
        separator = "" if version == "2014" else "_"
        command += ["--platform", f"manylinux{separator}{version}_{machine}"]
    return made.with_command([*command, *packages], making)


def copy_of(tree: Path, target: Path) -> Path:
    """A copy that may be changed: owners, modes and links as they are."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(tree), str(target)], check=True)
    return target


def with_users(tree: Path) -> Path:
    """Give a tree that was only unpacked what its maintainer scripts would have: users, groups, hosts."""
    etc = tree / "etc"
    share = tree / "usr/share/base-passwd"
    if not (etc / "passwd").exists():
        shutil.copy(share / "passwd.master", etc / "passwd")
        shutil.copy(share / "group.master", etc / "group")
        # A package of its own makes each of these groups.
        extra = ("messagebus", "systemd-journal", "render", "input", "kvm", "sgx")
        with (etc / "group").open("a") as file:
            file.writelines(f"{name}:x:{900 + number}:\n" for number, name in enumerate(extra))
        with (etc / "passwd").open("a") as file:
            file.write("messagebus:x:900:900::/nonexistent:/usr/sbin/nologin\n")
    (etc / "nsswitch.conf").write_text("passwd: files systemd\ngroup: files systemd\nhosts: files\n")
    (etc / "hosts").write_text("127.0.0.1 localhost jetson\n")
    (etc / "hostname").write_text("jetson\n")
    if not (tree / "lib64").exists() and (tree / "usr/lib64").exists():
        (tree / "lib64").symlink_to("usr/lib64")
    return tree
