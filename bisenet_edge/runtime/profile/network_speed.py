"""How long networks alone take: frame of the network's size in, mask out, as papers time them.

No decoding, resizing or drawing, and few samples of slow networks, so that a table of many is done in
minutes. What a camera frame costs, with percentiles, is what `profiler` measures.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from bisenet_edge.frame import Size
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.profile.paper import paper_speed
from bisenet_edge.runtime.text_table import table

LEAST_SAMPLES, MOST_SAMPLES = 5, 50
BUDGET_S = 4.0
"""Of each network, shared by its precisions, beyond the least number of samples."""
BURST = 3

Clock = Callable[[], int]


@dataclass(frozen=True)
class NetworkSpeed:
    """One network at one size in one precision.

    Attributes:
        times_ms: float64 [samples], frame to mask.
        engine: what the session says of itself.
    """

    model: str
    size: Size
    precision: str
    backend: str
    times_ms: np.ndarray
    engine: Dict[str, Any]

    @property
    def median_ms(self) -> float:
        return float(np.median(self.times_ms))

    @property
    def fps(self) -> float:
        """Frames per second, one after the other."""
        return 1000 / self.median_ms

    def to_json(self) -> Dict[str, Any]:
        printed = paper_speed(self.model, self.size)
        return {
            "model": self.model,
            "size": str(self.size),
            "precision": self.precision,
            "backend": self.backend,
            "median_ms": self.median_ms,
            "fps": self.fps,
            "samples": len(self.times_ms),
            "convolutions": self.engine.get("convolutions"),
            "convolutions_int8": self.engine.get("convolutions_int8"),
            "paper": printed.to_json() if printed else None,
        }


def _rounds(once_s: float) -> int:
    """How many bursts each session gets, when running each of them once takes `once_s`."""
    round_s = max(once_s * (BURST + 1), 1e-9)
    return int(min(max(LEAST_SAMPLES / BURST, BUDGET_S / round_s), MOST_SAMPLES / BURST)) + 1


def runs_of_each(once_s: float) -> int:
    """How often `time_networks` runs each session, when running each of them once takes `once_s`."""
    return 2 + _rounds(once_s) * (BURST + 1)


def time_networks(
    sessions: Sequence[Session],
    frame: np.ndarray,
    progress: Progress = quiet,
    *,
    clock_ns: Clock = time.perf_counter_ns,
) -> List[NetworkSpeed]:
    """Time sessions in turns, a burst of each; the first run of a burst refills caches and is not counted.

    Args:
        sessions: of one network at one size, in several precisions.
        frame: uint8 [H, W, 3] BGR of that size.
        progress: told "timing MODEL WxH".
        clock_ns: a monotonic clock in nanoseconds.
    """

    def run_ns(session: Session) -> int:
        begun = clock_ns()
        session.infer(frame)
        return clock_ns() - begun

    for session in sessions:  # the first run of all allocates
        session.infer(frame)
    rounds = _rounds(sum(run_ns(session) for session in sessions) / 1e9)
    taken: List[List[int]] = [[] for _ in sessions]
    manifest = sessions[0].artifact.manifest
    for turn in range(rounds):
        progress(f"timing {manifest.model} {manifest.size}", turn, rounds)
        for session, times_ns in zip(sessions, taken):
            session.infer(frame)
            times_ns.extend(run_ns(session) for _ in range(BURST))
    progress(f"timing {manifest.model} {manifest.size}", rounds, rounds)
    return [
        NetworkSpeed(
            model=manifest.model,
            size=manifest.size,
            precision=session.precision,
            backend=session.backend,
            times_ms=np.asarray(times_ns, np.float64) / 1e6,
            engine=session.describe(),
        )
        for session, times_ns in zip(sessions, taken)
    ]


def speed_table(cells: Sequence[Dict[str, Any]]) -> str:
    """One row per network and size, two columns per precision, then the paper's, from `to_json` values."""
    precisions = list(dict.fromkeys(cell["precision"] for cell in cells))
    by_key = {(cell["model"], cell["size"], cell["precision"]): cell for cell in cells}
    rows: List[List[Any]] = []
    for model, size in dict.fromkeys((cell["model"], cell["size"]) for cell in cells):
        row: List[Any] = [model, size]
        found = [by_key.get((model, size, precision)) for precision in precisions]
        for cell in found:
            row += [cell["median_ms"], _fps(cell["fps"])] if cell else [None, None]
        paper = next(cell["paper"] for cell in found if cell)
        # As the paper prints them: whole milliseconds, one decimal.
        rows.append([*row, *([f"{paper['time_ms']:g}", f"{paper['fps']:.1f}"] if paper else [None, None])])
    header = ["network", "size"]
    for name in [*(precision.upper() for precision in precisions), "paper"]:
        header += [f"{name} ms", "fps"]
    return table(header, rows)


def _fps(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
