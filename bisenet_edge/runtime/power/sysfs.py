"""Power, temperature and clocks from the files of the Linux kernel, on a Jetson or a PC.

Jetson: INA3221 and INA238 monitors (hwmon), thermal zones, devfreq, cpufreq, nvpmodel's files. PC: RAPL
(readable by root on most systems), coretemp or k10temp, cpufreq. Sources: the kernel's documentation of the
hwmon, thermal, devfreq, cpufreq and powercap classes, and the power chapters of NVIDIA's Jetson Linux guide.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from bisenet_edge.runtime.power.reader import PowerReader, Reading, hottest, is_die, total_rail
from bisenet_edge.runtime.sysroot import Sysroot

_GPU_CLOCK = re.compile(r"gpu-gpc-\d+|.*\.(gpu|ga10b|gv11b|gp10b)")  # Thor; Orin and older
_DIE_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_THROTTLES = re.compile(r".*throttle-alert|(thermal-)?(cpufreq|devfreq)-.*|Processor")
_NO_RAIL = ("", "NC", "sum of shunt voltages")
RAPL_PERIOD_S = 0.01  # the counters move every millisecond: much less is no power, only noise
MAX_CORES_READ = 16
"""Clocks of more cores than this are not read: they say nothing new, and each costs a file."""


@dataclass(frozen=True)
class _Rail:
    """One channel of a power monitor: power in uW, or voltage in mV and current in mA."""

    name: str
    power: Path
    voltage: Path
    current: Path

    def power_mw(self) -> Optional[float]:
        power_uw = _integer(self.power)
        if power_uw is not None:
            return power_uw / 1e3
        voltage_mv, current_ma = _integer(self.voltage), _integer(self.current)
        return None if voltage_mv is None or current_ma is None else voltage_mv * current_ma / 1e3


class SysfsReader(PowerReader):
    """Reads /sys, /proc, /etc and /var under `root`.

    Attributes:
        tells_something: there is power, a temperature or a clock.
    """

    source = "sysfs"

    def __init__(self, root: Path, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._rails = _find_rails(root)
        self._rapl = _Rapl(root, clock_ns)
        self._temperatures = _find_temperatures(root)
        self._gpu_clock = next((p for p in _glob(root, "sys/class/devfreq/*") if _is_gpu(p)), None)
        policies = _glob(root, "sys/devices/system/cpu/cpufreq/policy*")
        self._cpu_clocks = [p / "scaling_cur_freq" for p in policies[:MAX_CORES_READ]]
        self._cpuinfo = root / "proc/cpuinfo"
        self._throttles = Throttles(root)
        self.mode = _power_mode(root)
        self.clocks_locked = _locked(self._gpu_clock, policies)
        names = [rail.name for rail in self._rails if rail.power_mw() is not None]
        self.power_of = total_rail(dict.fromkeys(names, 0.0))[0] or self._rapl.name
        told = self.read()
        self.tells_something = bool(self.power_of) or told != Reading(throttled=told.throttled)

    def read(self) -> Reading:
        temperature_c, power_mw = self.latest()
        gpu_hz = _integer(self._gpu_clock / "cur_freq") if self._gpu_clock else None
        # A GPU that is switched off while idle says 0.
        gpu_mhz = gpu_hz / 1e6 if gpu_hz else None
        return Reading(power_mw, temperature_c, gpu_mhz, self._cpu_mhz(), self._throttles.seen())

    def latest(self) -> Tuple[Optional[float], Optional[float]]:
        rails_mw = {rail.name: rail.power_mw() for rail in self._rails}
        told = {name: power for name, power in rails_mw.items() if power is not None}
        power_mw = total_rail(told)[1] if self._rails else self._rapl.power_mw()
        millidegrees = [(name, _integer(path)) for name, path in self._temperatures]
        degrees: Dict[str, Optional[float]] = {
            f"{name} {number}": None if value is None else value / 1e3
            for number, (name, value) in enumerate(millidegrees)
        }
        return hottest(degrees), power_mw

    def _cpu_mhz(self) -> Optional[float]:
        clocks_khz = [value for value in map(_integer, self._cpu_clocks) if value]
        if clocks_khz:
            return max(clocks_khz) / 1e3
        text = _text(self._cpuinfo)
        # A virtual machine's figure is a constant that has nothing to do with the clock.
        if re.search(r"^flags\s*:.*\bhypervisor\b", text, re.MULTILINE):
            return None
        cores_mhz = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", text, re.MULTILINE)]
        return max(cores_mhz, default=None)


class _Rapl:
    """Energy counters of Intel and AMD CPU packages; power is what they gained between two calls."""

    def __init__(self, root: Path, clock_ns: Callable[[], int]) -> None:
        zones = [p for p in _glob(root, "sys/class/powercap/intel-rapl:*") if p.name.count(":") == 1]
        packages = [p for p in zones if _text(p / "name").startswith("package")]
        self._counters = [(p / "energy_uj", _integer(p / "max_energy_range_uj") or 0) for p in packages]
        self._clock_ns = clock_ns
        self._energies_uj = [_integer(path) for path, _ in self._counters]
        self._at_ns = clock_ns()
        self._last_mw: Optional[float] = None
        readable = bool(packages) and None not in self._energies_uj
        self.name = "CPU package (RAPL)" if readable else ""

    def power_mw(self) -> Optional[float]:
        """Mean power since the last call, or since the reader was made; None until a counter has moved."""
        passed_s = (self._clock_ns() - self._at_ns) / 1e9
        if not self.name or passed_s < RAPL_PERIOD_S:
            return self._last_mw
        energies_uj, before_uj = [_integer(path) for path, _ in self._counters], self._energies_uj
        self._at_ns += round(passed_s * 1e9)
        self._energies_uj = energies_uj
        gained_uj = 0
        for (_, span_uj), now_uj, then_uj in zip(self._counters, energies_uj, before_uj):
            if now_uj is None or then_uj is None:
                return None
            # The counter starts again at 0 behind its range.
            gained_uj += now_uj - then_uj + (span_uj if now_uj < then_uj else 0)
        self._last_mw = gained_uj / passed_s / 1e3
        return self._last_mw


class Throttles:
    """What slows the machine down by force: cooling devices at work, and counters that have gone up."""

    def __init__(self, root: Path) -> None:
        devices = [
            (_text(p / "type"), p / "cur_state") for p in _glob(root, "sys/class/thermal/cooling_device*")
        ]
        self._devices = [(kind, path) for kind, path in devices if _THROTTLES.fullmatch(kind)]
        counters = [
            (
                "CPU package too hot",
                root / "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count",
            ),
            *[(f"over-current {p.name[:3]}", p) for p in _glob(root, "sys/class/hwmon/hwmon*/oc*_event_cnt")],
        ]
        self._counters = [(name, path, _integer(path)) for name, path in counters]
        self._seen: Dict[str, None] = {}

    def seen(self) -> Tuple[str, ...]:
        """Everything seen in this call or an earlier one."""
        for name, path in self._devices:
            if (_integer(path) or 0) > 0:
                self._seen[name] = None
        for name, path, before in self._counters:
            if before is not None and (_integer(path) or 0) > before:
                self._seen[name] = None
        return tuple(self._seen)


def _find_rails(root: Path) -> List[_Rail]:
    rails = []
    for chip in _glob(root, "sys/class/hwmon/hwmon*"):
        driver = _text(chip / "name")
        if driver == "ina238":
            # On Thor it stands in the board's supply line; it has no label.
            rails.append(_Rail("VIN", chip / "power1_input", chip / "in1_input", chip / "curr1_input"))
        elif driver.startswith("ina"):
            for label in sorted(chip.glob("in*_label")):
                number = label.name[len("in") : -len("_label")]
                name, on = _text(label), _integer(chip / f"in{number}_enable") != 0
                if name not in _NO_RAIL and on:
                    files = [f"power{number}_input", f"in{number}_input", f"curr{number}_input"]
                    rails.append(_Rail(name, *[chip / file for file in files]))
    return rails


def _find_temperatures(root: Path) -> List[Tuple[str, Path]]:
    """(name, file of millidegrees) of the sensors in the chip."""
    zones = [(_text(p / "type"), p / "temp") for p in _glob(root, "sys/class/thermal/thermal_zone*")]
    chips = [p for p in _glob(root, "sys/class/hwmon/hwmon*") if _text(p / "name") in _DIE_CHIPS]
    return [
        *[(name, path) for name, path in zones if is_die(name)],
        *[("cpu", path) for chip in chips for path in sorted(chip.glob("temp*_input"))],
    ]


def _is_gpu(device: Path) -> bool:
    return _GPU_CLOCK.fullmatch(device.name) is not None


def _locked(gpu_clock: Optional[Path], policies: Sequence[Path]) -> Optional[bool]:
    """Lowest and highest clock are the same, on the GPU and every CPU core; None = no clock is told."""
    limits = [(p / "scaling_min_freq", p / "scaling_max_freq") for p in policies]
    if gpu_clock:
        limits.append((gpu_clock / "min_freq", gpu_clock / "max_freq"))
    known = [(low, high) for low, high in ((_integer(a), _integer(b)) for a, b in limits) if low and high]
    return all(low == high for low, high in known) if known else None


def _power_mode(root: Path) -> str:
    """Name of nvpmodel's current mode: the status file holds its number, the configuration the names."""
    files = Sysroot(root)  # the configuration is a link to the board's own
    number = re.search(r"pmode:\s*(\d+)", files.text("/var/lib/nvpmodel/status"))
    if not number:
        return ""
    modes = re.findall(
        r"<\s*POWER_MODEL\s+ID\s*=\s*(\d+)\s+NAME\s*=\s*([^\s>]+)", files.text("/etc/nvpmodel.conf")
    )
    names = {int(mode): name for mode, name in modes}
    return names.get(int(number.group(1)), f"mode {int(number.group(1))}")


def _glob(root: Path, pattern: str) -> List[Path]:
    return sorted(root.glob(pattern))


def _text(path: Path) -> str:
    """Text of a file, "" where it cannot be read: sensors of parts that are switched off fail."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _integer(path: Path) -> Optional[int]:
    text = _text(path)
    return int(text) if re.fullmatch(r"-?\d+", text) else None
