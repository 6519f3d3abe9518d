"""What a frame costs against its pixels, and several cameras on one engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .contestants import STREAMS
from .figures import Line, Summary
from .lane import ProcessLane, worker_command, worker_environment
from .material import Material
from .turns import BurstPlan, Patience, Taken, take_turns

CONTESTANT = "ours-int8"
JOBS = ("network", "mask")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class _Named:
    """A contestant's process under another name: the same contestant takes part at every size."""

    name: str
    lane: ProcessLane

    def burst(self, job: str, plan: BurstPlan) -> Any:
        """Its turn."""
        return self.lane.burst(job, plan)


def measure_sizes(
    materials: list[Material], threads: int, burst: BurstPlan, patience: Patience, tell: Tell
) -> dict[str, Any]:
    """Our INT8 network at several sizes, in turn, and the line through them.

    Args:
        materials: one per size, of one network.
        threads: of the engine.
        burst, patience: of the turns.
        tell: told how far it is.
    """
    model = materials[0].model
    with ExitStack() as stack:
        lanes = []
        for material in materials:
            command = worker_command(CONTESTANT, material.folder, threads)
            lane = stack.enter_context(ProcessLane(CONTESTANT, command, worker_environment()))
            tell(f"{model} scaling: loading {material.size}")
            lane.load()
            lanes.append(_Named(str(material.size), lane))
        entries = [(lane, job) for lane in lanes for job in JOBS]
        taken = take_turns(entries, burst, patience, progress=lambda text: tell(f"{model} scaling: {text}"))
    return {"model": model, "turns": taken.to_json(), **_lines(materials, taken)}


def _lines(materials: list[Material], taken: Taken) -> dict[str, Any]:
    if not taken.rounds:
        return {"sizes": [], "lines": {}}
    pixels = np.array([m.size.width * m.size.height for m in materials])
    rows: list[dict[str, Any]] = []
    lines = {}
    for job in JOBS:
        summaries = [Summary.of(taken.times(str(m.size), job)) for m in materials]
        times_ms = np.array([summary.p50_ms for summary in summaries])
        if len(set(pixels)) > 1:
            lines[job] = Line.fit(pixels, times_ms).to_json()
        rows += [
            {"size": str(m.size), "pixels": int(count), "job": job, **summary.to_json()}
            for m, count, summary in zip(materials, pixels, summaries)
        ]
    return {"sizes": rows, "lines": lines}


def measure_streams(material: Material, threads: int, patience: Patience, tell: Tell) -> dict[str, Any]:
    """1 to 4 cameras of 30 frames per second on one engine, in turn.

    Args:
        material: of the network and size.
        threads: of the engine.
        patience: its rounds are the runs of each number of cameras.
        tell: told how far it is.
    """
    with ExitStack() as stack:
        lanes = []
        for name in STREAMS:
            command = worker_command(name, material.folder, threads)
            lane = stack.enter_context(ProcessLane(name, command, worker_environment()))
            lane.load()
            lanes.append(lane)
        # One run is a sample; it is long enough to need no warm-up.
        taken = take_turns(
            [(lane, "streams") for lane in lanes],
            BurstPlan(seconds=0.0, warm_s=-1.0, least=1),
            replace(patience, tries=2),
            progress=lambda text: tell(f"{material.model} cameras: {text}"),
        )
        rows = [
            {"cameras": number, "peak_rss_mb": round(lane.peak_rss_mb(), 1), **_medians(taken, lane.name)}
            for number, lane in enumerate(lanes, 1)
        ]
    return {"model": material.model, "size": str(material.size), "turns": taken.to_json(), "cameras": rows}


def _medians(taken: Taken, name: str) -> dict[str, float]:
    bursts = taken.bursts[name, "streams"]
    if not bursts:
        return {}
    return {key: round(float(np.median([b.extra[key] for b in bursts])), 3) for key in bursts[0].extra}
