"""Memory of the soak test: sampled once a second, its slope with a 95 % interval, and the picture of it.

Buffers are as large as the frames, so only seconds count in which frames had the first size, and had had it
for ten seconds; and the first sixth of the run is left out. The slope is that of a line through 20 block
medians (neighbouring seconds are not independent; blocks nearly are), the interval by Student's t. Flat: the
interval lies below 6 MB per hour. Less than ten minutes do not tell.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from soak_faults import SIZES_HW, CheckingSink

LIMIT_MB_PER_H = 6.0
LEAST_S = 600.0
BLOCKS = 20
T_95 = 2.101  # Student's t, two-sided, 18 degrees of freedom


class Memory(threading.Thread):
    """Samples the resident set of this process once a second, and the size of the frames."""

    def __init__(self, checking: CheckingSink) -> None:
        super().__init__(daemon=True)
        self._checking = checking
        self.sizes: list[tuple[int, int]] = []
        self.times_s: list[float] = []
        self.rss_mb: list[float] = []
        self.ended = threading.Event()

    def run(self) -> None:
        start_s, page = time.monotonic(), os.sysconf("SC_PAGE_SIZE")
        while not self.ended.wait(1.0):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.times_s.append(time.monotonic() - start_s)
            self.rss_mb.append(pages * page / 2**20)
            self.sizes.append(self._checking.size_hw)


def memory_slope(memory: Memory, seconds: float) -> dict[str, Any]:
    """Slope of the resident set in MB per hour, with its 95 % interval."""
    times_s, rss_mb = np.array(memory.times_s), np.array(memory.rss_mb)
    same = np.array([size == SIZES_HW[0] for size in memory.sizes])
    settled = np.array([bool(same[max(0, i - 10) : i + 1].all()) for i in range(len(same))])
    chosen = settled & (times_s > seconds / 6)
    if np.count_nonzero(chosen) < 2 * BLOCKS:
        return {
            "flat": None,
            "samples": int(np.count_nonzero(chosen)),
            "peak_mb": round(float(rss_mb.max()), 1),
        }
    hours, settled_mb = times_s[chosen] / 3600, rss_mb[chosen]
    blocks = np.array_split(np.arange(len(hours)), BLOCKS)
    x = np.array([np.median(hours[block]) for block in blocks])
    y = np.array([np.median(settled_mb[block]) for block in blocks])
    spread = np.sum((x - x.mean()) ** 2)
    slope = float(np.sum((x - x.mean()) * (y - y.mean())) / spread)
    rest = y - y.mean() - slope * (x - x.mean())
    half = T_95 * float(np.sqrt(np.sum(rest**2) / (BLOCKS - 2) / spread))
    low, high = slope - half, slope + half
    told = True if high < LIMIT_MB_PER_H else False if low > LIMIT_MB_PER_H else None
    return {
        "slope_mb_per_h": round(slope, 2),
        "interval_mb_per_h": [round(low, 2), round(high, 2)],
        "limit_mb_per_h": LIMIT_MB_PER_H,
        "first_mb": round(float(y[0]), 1),
        "last_mb": round(float(y[-1]), 1),
        "peak_mb": round(float(rss_mb.max()), 1),
        "samples": int(np.count_nonzero(chosen)),
        "flat": told if seconds >= LEAST_S else None,
    }


def describe(slope: dict[str, Any]) -> str:
    if "slope_mb_per_h" not in slope:
        return "too short to tell whether memory is flat"
    low, high = slope["interval_mb_per_h"]
    return f"memory {slope['slope_mb_per_h']:+.1f} MB per hour (95 %: {low:+.1f} to {high:+.1f})"


def draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    samples = result["samples"]
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
    above.plot(np.array(samples["time_s"]) / 60, samples["rss_mb"], lw=1)
    above.set_ylim(bottom=0)
    above.set_ylabel("resident set (MB)")
    above.set_title(f"{result['verdict']}: {describe(result['memory'])}", size=10)
    ages = samples["age_p50_ms"]
    below.plot(np.linspace(0, samples["time_s"][-1] / 60, len(ages)), ages, lw=1)
    below.set_ylim(bottom=0)
    below.set_ylabel("frame age p50 (ms)")
    below.set_xlabel("minutes")
    figure.savefig(path, dpi=110)
