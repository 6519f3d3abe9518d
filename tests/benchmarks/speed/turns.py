"""Bursts in turn: random order, warm-up before each, disturbed ones repeated, disturbed rounds thrown away.

A round gives every entry (a lane and one of its jobs) one burst. Ratios are taken within rounds, so that a
machine that slows down slows both sides.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .machine_load import Reading, foreign_share

Progress = Callable[[str], None]


@dataclass(frozen=True)
class BurstPlan:
    """How long one turn is.

    Attributes:
        seconds: samples are taken until so long has passed, at least `least` of them.
        warm_s: the same work before, not timed; once at least, but not at all below 0.
        least: samples of a burst.
    """

    seconds: float = 0.3
    warm_s: float = 0.06
    least: int = 2


@dataclass(frozen=True)
class Burst:
    """What one turn gave.

    Attributes:
        times_ms: one per sample.
        cpu_s: CPU seconds that the lane used, warm-up included.
        extra: figures beside time, by name; their medians are reported.
    """

    times_ms: list[float]
    cpu_s: float
    extra: dict[str, float] = field(default_factory=dict)


class Lane(Protocol):
    """Somebody whose turn it can be."""

    name: str

    def burst(self, job: str, plan: BurstPlan) -> Burst:
        """Work at one job."""


@dataclass(frozen=True)
class Patience:
    """How many rounds, and what is tolerated.

    Attributes:
        rounds: that are to be kept.
        most_rounds: that are begun at all.
        tries: of a burst before its round is given up.
        max_foreign: share of the cores that others may use during a burst.
        seed: of the order.
    """

    rounds: int = 10
    most_rounds: int = 20
    tries: int = 3
    max_foreign: float = 0.06
    seed: int = 0


@dataclass
class Taken:
    """Everything that was kept, and how much was not.

    Attributes:
        bursts: (lane, job) -> one burst per kept round, in the order of the rounds.
        rounds_rejected: rounds of which a burst was disturbed every time it was tried.
        bursts_rejected: disturbed bursts.
        bursts_taken: all of them, disturbed or not.
        foreign: shares that others had of the cores during kept bursts.
        worst_rejected: the largest share that made a burst be rejected.
    """

    bursts: dict[tuple[str, str], list[Burst]]
    rounds_rejected: int = 0
    bursts_rejected: int = 0
    bursts_taken: int = 0
    foreign: list[float] = field(default_factory=list)
    worst_rejected: float = 0.0

    @property
    def rounds(self) -> int:
        """Rounds that were kept."""
        return min((len(bursts) for bursts in self.bursts.values()), default=0)

    def times(self, lane: str, job: str) -> list[list[float]]:
        """Milliseconds of one entry, round by round; empty = it did not take part."""
        return [burst.times_ms for burst in self.bursts.get((lane, job), [])]

    def to_json(self) -> dict[str, Any]:
        """The bookkeeping; the times are in the report's rows."""
        return {
            "rounds": self.rounds,
            "rounds_rejected": self.rounds_rejected,
            "bursts": self.bursts_taken,
            "bursts_rejected": self.bursts_rejected,
            "largest_foreign_share_kept": round(max(self.foreign, default=0.0), 4),
            "largest_foreign_share_rejected": round(self.worst_rejected, 4),
        }


Entry = tuple[Lane, str]


def take_turns(
    entries: Sequence[Entry],
    plan: BurstPlan,
    patience: Patience,
    *,
    look: Callable[[], Reading] = Reading.now,
    cores: int = os.cpu_count() or 1,
    progress: Progress = lambda text: None,
) -> Taken:
    """Let every entry work once per round until enough rounds were calm.

    Args:
        entries: lanes and jobs; each pair once.
        plan: of a burst.
        patience: how many rounds, and what is tolerated.
        look: reads the machine's load.
        cores: of the machine.
        progress: told of every round.
    """
    taken = Taken({(lane.name, job): [] for lane, job in entries})
    order = random.Random(patience.seed)
    for number in range(1, patience.most_rounds + 1):
        if taken.rounds == patience.rounds:
            break
        shuffled = list(entries)
        order.shuffle(shuffled)
        kept = _round(shuffled, plan, patience, taken, (look, cores))
        if kept is None:
            taken.rounds_rejected += 1
        else:
            for key, burst in kept.items():
                taken.bursts[key].append(burst)
        progress(f"round {number}: {taken.rounds} of {patience.rounds} kept")
    return taken


def _round(
    entries: Sequence[Entry],
    plan: BurstPlan,
    patience: Patience,
    taken: Taken,
    machine: tuple[Callable[[], Reading], int],
) -> dict[tuple[str, str], Burst] | None:
    """One burst of each; None when one could not be had undisturbed."""
    look, cores = machine
    kept: dict[tuple[str, str], Burst] = {}
    foreign: list[float] = []
    for lane, job in entries:
        for _ in range(patience.tries):
            before = look()
            burst = lane.burst(job, plan)
            share = foreign_share(before, look(), burst.cpu_s, cores)
            taken.bursts_taken += 1
            if share <= patience.max_foreign:
                kept[lane.name, job] = burst
                foreign.append(share)
                break
            taken.bursts_rejected += 1
            taken.worst_rejected = max(taken.worst_rejected, share)
        else:
            return None
    taken.foreign += foreign
    return kept
