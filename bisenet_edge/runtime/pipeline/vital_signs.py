"""How a run is doing, read from its counters about once a second, and what has just happened to it."""

from __future__ import annotations

import time
from collections import deque
from typing import Callable, Deque, List, Optional, Set, Tuple

from bisenet_edge.runtime.pipeline.stages import Stages
from bisenet_edge.runtime.sources import Source
from bisenet_edge.runtime.status import RunStatus

RECENT_STATUSES = 5
RECENT_FRAMES = 300
"""Over how many statuses the frame rate, and over how many frames the ages, are taken."""

Sensors = Callable[[], Tuple[Optional[float], Optional[float]]]
"""Gives (temperature in degrees Celsius, power in mW), each None where it is not known."""


def blind() -> Tuple[Optional[float], Optional[float]]:
    """The sensors of a machine that has none."""
    return None, None


class VitalSigns:
    """Turns counters into a `RunStatus`, and their changes into events."""

    def __init__(self, source: Source, stages: Stages, sensors: Sensors = blind) -> None:
        self._sensors = sensors
        self._source = source
        self._stages = stages
        self._start_s = time.monotonic()
        self._last_s = self._start_s
        self._recent: Deque[Tuple[float, int]] = deque([(self._start_s, 0)], maxlen=RECENT_STATUSES + 1)
        self._pulse = (0, 0)
        self._jumped = False
        self._failed: Set[int] = set()

    def due(self, now_s: float, every_s: float) -> bool:
        """Whether it is time for the next status."""
        return now_s - self._last_s >= every_s

    def read(self, now_s: float) -> Tuple[RunStatus, bool]:
        """The status, and whether anything moved since the last one (see `Observer.status`)."""
        stages = self._stages
        self._last_s = now_s
        then_s, then = self._recent[0]
        delivered = stages.delivered
        self._recent.append((now_s, delivered))
        ages = stages.ages.ring.summary(RECENT_FRAMES)
        # A mask that no sink takes helps nobody: what counts as life is what they took.
        taken = sum(worker.written for worker in stages.sinks) if stages.sinks else delivered
        pulse = (taken, self._source.attempts)
        alive, self._pulse = pulse != self._pulse, pulse
        temperature_c, power_mw = self._sensors()
        status = RunStatus(
            running_s=now_s - self._start_s,
            fps=(delivered - then) / max(now_s - then_s, 1e-9),
            age_p50_ms=ages.p50_ms if ages else None,
            age_p99_ms=ages.p99_ms if ages and ages.p99_ms == ages.p99_ms else None,
            captured=stages.captured,
            delivered=delivered,
            dropped=stages.dropped,
            reopened=self._source.reopened,
            temperature_c=temperature_c,
            power_mw=power_mw,
        )
        return status, alive

    def new_events(self) -> List[str]:
        """What happened since the last call, a line each. A source that is lost tells so itself."""
        events = []
        if self._stages.ages.clock_jumps and not self._jumped:
            self._jumped = True
            events.append(f"{self._source.uri}: its clock jumped; counted from now on")
        for number, worker in enumerate(self._stages.sinks):
            if worker.failure and number not in self._failed:
                self._failed.add(number)
                events.append(f"sink {worker.uri} failed and was closed: {worker.failure}")
        return events
