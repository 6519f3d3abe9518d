"""What else runs on this machine, from /proc/stat: a burst that had to share the cores says nothing."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

PROC_STAT = Path("/proc/stat")
BUSY_FIELDS = ("user", "nice", "system", "irq", "softirq", "steal")
FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")


def busy_s(text: str, ticks_per_s: int) -> float:
    """CPU seconds of all cores that were not idle, since the machine was started.

    What a hypervisor took for other guests ("steal") counts too. "guest" is part of "user" already.

    Args:
        text: content of /proc/stat.
        ticks_per_s: `os.sysconf("SC_CLK_TCK")`.

    Raises:
        ValueError: no line for all cores together.
    """
    for line in text.splitlines():
        name, *values = line.split()
        if name == "cpu":
            ticks = dict(zip(FIELDS, map(int, values)))
            return sum(ticks.get(field, 0) for field in BUSY_FIELDS) / ticks_per_s
    raise ValueError("no line 'cpu' in /proc/stat")


@dataclass(frozen=True)
class Reading:
    """One look: wall clock, all cores' busy time, and this process's own."""

    wall_s: float
    busy_s: float
    own_s: float

    @classmethod
    def now(cls) -> Reading:
        busy = busy_s(PROC_STAT.read_text(encoding="ascii"), os.sysconf("SC_CLK_TCK"))
        return cls(time.perf_counter(), busy, time.process_time())


def foreign_share(before: Reading, after: Reading, worker_s: float, cores: int) -> float:
    """Share of the cores that neither the worker nor this process used: 0 = a calm machine.

    Args:
        before, after: around the burst.
        worker_s: CPU seconds of the one whose turn it was.
        cores: of the machine.
    """
    wall_s = after.wall_s - before.wall_s
    foreign_s = (after.busy_s - before.busy_s) - worker_s - (after.own_s - before.own_s)
    return max(0.0, foreign_s / (wall_s * cores))
