"""What decides how fast a Jetson computes now: power mode, clocks, heat; and jetson-stats, which shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from bisenet_edge.runtime.doctor.check import NOT_APPLICABLE, OK, PROBLEM, UNKNOWN, WARNING, Check
from bisenet_edge.runtime.doctor.device import NO_JETSON
from bisenet_edge.runtime.doctor.subject import NOT_FROM_FILES, Subject

_MODE = re.compile(r"<\s*POWER_MODEL\s+ID\s*=\s*(\d+)\s+NAME\s*=\s*([^\s>]+)")
_STATUS = re.compile(r"pmode:(\d+)")
# Names of the GPU's node: ga10b (Orin, JetPack 5), gpu (Orin, JetPack 6; Nano), gv11b (Xavier), gp10b (TX2),
# gpu-gpc-0 (Thor, and JetPack 7).
_GPU_NODE = re.compile(r"(\.(gpu|ga10b|gv11b|gp10b)|^gpu-gpc-\d+)$")
_ZONES = "/sys/class/thermal/thermal_zone*"
_ACTIONS = ("passive", "hot", "critical")  # clocks are lowered, the system is told to stop, power is cut
# The power chip of Nano, TX2 and Xavier always says 100 degrees.
_NO_SENSOR = {"PMIC-Die"}
_JTOP_SOCKET, _JTOP_UNIT = "/run/jtop.sock", "/etc/systemd/system/jtop.service"
_JTOP_PACKAGE = "/usr/local/lib/python3*/dist-packages/jetson_stats-*"


def speed_checks(subject: Subject) -> List[Check]:
    """Power mode, clocks, temperature, jetson-stats."""
    return [_power_mode(subject), _clocks(subject), _temperature(subject), _jetson_stats(subject)]


def power_modes(conf: str) -> Dict[int, str]:
    """Number -> name of each mode in the text of /etc/nvpmodel.conf."""
    return {int(number): name for number, name in _MODE.findall(conf)}


def fastest_modes(modes: Dict[int, str]) -> List[int]:
    """Modes without a lower power limit than another, by their names; [] where the names do not tell.

    "MAXN_SUPER" is above "MAXN", which is above all with a limit ("MODE_15W_6CORE"). Numbers tell nothing: 0
    is MAXN on an AGX Orin and 15W on an Orin Nano.
    """
    for pattern in (r"MAXN_SUPER", r"MAXN"):
        found = [number for number, name in modes.items() if re.match(pattern, name, re.IGNORECASE)]
        if found:
            return found
    watts = {number: re.search(r"(\d+)W", name, re.IGNORECASE) for number, name in modes.items()}
    limits = {number: int(match.group(1)) for number, match in watts.items() if match}
    return [number for number in limits if limits[number] == max(limits.values())]


def _power_mode(subject: Subject) -> Check:
    name = "power mode"
    if subject.jetson is None:
        return Check(name, NOT_APPLICABLE, NO_JETSON)
    modes = power_modes(subject.files.text("/etc/nvpmodel.conf"))
    current = _current_mode(subject)
    if current is None:
        return Check(name, UNKNOWN, "nvpmodel has not written down a mode", "sudo nvpmodel -q")
    found = f"{current} ({modes.get(current, 'a mode without a name')})"
    fastest = fastest_modes(modes)
    if not fastest:
        return Check(name, UNKNOWN, f"{found}; which mode is the fastest is not known")
    if current in fastest:
        return Check(name, OK, f"{found}, the fastest")
    return Check(
        name, WARNING, f"{found} is slower than {modes[fastest[0]]}", f"sudo nvpmodel -m {fastest[0]}"
    )


def _current_mode(subject: Subject) -> Optional[int]:
    if subject.here is not None:
        # "NV Power Mode: MAXN" and, in a line of its own, the number.
        numbers = re.findall(r"^\s*(\d+)\s*$", subject.here.tools.get("nvpmodel", ""), re.MULTILINE)
        if numbers:
            return int(numbers[-1])
    match = _STATUS.search(subject.files.text("/var/lib/nvpmodel/status"))
    return int(match.group(1)) if match else None


def _clocks(subject: Subject) -> Check:
    name = "clocks"
    if subject.jetson is None:
        return Check(name, NOT_APPLICABLE, NO_JETSON)
    gpu = [
        (_number(subject, f"{node}/min_freq"), _number(subject, f"{node}/max_freq"))
        for node in subject.files.glob("/sys/class/devfreq/*")
        if _GPU_NODE.search(node.rpartition("/")[2])
    ]
    cpu = [
        (_number(subject, f"{folder}/scaling_min_freq"), _number(subject, f"{folder}/scaling_max_freq"))
        for folder in subject.files.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    ]
    ranges = {
        "GPU": [pair for pair in gpu if None not in pair],
        "CPU": [pair for pair in cpu if None not in pair],
    }
    if not all(ranges.values()):
        missing = " and ".join(part for part, pairs in ranges.items() if not pairs)
        return Check(name, UNKNOWN, f"no frequencies of the {missing}")
    loose = [part for part, pairs in ranges.items() if any(low != high for low, high in pairs)]
    if loose:
        return Check(
            name, WARNING, f"not pinned: {', '.join(loose)}; latency will vary", "sudo jetson_clocks"
        )
    return Check(name, OK, "GPU and CPU pinned to one frequency")


@dataclass(frozen=True)
class _Zone:
    """A sensor, and the limit that says most about it: the gravest that is passed, else the next."""

    name: str
    celsius: float
    limit: float
    action: str

    @property
    def urgency(self) -> Tuple[int, float]:
        """The greater, the more it matters: first what is done about it, then how near the limit is."""
        excess = self.celsius - self.limit
        return (_ACTIONS.index(self.action) + 1 if excess >= 0 else 0), excess


def _temperature(subject: Subject) -> Check:
    """The zone whose limit is nearest, or is passed."""
    name = "temperature"
    zones = [zone for zone in (_zone(subject, folder) for folder in subject.files.glob(_ZONES)) if zone]
    if not zones:
        return Check(name, UNKNOWN if subject.jetson else NOT_APPLICABLE, "no sensor with a limit")
    zone = max(zones, key=lambda zone: zone.urgency)
    found = f"{zone.name} {zone.celsius:.0f} C, {zone.action} at {zone.limit:.0f} C"
    if zone.celsius < zone.limit:
        return Check(name, OK, found)
    cool = "sudo jetson_clocks --fan" if subject.jetson else "let it cool down, then: bisenet-edge doctor"
    return Check(name, WARNING if zone.action == "passive" else PROBLEM, found, cool)


def _zone(subject: Subject, folder: str) -> Optional[_Zone]:
    """A sensor with at least one limit; None where it has none, or does not answer."""
    name, temperature = subject.files.text(f"{folder}/type"), _number(subject, f"{folder}/temp")
    if temperature is None or name in _NO_SENSOR:
        return None
    limits = []
    for trip in subject.files.glob(f"{folder}/trip_point_*_type"):
        action, value = subject.files.text(trip), _number(subject, f"{trip[: -len('type')]}temp")
        # "active" turns on a fan; 0 and below is a limit that is not set.
        if action in _ACTIONS and value is not None and value > 0:
            limits.append((value, action))
    if not limits:
        return None
    passed = [limit for limit in limits if limit[0] <= temperature]
    value, action = max(passed, key=lambda limit: _ACTIONS.index(limit[1])) if passed else min(limits)
    return _Zone(name, temperature / 1000, value / 1000, action)


def _jetson_stats(subject: Subject) -> Check:
    name = "jetson-stats"
    if subject.jetson is None:
        return Check(name, NOT_APPLICABLE, NO_JETSON)
    if not subject.files.exists(_JTOP_UNIT) and not subject.files.glob(_JTOP_PACKAGE):
        return Check(name, OK, "not installed: optional (AGPL-3.0), power is read from sysfs without it")
    if subject.files.exists(_JTOP_SOCKET):
        return Check(name, OK, f"installed, service active ({_JTOP_SOCKET})")
    if not subject.files.live:
        return Check(name, UNKNOWN, f"installed; whether its service is active: {NOT_FROM_FILES}")
    return Check(
        name, WARNING, "installed, but its service is not active", "sudo systemctl restart jtop.service"
    )


def _number(subject: Subject, name: str) -> Optional[int]:
    text = subject.files.text(name)
    return int(text) if re.match(r"-?\d+$", text) else None
