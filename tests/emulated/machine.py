"""A Debian tree booted with its own systemd as PID 1, in namespaces: no virtual machine, no Docker."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from namespaces import in_namespaces

_GROUP = "bisenet-edge-test-"
_KINDS = ("--cgroup", "--mount", "--uts", "--ipc", "--net", "--pid")
# systemd wants a root that is a mount point, cgroups of its own, and the API file systems. /proc/sys and
# /sys stay read-only: the ids in there are those of the machine outside.
_ENTER = """
cd "$1"; shift
mount --bind . .
cd "$PWD"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/shm dev/pts
ln -s /proc/self/fd dev/fd
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
touch dev/console
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
while [ $# -gt 0 ]; do
    mkdir -p "./$2"
    mount --bind "$1" "./$2"
    shift 2
done
mkdir -p outside
pivot_root . outside
umount -l outside
cd /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
    --system --log-target=journal --log-level=info --show-status=no
"""
# What has no meaning without a screen, a network or devices; nothing of it belongs to what is tested.
_MASKED = (
    *("systemd-udevd", "systemd-udev-trigger", "systemd-logind", "getty@tty1", "console-getty", "fstrim"),
    *("systemd-networkd", "systemd-resolved", "systemd-timesyncd", "systemd-sysctl", "systemd-binfmt"),
    *("systemd-modules-load", "systemd-remount-fs", "e2scrub_reap", "systemd-pstore"),
)
_MASKED_TIMERS = ("apt-daily", "apt-daily-upgrade", "dpkg-db-backup", "e2scrub_all", "fstrim")


def make_bootable(tree: Path) -> None:
    """Configure a tree that was only unpacked, so that systemd boots it into multi-user.target."""
    units = tree / "etc/systemd/system"
    units.mkdir(parents=True, exist_ok=True)
    (tree / "etc/machine-id").write_text("")
    for names, kind in ((_MASKED, "service"), (_MASKED_TIMERS, "timer")):
        for name in names:
            (units / f"{name}.{kind}").symlink_to("/dev/null")
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")


def boot(
    tree: Path, cgroup2: Path, binds: Mapping[Path, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Boot a tree and wait until it powers off.

    Args:
        tree: its root.
        cgroup2: where this machine's unified hierarchy is mounted.
        binds: folder of this machine -> path in the tree.
        timeout_s: then it is killed.

    Returns:
        With what was written before systemd took over; then it writes to its journal.
    """
    for left in cgroup2.glob(f"{_GROUP}*"):
        # Of a run that was killed itself.
        if not Path(f"/proc/{left.name[len(_GROUP) :]}").exists():
            _remove(left)
    group = cgroup2 / f"{_GROUP}{os.getpid()}"
    words = [word for outside, inside in binds.items() for word in (str(outside), inside)]
    group.mkdir()
    try:
        return in_namespaces(
            _ENTER,
            str(tree),
            *words,
            kinds=_KINDS,
            prepare=f"echo $$ > '{group}/cgroup.procs'",
            timeout_s=timeout_s,
        )
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    # The kernel is not done with a killed PID 1 at once.
    for _ in range(100):
        for folder in sorted(group.rglob("*"), reverse=True):
            if folder.is_dir():
                folder.rmdir()
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.05)
    raise OSError(f"processes are left in {group}")
