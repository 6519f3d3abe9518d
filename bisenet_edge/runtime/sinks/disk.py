"""Free space and earlier outputs, looked at before they are lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bisenet_edge.errors import SinkError

# What a run leaves free: an MP4 still has to write its index, and a full root disk stops more than a video.
RESERVE_MB = 16


def check_space(path: Path) -> None:
    """Refuse to fill a disk: encoders do not always say that it is full. Takes about 2 microseconds.

    Raises:
        SinkError: less than `RESERVE_MB` are left beside `path`.
    """
    found = os.statvfs(path.parent)
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes < RESERVE_MB * 2**20:
        raise disk_full(path, f"{free_bytes / 2**20:.1f} MB left")


def disk_full(path: Path, reason: str) -> SinkError:
    """Build the error for an output that does not fit."""
    return SinkError(
        "the disk is full",
        got=f"{path}: {reason}",
        expected=f"at least {RESERVE_MB} MB left",
        fix=f"df -h {path.parent}",
    )


def set_aside(path: Path) -> None:
    """Add the time of its last change to the name of what stands at `path`.

    `overlay.mp4` becomes `overlay.20260131-120000.mp4`.
    """
    if not path.exists():
        return
    moment = time.strftime("%Y%m%d-%H%M%S", time.localtime(path.stat().st_mtime))
    aside, more = path.with_name(f"{path.stem}.{moment}{path.suffix}"), 2
    while aside.exists():
        aside = path.with_name(f"{path.stem}.{moment}-{more}{path.suffix}")
        more += 1
    path.rename(aside)
