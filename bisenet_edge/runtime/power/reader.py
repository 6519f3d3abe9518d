"""Power, temperature and clocks of this machine, from whatever it has to tell them.

Chosen in this order: jetson-stats, when its user has installed it and its service runs (it is AGPL-3.0, so
it is imported then and never before); the system's own files under /sys; NVIDIA's `tegrastats`; nothing.
What a machine does not tell is None, never 0.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Mapping, Optional, Tuple, Type

ROOT = Path("/")
TOTAL_RAILS = ("VIN", "VDD_IN", "POM_5V_IN")
"""Rails that feed all others, the outermost first: the whole board (Thor), the module (Orin NX and Nano)."""
_DIE = re.compile(r"(cpu|gpu|soc|cv|tj|x86_pkg)", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """One look at the sensors; None = not available.

    Attributes:
        power_mw: of the module, or of the CPU package on a PC.
        temperature_c: the hottest part of the chip.
        gpu_mhz: clock of the GPU.
        cpu_mhz: clock of the fastest CPU core.
        throttled: what has slowed the machine down by force since the reader was opened.
    """

    power_mw: Optional[float] = None
    temperature_c: Optional[float] = None
    gpu_mhz: Optional[float] = None
    cpu_mhz: Optional[float] = None
    throttled: Tuple[str, ...] = ()


class PowerReader:
    """Reads the sensors of this machine. This base class is the reader of a machine that tells nothing.

    Attributes:
        source: "jtop", "sysfs", "tegrastats" or "none".
        power_of: what the power is measured on ("VDD_IN", "GPU + CPU + SOC"); "" without power.
        mode: name of the power mode ("MAXN"); "" where there are none.
        clocks_locked: lowest and highest clock are the same (`jetson_clocks`); None = not available.
        period_s: shortest time after which the sensors say something new.
    """

    source = "none"
    power_of = ""
    mode = ""
    clocks_locked: Optional[bool] = None
    period_s = 0.1

    @staticmethod
    def open(root: Path = ROOT) -> PowerReader:
        """The best reader for this machine; never fails.

        Args:
            root: where /sys, /proc, /etc and /var are looked for. With another than "/" only files are
                read: the services and programs of this machine say nothing about that tree.
        """
        from bisenet_edge.runtime.power.jtop import open_jtop
        from bisenet_edge.runtime.power.sysfs import SysfsReader, Throttles
        from bisenet_edge.runtime.power.tegrastats import TegrastatsReader

        here = root == ROOT
        served = open_jtop(Throttles(root)) if here else None
        if served is not None:
            return served
        files = SysfsReader(root)
        program = shutil.which("tegrastats") if here and not files.power_of else None
        if program:
            return TegrastatsReader([program], Throttles(root))
        return files if files.tells_something else PowerReader()

    def read(self) -> Reading:
        """What the sensors say now; takes a few milliseconds at most."""
        return Reading()

    def latest(self) -> Tuple[Optional[float], Optional[float]]:
        """(temperature in degrees Celsius, power in mW), each None where it is not available.

        Cheap enough to be asked once a second beside a running pipeline.
        """
        reading = self.read()
        return reading.temperature_c, reading.power_mw

    def close(self) -> None:
        """End what the reader has started. May be called twice."""

    def __enter__(self) -> PowerReader:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


def total_rail(rails_mw: Mapping[str, float]) -> Tuple[str, Optional[float]]:
    """What a board draws, from what its rails draw: the rail that feeds all others, else their sum.

    The sum is what jetson-stats gives, too. Where a rail feeds another one (which no document says), it is
    an upper bound.

    Args:
        rails_mw: name -> power in mW; none is fine.

    Returns:
        (name of the rail, or the names joined by " + "; power in mW or None).
    """
    for name in TOTAL_RAILS:
        if name in rails_mw:
            return name, rails_mw[name]
    if not rails_mw:
        return "", None
    return " + ".join(rails_mw), sum(rails_mw.values())


def is_die(name: str) -> bool:
    """Whether a temperature of this name is one of the chip, not of a board, a disk or a radio."""
    return _DIE.match(name) is not None


def hottest(temperatures_c: Mapping[str, Optional[float]]) -> Optional[float]:
    """The highest temperature of the chip; a sensor that is switched off (-256) does not count."""
    known = [t for name, t in temperatures_c.items() if t is not None and t > -100 and is_die(name)]
    return max(known, default=None)
