"""Several cameras of 30 frames per second on one engine: throughput of all, and age of their masks.

One session serves one thread (`Session`), so the streams take turns at it, first come, first served; each has
its own `pipeline.run`, where the newest frame wins.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.pipeline.run import RunOptions, run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.sources import Source

from .base import Contestant, Outcome

FPS = 30.0
RUN_S = 3.0
DRAIN_S = 60.0  # on a machine that others use, the last frames may take long


class Turnstile:
    """A lock that serves in the order of arrival: a stream that is always ready starves nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._taken and not self._waiting:
                self._taken = True
                return
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False


class SharedSession(Session):
    """One stream's part in a session that several share. Closing it leaves the engine to the others."""

    def __init__(self, whole: Session, turnstile: Turnstile) -> None:
        super().__init__(whole.artifact, whole.precision)
        self.backend = whole.backend
        self._whole, self._turnstile = whole, turnstile

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        with self._turnstile:
            self._whole.infer(frame, mask)


class Camera(Source):
    """Pictures from memory at a camera's pace, with the time at which each was due."""

    live = True

    def __init__(self, frames: np.ndarray, offset_s: float) -> None:
        super().__init__("memory", fps=FPS, size_hw=frames.shape[1:3], count=None)
        self._frames = frames
        self._start_s = time.monotonic() + offset_s
        self._number = 0
        self._due_s = self._start_s

    def _read(self, index: int, out: np.ndarray | None) -> np.ndarray | None:
        # A camera takes pictures whether they are read or not.
        now_s = time.monotonic()
        self._number = max(self._number + 1, int((now_s - self._start_s) * FPS))
        self._due_s = self._start_s + self._number / FPS
        if self._interrupted.wait(max(0.0, self._due_s - now_s)):
            return None
        image = self._frames[self._number % len(self._frames)]
        if out is None:
            return image.copy()
        out[:] = image
        return out

    def _captured_ns(self) -> int:
        return int(self._due_s * 1e9)


class OneStream(Contestant):
    title = "1 camera"
    precision = "int8"
    count = 1

    def load(self) -> None:
        self._session = open_session(
            Artifact.open(self.material.artifact), "int8", backend="cpu", threads=self.threads
        )

    def jobs(self) -> dict[str, Callable[[int], Outcome]]:
        self._frames = self.material.frames()
        return {"streams": self._streams}

    def network(self, ready: np.ndarray) -> object:
        return self.mask(ready)

    def mask(self, frame: np.ndarray) -> np.ndarray:
        return self._session.infer(frame)

    def _streams(self, number: int) -> tuple[float, dict[str, float]]:
        """One run of all streams: milliseconds per mask, all streams together."""
        turnstile = Turnstile()
        labels = self._session.artifact.manifest.labels

        def stream(index: int) -> tuple[int, float, float, int]:
            segmenter = Segmenter(SharedSession(self._session, turnstile))
            with Camera(self._frames, index / FPS / self.count) as source:
                sink = open_sink("null://", labels, FPS, live=True)
                report = run(
                    source, segmenter, [sink], options=RunOptions(max_seconds=RUN_S, drain_s=DRAIN_S)
                )
            ages = report.frame_age
            assert ages is not None
            p99_ms = ages.p99_ms if ages.samples >= 100 else ages.max_ms
            return report.frames_delivered, ages.p50_ms, p99_ms, report.frames_captured

        with ThreadPoolExecutor(self.count) as pool:
            done = list(pool.map(stream, range(self.count)))
        masks = sum(one[0] for one in done)
        return 1e3 * RUN_S / masks, {
            "fps": masks / RUN_S,
            "age_p50_ms": float(np.median([one[1] for one in done])),
            "age_p99_ms": max(one[2] for one in done),
            "least_fps": min(one[0] for one in done) / RUN_S,
            "dropped": float(sum(one[3] - one[0] for one in done)),
        }


class TwoStreams(OneStream):
    title = "2 cameras"
    count = 2


class ThreeStreams(OneStream):
    title = "3 cameras"
    count = 3


class FourStreams(OneStream):
    title = "4 cameras"
    count = 4
