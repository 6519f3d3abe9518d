"""Sensors over a run: sampled in a thread beside it, integrated to energy, shared out among the cases.

Letters: P looks at the sensors, in order.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Type

import numpy as np

from bisenet_edge.runtime.power.reader import PowerReader, Reading

SAMPLE_PERIOD_S = 0.1
MOST_SAMPLES = 20_000  # half an hour at 10 Hz; a longer run is kept whole, at half the rate
MIN_CASE_SAMPLES = 10
BURST_PERIODS = 4
"""A burst should last this many periods of the sensor, so that most of its looks see one case alone."""


@dataclass(frozen=True)
class PowerTrace:
    """What the sensors said over a run; nan = not available.

    Attributes:
        at_s: float64 [P], since the first sample of the run.
        power_mw: float64 [P].
        temperature_c: float64 [P], of the hottest part of the chip.
        gpu_mhz: float64 [P].
        cpu_mhz: float64 [P], of the fastest core.
        throttled: what slowed the machine down by force during the run.
        source: of `PowerReader`, as are `power_of`, `mode` and `clocks_locked`.
        period_s: time that one look covers: the sampling period, or the sensor's where that is longer.
    """

    at_s: np.ndarray
    power_mw: np.ndarray
    temperature_c: np.ndarray
    gpu_mhz: np.ndarray
    cpu_mhz: np.ndarray
    throttled: Tuple[str, ...] = ()
    source: str = "none"
    power_of: str = ""
    mode: str = ""
    clocks_locked: Optional[bool] = None
    period_s: float = SAMPLE_PERIOD_S

    def energy_j(self) -> Optional[float]:
        """Power integrated over the run, by trapezoids; None without two looks at the power."""
        known = ~np.isnan(self.power_mw)
        if known.sum() < 2:
            return None
        at_s, power_mw = self.at_s[known], self.power_mw[known]
        return float(np.sum(np.diff(at_s) * (power_mw[1:] + power_mw[:-1]) / 2) / 1e3)

    def mean_mw(self) -> Optional[float]:
        """Energy over time; None without two looks at the power."""
        energy_j, known_s = self.energy_j(), self.at_s[~np.isnan(self.power_mw)]
        return None if energy_j is None else energy_j / float(known_s[-1] - known_s[0]) * 1e3

    def to_json(self) -> Dict[str, Any]:
        energy_j, mean_mw = self.energy_j(), self.mean_mw()
        return {
            "source": self.source,
            "power_of": self.power_of,
            "mode": self.mode,
            "clocks_locked": self.clocks_locked,
            "throttled": list(self.throttled),
            "period_s": self.period_s,
            "energy_j": None if energy_j is None else round(energy_j, 3),
            "mean_mw": None if mean_mw is None else round(mean_mw, 1),
            "temperature_c": _ends(self.temperature_c),
            "gpu_mhz": _range(self.gpu_mhz),
            "cpu_mhz": _range(self.cpu_mhz),
            "samples": {
                "at_s": np.round(self.at_s, 3).tolist(),
                "power_mw": _numbers(self.power_mw),
                "temperature_c": _numbers(self.temperature_c),
                "gpu_mhz": _numbers(self.gpu_mhz),
                "cpu_mhz": _numbers(self.cpu_mhz),
            },
        }


@dataclass(frozen=True)
class CaseEnergy:
    """Power while one case ran.

    Attributes:
        samples: looks at the power whose whole period lies in a burst of the case.
        mean_mw: their mean; None when they are too few.
        mj_per_frame: mean power times the time of a frame, all stages; None likewise.
        reason: why there is no figure, and what to do; "" when there is one.
    """

    samples: int
    mean_mw: Optional[float] = None
    mj_per_frame: Optional[float] = None
    reason: str = ""

    def to_json(self) -> Dict[str, Any]:
        return {
            "samples": self.samples,
            "mean_mw": None if self.mean_mw is None else round(self.mean_mw, 1),
            "mj_per_frame": None if self.mj_per_frame is None else round(self.mj_per_frame, 3),
            "reason": self.reason,
        }


def case_energy(trace: PowerTrace, start_s: np.ndarray, total_ms: np.ndarray, burst: int) -> CaseEnergy:
    """What one of several interleaved cases costs.

    A look belongs to a case when all of the time that it covers lies in one burst of that case. The sample
    that opens each burst unrecorded keeps the last case's power out of it.

    Args:
        trace: of the same run.
        start_s: float64 [S], when each sample of the case began, on the trace's clock.
        total_ms: float64 [S], what each took.
        burst: samples taken before the next case's turn; S is a multiple of it.
    """
    if not trace.power_of:
        return CaseEnergy(0, reason="power is not available on this machine")
    begin_s = start_s.reshape(-1, burst)[:, 0]
    end_s = (start_s + total_ms / 1e3).reshape(-1, burst)[:, -1]
    within = np.searchsorted(begin_s, trace.at_s - trace.period_s, side="right") - 1
    inside = (within >= 0) & (trace.at_s <= end_s[within]) & ~np.isnan(trace.power_mw)
    frame_s = float((end_s - begin_s).mean()) / burst
    samples = int(inside.sum())
    if samples < MIN_CASE_SAMPLES:
        longer = int(np.ceil(BURST_PERIODS * trace.period_s / frame_s))
        reason = (
            f"{samples} looks at the power fell into this case's bursts of {1e3 * frame_s * burst:.0f} ms, "
            f"{MIN_CASE_SAMPLES} are needed (one per {1e3 * trace.period_s:.0f} ms): profile again with "
            f"--burst {longer} --samples {MIN_CASE_SAMPLES * longer}"
        )
        return CaseEnergy(samples, reason=reason)
    mean_mw = float(trace.power_mw[inside].mean())
    return CaseEnergy(samples, mean_mw, mean_mw * frame_s)


@dataclass
class PowerSampler:
    """Looks at the sensors ten times a second in a thread, for as long as a `with` block runs.

    Costs the measured program little: a look takes a few milliseconds at most, most of them waiting for the
    kernel, and every case pays alike.

    Args:
        reader: an opened reader; the caller closes it.
        clock_ns: the clock that the samples of the run are stamped with.
        period_s: of the looks.
    """

    reader: PowerReader
    clock_ns: Callable[[], int] = time.perf_counter_ns
    period_s: float = SAMPLE_PERIOD_S
    _looks: List[Tuple[int, Reading]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: Optional[threading.Thread] = None

    def __enter__(self) -> PowerSampler:
        self._thread = threading.Thread(target=self._look, name="power", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._stop.is_set():
            reading = self.reader.read()
            self._looks.append((self.clock_ns(), reading))
            if len(self._looks) >= MOST_SAMPLES:
                del self._looks[1::2]
                self.period_s *= 2
            self._stop.wait(self.period_s)

    def trace(self, start_ns: int, end_ns: int) -> PowerTrace:
        """What was seen between two times of the clock. Call it when the block has ended."""
        looks = [(at_ns, reading) for at_ns, reading in self._looks if start_ns <= at_ns <= end_ns]
        readings = [reading for _, reading in looks]
        reader = self.reader
        return PowerTrace(
            at_s=np.array([(at_ns - start_ns) / 1e9 for at_ns, _ in looks], np.float64),
            power_mw=_floats([reading.power_mw for reading in readings]),
            temperature_c=_floats([reading.temperature_c for reading in readings]),
            gpu_mhz=_floats([reading.gpu_mhz for reading in readings]),
            cpu_mhz=_floats([reading.cpu_mhz for reading in readings]),
            throttled=tuple(dict.fromkeys(name for reading in readings for name in reading.throttled)),
            source=reader.source,
            power_of=reader.power_of,
            mode=reader.mode,
            clocks_locked=reader.clocks_locked,
            period_s=max(self.period_s, reader.period_s),
        )


def _floats(values: Sequence[Optional[float]]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _numbers(values: np.ndarray) -> List[Optional[float]]:
    """One number or None per look; empty when none was ever known."""
    if np.isnan(values).all():
        return []
    return [None if np.isnan(value) else round(float(value), 1) for value in values]


def _ends(values: np.ndarray) -> Optional[Dict[str, float]]:
    """First, last and highest value; None when there is none."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    return {"start": round(float(known[0]), 1), "end": round(float(known[-1]), 1), "max": float(known.max())}


def _range(values: np.ndarray) -> Optional[Dict[str, float]]:
    known = values[~np.isnan(values)]
    return {"min": float(known.min()), "max": float(known.max())} if len(known) else None
