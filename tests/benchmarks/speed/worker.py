"""A contestant's own process: reads one request per line, answers with one line.

    {"do": "prepare"}                                  -> {}
    {"do": "load"}                                     -> {"jobs": [...]}
    {"do": "masks", "file": "masks.npy"}               -> {}
    {"do": "burst", "job": "mask", "seconds": 0.3, "warm_s": 0.06, "least": 2}
                                                       -> {"times_ms": [...], "cpu_s": 0.5, "extra": {}}
    end of input                                       -> ends

What cannot be done is answered with {"error": text}. Answers go to the process's first standard output;
whatever a library prints goes to standard error. Between requests the process waits for input: it must not
use a core then, and the parent would see it.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from .contestants.base import Contestant, Outcome


class Worker:
    """Answers requests for one contestant."""

    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant
        self._jobs: dict[str, Callable[[int], Outcome]] = {}
        self._sample = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request says."""
        asked = request["do"]
        if asked == "prepare":
            self._contestant.prepare()
            return {}
        if asked == "load":
            self._contestant.load()
            self._jobs = self._contestant.jobs()
            return {"jobs": list(self._jobs)}
        if asked == "masks":
            masks = [self._contestant.mask(frame).copy() for frame in self._contestant.material.frames()]
            np.save(Path(request["file"]), np.stack(masks))
            return {}
        if asked == "burst":
            return self._burst(request["job"], request["seconds"], request["warm_s"], request["least"])
        raise ValueError(f"a request that nobody knows: {asked!r}")

    def _burst(self, job: str, seconds: float, warm_s: float, least: int) -> dict[str, Any]:
        cpu_s, work = time.process_time(), self._jobs[job]
        extras: list[dict[str, float]] = []
        end_s = time.perf_counter() + warm_s
        if warm_s >= 0:
            self._once(work, [])
        while time.perf_counter() < end_s:
            self._once(work, [])
        times_ms: list[float] = []
        end_s = time.perf_counter() + seconds
        while len(times_ms) < least or time.perf_counter() < end_s:
            times_ms.append(self._once(work, extras))
        names = sorted({name for extra in extras for name in extra})
        extra = {name: float(np.median([one[name] for one in extras if name in one])) for name in names}
        return {"times_ms": times_ms, "cpu_s": time.process_time() - cpu_s, "extra": extra}

    def _once(self, work: Callable[[int], Outcome], extras: list[dict[str, float]]) -> float:
        self._sample += 1
        start_ns = time.perf_counter_ns()
        outcome = work(self._sample)
        spent_ms = (time.perf_counter_ns() - start_ns) / 1e6
        if isinstance(outcome, tuple):
            extras.append(outcome[1])
            return outcome[0]
        return spent_ms if outcome is None else outcome


def serve(make: Callable[[], Contestant], requests: IO[str], answers: IO[str]) -> None:
    """Answer every request until there are no more. A failure is an answer, not the end."""
    worker: Worker | None = None
    for line in requests:
        try:
            worker = worker or Worker(make())
            answer = worker.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001  any library may raise anything; the parent tells it
            traceback.print_exc()
            text = str(error).strip() or repr(error)
            answer = {"error": f"{type(error).__name__}: {text}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main(words: list[str]) -> None:
    """`python -m ...worker NAME MATERIAL THREADS`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints from now on, prints there

    def make() -> Contestant:
        from .contestants import ENTRANTS
        from .material import Material

        name, folder, threads = words
        return ENTRANTS[name].load_class()(Material.open(Path(folder)), int(threads))

    serve(make, sys.stdin, answers)


if __name__ == "__main__":
    main(sys.argv[1:])
