"""One group's contest: start every process, check its masks, take turns, tell the rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .contestants import ENTRANTS, PEAKS
from .contestants.base import LEAST_SAME
from .figures import Ratio, Summary
from .lane import LaneError, ProcessLane, worker_command, worker_environment
from .material import Material
from .plan import Group, Plan
from .turns import Taken, take_turns

BASELINE = "ort-fp32"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """What one contestant reached at one job.

    Attributes:
        name, title, precision: of the contestant.
        job: "network", "mask", "video", "flow" or "peak".
        summary: its times, in milliseconds per frame.
        same: share of the pixels that are those of torch in FP32; None for a peak.
        speedup: over `BASELINE` at the same job; None without it.
        extra: other figures.
    """

    name: str
    title: str
    precision: str
    job: str
    summary: Summary
    same: float | None
    speedup: Ratio | None
    extra: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "precision": self.precision,
            "job": self.job,
            **self.summary.to_json(),
            "pixels_as_torch_fp32": None if self.same is None else round(self.same, 6),
            "speedup_over_plain": self.speedup.to_json() if self.speedup else None,
            "extra": {key: round(value, 4) for key, value in self.extra.items()},
        }


@dataclass(frozen=True)
class Result:
    """What one group gave.

    Attributes:
        group: who took part, and in what.
        rows: who was measured.
        refused: contestant -> why it was not: it fails, or computes something else.
        rss_mb: contestant -> largest resident memory of its process.
        taken: bookkeeping of the turns.
        trained: the weights were.
    """

    group: Group
    rows: tuple[Row, ...]
    refused: dict[str, str]
    rss_mb: dict[str, float]
    taken: Taken
    trained: bool

    def row(self, name: str, job: str) -> Row | None:
        """One row; None if it was not measured."""
        return next((row for row in self.rows if (row.name, row.job) == (name, job)), None)

    @property
    def valid(self) -> bool:
        """Enough rounds were calm."""
        return self.taken.rounds >= min(3, self.group.rounds)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.group.model,
            "size": str(self.group.size),
            "threads": self.group.threads,
            "trained": self.trained,
            "valid": self.valid,
            "turns": self.taken.to_json(),
            "rows": [row.to_json() for row in self.rows],
            "refused": self.refused,
            "peak_rss_mb": {name: round(value, 1) for name, value in self.rss_mb.items()},
        }


def hold(group: Group, material: Material, plan: Plan, tell: Tell) -> Result:
    """Run one group's contest.

    Args:
        group: who, and in what.
        material: of its network and size.
        plan: of the whole run.
        tell: told how far it is.
    """
    refused: dict[str, str] = {}
    same: dict[str, float] = {}
    with ExitStack() as stack:
        lanes = []
        for name in group.names:
            command = worker_command(name, material.folder, group.threads)
            lane = ProcessLane(name, command, worker_environment())
            tell(f"{group}: preparing {name}")
            try:
                lane.prepare()
                lane.load()
                if name not in PEAKS:
                    same[name] = _same(lane, material)
            except LaneError as error:
                refused[name] = str(error)
                lane.close()
                continue
            stack.callback(lane.close)
            lanes.append(lane)
        entries = [(lane, job) for lane in lanes for job in lane.jobs if job in group.jobs]
        patience = replace(plan.patience, rounds=group.rounds, most_rounds=2 * group.rounds)
        burst = replace(plan.burst, seconds=group.burst_s, least=min(plan.burst.least, group.least))
        taken = take_turns(entries, burst, patience, progress=lambda text: tell(f"{group}: {text}"))
        rss_mb = {lane.name: lane.peak_rss_mb() for lane in lanes}
    return Result(group, rows_of(taken, same), refused, rss_mb, taken, material.trained)


def _same(lane: ProcessLane, material: Material) -> float:
    """Share of the pixels that are those of torch in FP32.

    Raises:
        LaneError: fewer than its precision may give: it would win by computing something else.
    """
    file = material.folder / f"masks.{lane.name}.npy"
    lane.ask(do="masks", file=str(file))
    masks = np.load(file)
    Path(file).unlink()
    share = float(np.mean(masks == material.reference()))
    least = LEAST_SAME[ENTRANTS[lane.name].load_class().precision]
    if share < least:
        raise LaneError(
            f"{lane.name}: {share:.2%} of the pixels are those of torch FP32, less than {least:.1%}"
        )
    return share


def rows_of(taken: Taken, same: dict[str, float]) -> tuple[Row, ...]:
    """One row for each lane and job of which rounds were kept."""
    if not taken.rounds:
        return ()
    summaries = {key: Summary.of(taken.times(*key)) for key in taken.bursts}
    rows = []
    for (name, job), summary in summaries.items():
        plain = summaries.get((BASELINE, job))
        speedup = Ratio.speedup(plain, summary) if plain else None
        bursts = taken.bursts[name, job]
        extra = {key: float(np.median([b.extra[key] for b in bursts])) for key in bursts[0].extra}
        entrant = ENTRANTS[name].load_class()
        rows.append(Row(name, entrant.title, entrant.precision, job, summary, same.get(name), speedup, extra))
    return tuple(rows)
