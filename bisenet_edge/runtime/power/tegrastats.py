"""Power, temperature and clocks from `tegrastats`, the program that comes with every Jetson.

Its line differs between JetPack releases; the parts that are read here, as NVIDIA's guide lists them:

    CPU [1%@1190,off] GR3D_FREQ 14%@[407,407] cpu@45.5C gpu@-256C VDD_IN 3921mW/3921mW     (JetPack 5 to 7)
    CPU [1%@1190,off] GR3D_FREQ 14%@1377 GPU@45.5C GPU 305/305 CPU 457/457                 (older)
"""

from __future__ import annotations

import re
import subprocess
import threading
from dataclasses import replace
from typing import Dict, List, Optional, Sequence

from bisenet_edge.runtime.power.reader import PowerReader, Reading, hottest, total_rail
from bisenet_edge.runtime.power.sysfs import Throttles

INTERVAL_MS = 100
FIRST_LINE_S = 2.0
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?!\S)")
_TEMPERATURE = re.compile(r"(?<!\S)(\w+)@(-?[\d.]+)C(?!\S)")
_GPU = re.compile(r"GR3D_FREQ (?:\d+%)?@\[?([\d,]+)\]?")
_CORES = re.compile(r"CPU \[([^\]]*)\]")


def rails_mw(line: str) -> Dict[str, float]:
    """Name -> power in mW of one line; channels that are not connected are left out."""
    return {name: float(power) for name, power in _RAIL.findall(line) if name != "NC"}


def parse(line: str) -> Reading:
    """One line of `tegrastats`; what it does not hold is None."""
    temperatures_c: Dict[str, Optional[float]] = {n: float(t) for n, t in _TEMPERATURE.findall(line)}
    gpu, cores = _GPU.search(line), _CORES.search(line)
    gpu_mhz = [float(clock) for clock in gpu.group(1).split(",") if clock] if gpu else []
    cpu_mhz = [float(clock) for clock in re.findall(r"@(\d+)", cores.group(1))] if cores else []
    return Reading(
        power_mw=total_rail(rails_mw(line))[1],
        temperature_c=hottest(temperatures_c),
        gpu_mhz=max(gpu_mhz, default=0.0) or None,  # 0: switched off while idle
        cpu_mhz=max(cpu_mhz, default=None),
    )


class TegrastatsReader(PowerReader):
    """Keeps `tegrastats` running and holds its last line.

    Args:
        command: the program and what else stands in front of its own options.
        throttles: what is not in its line.
    """

    source = "tegrastats"
    period_s = INTERVAL_MS / 1e3

    def __init__(self, command: Sequence[str], throttles: Throttles) -> None:
        self._throttles = throttles
        self._last = Reading()
        self._told = threading.Event()
        words: List[str] = [*command, "--interval", str(INTERVAL_MS)]
        self._process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
        )
        self._thread = threading.Thread(target=self._follow, name="tegrastats", daemon=True)
        self._thread.start()
        self._told.wait(FIRST_LINE_S)

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not self._told.is_set():
                self.power_of = total_rail(rails_mw(line))[0]
            self._last = parse(line)
            self._told.set()
        # A program that has ended says nothing any more; its last line must not pass for the present.
        self._last = Reading()
        self._told.set()

    def read(self) -> Reading:
        return replace(self._last, throttled=self._throttles.seen())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()
