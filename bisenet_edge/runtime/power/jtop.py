"""Power, temperature and clocks from jetson-stats, where its user has installed it.

jetson-stats is AGPL-3.0: nothing here works without it, it is no dependency, and it is imported only when it
is there. Its service must run (`sudo systemctl start jtop`); without it the next source is taken.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Dict, Optional

from bisenet_edge.runtime.power.reader import PowerReader, Reading, hottest
from bisenet_edge.runtime.power.sysfs import Throttles

INTERVAL_S = 0.5


def open_jtop(throttles: Throttles) -> Optional[PowerReader]:
    """A reader that asks jtop's service; None when it is not installed or its service does not answer.

    Args:
        throttles: what jtop does not tell.
    """
    if importlib.util.find_spec("jtop") is None:
        return None
    try:
        jtop: Any = importlib.import_module("jtop")
        stopped: Any = importlib.import_module("jtop.core.exceptions").JtopException
    except ImportError:
        return None
    client = jtop.jtop(interval=INTERVAL_S)
    try:
        client.start()
        answers = client.ok()
    except (stopped, OSError):
        return None
    if not answers:
        client.close()
        return None
    return JtopReader(client, throttles)


class JtopReader(PowerReader):
    """Asks a started `jtop.jtop` client.

    Its units, by its documentation: power in mW, temperatures in degrees Celsius (-256 = off), clocks in kHz.
    """

    source = "jtop"
    period_s = INTERVAL_S

    def __init__(self, client: Any, throttles: Throttles) -> None:
        self._client: Any = client
        self._throttles = throttles
        total, rails = client.power["tot"], client.power["rail"]
        self.power_of = str(total.get("name") or " + ".join(rails)) if total else ""
        self.mode = str(client.nvpmodel.name) if client.nvpmodel else ""
        self.clocks_locked = bool(client.jetson_clocks) if client.jetson_clocks is not None else None

    def read(self) -> Reading:
        client = self._client
        temperatures_c: Dict[str, Optional[float]] = {
            str(name): float(value["temp"]) for name, value in client.temperature.items()
        }
        gpu_khz = [float(gpu["freq"].get("cur", 0)) for gpu in client.gpu.values()]
        cpu_khz = [float(core["freq"]["cur"]) for core in client.cpu["cpu"] if core.get("online")]
        power_mw = client.power["tot"].get("power")
        return Reading(
            power_mw=None if power_mw is None else float(power_mw),
            temperature_c=hottest(temperatures_c),
            gpu_mhz=max(gpu_khz, default=0.0) / 1e3 or None,
            cpu_mhz=max(cpu_khz, default=0.0) / 1e3 or None,
            throttled=self._throttles.seen(),
        )

    def close(self) -> None:
        self._client.close()
