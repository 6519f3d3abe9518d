"""Memory, swap and disk. The limits are our choice: building an engine needs more than running it."""

from __future__ import annotations

import shutil
from typing import List

from bisenet_edge.runtime.doctor.check import OK, PROBLEM, UNKNOWN, WARNING, Check
from bisenet_edge.runtime.doctor.subject import Subject

RUN_MB, BUILD_MB = 256, 1024
"""Free memory below which the service will not start, or building an engine may fail. The CPU runtime was
measured to need 178 MB at 640x360; what TensorRT needs is not measured on a Jetson."""
DISK_PROBLEM_MB, DISK_WARNING_MB = 256, 2048
"""Free disk: an artifact with its engines takes under 100 MB; a log or a video the rest."""
SMALL_MB = 8 * 1024
"""Machines with less memory than this are short of it while an engine is built."""

_MAKE_SWAP = (
    "sudo fallocate -l 4G /swapfile && sudo chmod 600 /swapfile "
    "&& sudo mkswap /swapfile && sudo swapon /swapfile"
)


def room_checks(subject: Subject) -> List[Check]:
    """Memory, swap, disk."""
    return [_memory(subject), _swap(subject), _disk(subject)]


def _memory(subject: Subject) -> Check:
    name = "memory"
    total, free = _meminfo_mb(subject, "MemTotal"), _meminfo_mb(subject, "MemAvailable")
    if total < 0 or free < 0:
        return Check(name, UNKNOWN, "no /proc/meminfo")
    found = f"{free} of {total} MB available"
    # The desktop of a Jetson takes more than everything else.
    remedy = "sudo systemctl isolate multi-user.target" if subject.jetson else "ps aux --sort=-rss | head"
    if free < RUN_MB:
        return Check(name, PROBLEM, f"{found}, {RUN_MB} are needed", remedy)
    if free < BUILD_MB:
        return Check(name, WARNING, f"{found}: little for building an engine", remedy)
    return Check(name, OK, found)


def _swap(subject: Subject) -> Check:
    name = "swap"
    swap, total = _meminfo_mb(subject, "SwapTotal"), _meminfo_mb(subject, "MemTotal")
    if swap < 0 or total < 0:
        return Check(name, UNKNOWN, "no /proc/meminfo")
    if swap == 0 and subject.jetson and total < SMALL_MB:
        return Check(name, WARNING, f"none beside {total} MB of memory", _MAKE_SWAP)
    return Check(name, OK, f"{swap} MB" if swap else "none")


def _disk(subject: Subject) -> Check:
    name = "disk"
    here = subject.here
    free_mb = here.disk_free_mb if here else shutil.disk_usage(str(subject.files.root)).free // 2**20
    found = f"{free_mb} MB free"
    remedy = "sudo apt-get clean && df -h ."
    if free_mb < DISK_PROBLEM_MB:
        return Check(name, PROBLEM, f"{found}, {DISK_PROBLEM_MB} are needed", remedy)
    if free_mb < DISK_WARNING_MB:
        return Check(name, WARNING, found, remedy)
    return Check(name, OK, found)


def _meminfo_mb(subject: Subject, key: str) -> int:
    """A line of /proc/meminfo in MB (2^20 bytes); -1 where it is not there."""
    for line in subject.files.text("/proc/meminfo").splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[0] == key and words[1].isdigit():
            return int(words[1]) // 1024
    return -1
