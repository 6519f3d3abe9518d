"""What a run did: counters that add up, frame age, deadline misses, and each sink's share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from bisenet_edge.latency import LatencySummary

END_OF_SOURCE = "end of source"
STOPPED = "stop"
FRAMES = "frames"
SECONDS = "seconds"
NO_SINK_LEFT = "no sink left"
ERROR = "error"


@dataclass(frozen=True)
class SinkReport:
    """What became of the masks at one sink; written + dropped = the run's `frames_delivered`.

    Attributes:
        uri: how the user named it, without its token.
        written: frames that it took.
        dropped: frames of a live source that a newer one replaced, or that came after it had failed.
        failure: why it took no more; "" if it never failed.
        write: times of writing one frame; None if it never wrote any.
    """

    uri: str
    written: int
    dropped: int
    failure: str
    write: Optional[LatencySummary]

    def to_json(self) -> Dict[str, Any]:
        return {**vars(self), "write": self.write.to_json() if self.write else None}


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        frames_captured: frames read; = frames_delivered + frames_dropped.
        frames_delivered: frames whose masks were computed and given to the sinks.
        frames_dropped: frames of a live source that a newer one replaced before inference.
        ended_by: "end of source", "stop" (or the signal's name), "frames" or "seconds" (the limit that
            was given), "no sink left".
        wall_s: seconds from the first read to the last closed sink.
        stages: percentiles by stage (`clock.STAGES`); "sink" is the slowest sink.
        frame_age: from a frame's capture until its mask is ready; None without frames.
        latency_budget_ms: what `frame_age` was held against; None if nothing.
        deadline_misses: masks that were older than the budget when they were ready.
        clock_jumps: frames whose capture time lay in the future or before that of the frame ahead of
            them; their time of arrival was taken instead.
        reopened: how often the source was opened again after it had failed.
        corrupt: frames that the source could not decode and left out.
        sinks: in the order in which they were given.
    """

    frames_captured: int
    frames_delivered: int
    frames_dropped: int
    ended_by: str
    wall_s: float
    stages: Dict[str, LatencySummary]
    frame_age: Optional[LatencySummary]
    latency_budget_ms: Optional[float]
    deadline_misses: int
    clock_jumps: int
    reopened: int
    corrupt: int
    sinks: Tuple[SinkReport, ...]

    @property
    def fps(self) -> float:
        """Masks delivered per second of wall time."""
        return self.frames_delivered / self.wall_s

    @property
    def stopped(self) -> bool:
        """It ended before its source did."""
        return self.ended_by != END_OF_SOURCE

    @property
    def failures(self) -> Tuple[SinkReport, ...]:
        """The sinks that failed."""
        return tuple(sink for sink in self.sinks if sink.failure)

    @property
    def within_budget(self) -> Optional[bool]:
        """Whether the 99th percentile of the frame age keeps the budget; None if that cannot be said: no
        budget, or fewer than 100 frames.
        """
        if self.latency_budget_ms is None or self.frame_age is None or math.isnan(self.frame_age.p99_ms):
            return None
        return self.frame_age.p99_ms <= self.latency_budget_ms

    def to_json(self) -> Dict[str, Any]:
        return {
            **vars(self),
            "stopped": self.stopped,
            "wall_s": round(self.wall_s, 4),
            "fps": round(self.fps, 3),
            "within_budget": self.within_budget,
            "stages": {stage: summary.to_json() for stage, summary in self.stages.items()},
            "frame_age": self.frame_age.to_json() if self.frame_age else None,
            "sinks": [sink.to_json() for sink in self.sinks],
        }

    def times(self) -> Dict[str, LatencySummary]:
        """Everything that was timed, by the name that people read."""
        found = {stage: summary for stage, summary in self.stages.items() if stage != "sink"}
        found.update({f"sink {sink.uri}": sink.write for sink in self.sinks if sink.write})
        if self.frame_age:
            found["frame age"] = self.frame_age
        return found

    def sentences(self) -> List[str]:
        """What people should know beside the times, one sentence each; the sinks' failures are not here."""
        uris = ", ".join(sink.uri for sink in self.sinks)
        said = [
            f"{self.frames_delivered} frames to {uris}: {self.fps:.1f} FPS, {self.frames_dropped} dropped",
        ]
        said += [
            f"{sink.uri} took {sink.written} of them, {sink.dropped} were dropped there"
            for sink in self.sinks
            if sink.dropped
        ]
        if self.stopped:
            said.append(f"ended by: {self.ended_by}")
        if self.reopened or self.corrupt:
            said.append(f"source opened again {self.reopened} times, {self.corrupt} damaged frames left out")
        if self.clock_jumps:
            said.append(f"the camera's clock jumped at {self.clock_jumps} frames")
        if self.latency_budget_ms is not None:
            said.append(self._budget_sentence(self.latency_budget_ms))
        return said

    def _budget_sentence(self, budget_ms: float) -> str:
        verdict = {None: "not known, fewer than 100 frames", True: "kept", False: "MISSED"}[
            self.within_budget
        ]
        late = f"{self.deadline_misses} of {self.frames_delivered} masks were late"
        return f"latency budget {budget_ms:g} ms for the 99th percentile of the frame age: {verdict}; {late}"
