"""How a run is doing right now: what the pipeline tells its sinks about once a second."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, Optional


@dataclass(frozen=True)
class RunStatus:
    """One look at a run. What is not known is None, never 0.

    Attributes:
        running_s: seconds since the run began.
        fps: masks per second over the last few seconds.
        age_p50_ms: half of the newest masks are younger than this when they are ready, counted from
            the capture of their frame.
        age_p99_ms: the same for 99 of 100; None while there are fewer than 100 of them.
        captured: frames read so far.
        delivered: frames whose masks went to the sinks so far.
        dropped: frames of a live source that a newer one replaced so far.
        reopened: how often a source that had failed was opened again.
        temperature_c: hottest thermal zone, degrees Celsius.
        power_mw: of the whole board, milliwatts.
    """

    running_s: float
    fps: float
    age_p50_ms: Optional[float]
    age_p99_ms: Optional[float]
    captured: int
    delivered: int
    dropped: int
    reopened: int = 0
    temperature_c: Optional[float] = None
    power_mw: Optional[float] = None

    def to_json(self) -> Dict[str, Any]:
        """The attributes by name, numbers rounded to what can be read."""
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}
