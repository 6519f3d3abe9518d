"""Do the stages overlap? Throughput of a run against its slowest stage alone.

    python tests/benchmarks/overlap.py [--artifact DIR] [--json FILE]

Waiting stages: capture, inference and sinks sleep, as cameras, GPUs and disks do, so that none takes the
cores from another: what is lost is what the hand-over costs. An engine that takes two frames ahead (as
TensorRT's session does) is among them. Goal: within 5 % of the slowest stage.

Real stages (with --artifact): a video of 640x360 decoded, segmented by OpenVINO INT8 on one thread (and once
more with several frames in flight, as `run` does with files), and written as an overlay video. On a machine
with fewer cores than busy threads no overlap can reach the slowest stage; the report says how much CPU time
the run took of what there was.

Every pair is measured `--rounds` times in turn; a ratio is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.frame import Frame, Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.pipeline.run import run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.sinks import Sink, open_sink
from bisenet_edge.runtime.sources import Source, open_source

SIZE = Size(64, 32)
GOAL = 0.95
FRAMES = 200
CASES_MS = {
    "capture slowest": (10.0, 6.0, (4.0, 5.0)),
    "inference slowest": (5.0, 10.0, (6.0, 2.0)),
    "a sink slowest": (5.0, 7.0, (10.0, 3.0)),
    "all alike": (10.0, 10.0, (10.0, 10.0)),
}


class SleepingSource(Source):
    def __init__(self, frames: int, wait_ms: float) -> None:
        super().__init__("sleeping", fps=1e3 / wait_ms, size_hw=SIZE.hw, count=frames)
        self._wait_s = wait_ms / 1e3

    def _read(self, index: int, out: np.ndarray | None) -> np.ndarray | None:
        if index == self.count:
            return None
        time.sleep(self._wait_s)
        return out if out is not None else np.zeros((*SIZE.hw, 3), np.uint8)


class SleepingSession(Session):
    def __init__(self, wait_ms: float) -> None:
        super().__init__(Artifact(Path(), Manifest("toy", "", "toy", CAMVID, SIZE, "int8")), "int8")
        self._wait_s = wait_ms / 1e3

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        time.sleep(self._wait_s)


class AheadSession(SleepingSession):
    """Takes two frames; a thread of its own sleeps for them, as a GPU's stream would."""

    in_flight = 2

    def __init__(self, wait_ms: float) -> None:
        super().__init__(wait_ms)
        self._work: queue.Queue[bool] = queue.Queue()
        self._done: queue.Queue[bool] = queue.Queue()
        threading.Thread(target=self._compute, daemon=True).start()

    def _submit(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self._work.put(True)

    def _finish(self, mask: np.ndarray) -> None:
        self._done.get()

    def _compute(self) -> None:
        while self._work.get():
            time.sleep(self._wait_s)
            self._done.put(True)

    def _close(self) -> None:
        self._work.put(False)


class SleepingSink(Sink):
    def __init__(self, wait_ms: float) -> None:
        super().__init__("sleeping")
        self._wait_s = wait_ms / 1e3

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        time.sleep(self._wait_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifact", type=Path, help="INT8, 640x360; without it only waiting stages")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    rows = [
        waiting(f"{name}, {kind}", kind, *times, rounds=arguments.rounds)
        for name, times in CASES_MS.items()
        for kind in ("one frame", "two frames ahead")
    ]
    if arguments.artifact:
        artifact = Artifact.open(arguments.artifact)
        rows.extend(real(artifact, arguments.rounds, throughput=several) for several in (False, True))
    for row in rows:
        print(
            f"{row['case']:<38} alone {row['slowest_alone_fps']:7.1f} FPS ({row['slowest']}), "
            f"run {row['run_fps']:7.1f} FPS, ratio {row['ratio']:.3f}"
            + (f", CPU {row['cpu_share']:.0%} of {os.cpu_count()} cores" if "cpu_share" in row else "")
        )
    worst = min(row["ratio"] for row in rows if row["waiting"])
    print(f"waiting stages: {'PASSED' if worst >= GOAL else 'FAILED'} ({worst:.3f}, goal {GOAL})")
    if arguments.json:
        value = {"machine": describe_machine(), "goal": GOAL, "passed": worst >= GOAL, "rows": rows}
        arguments.json.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def waiting(
    case: str, kind: str, capture_ms: float, infer_ms: float, sinks_ms: tuple[float, ...], *, rounds: int
) -> dict[str, Any]:
    """Sleeping stages: the run, and each stage alone, in turn."""
    make_session = AheadSession if kind == "two frames ahead" else SleepingSession

    def run_all() -> float:
        with make_session(infer_ms) as session:
            sinks = [SleepingSink(ms) for ms in sinks_ms]
            return run(SleepingSource(FRAMES, capture_ms), Segmenter(session), sinks).fps

    def capture_alone() -> float:
        source = SleepingSource(FRAMES, capture_ms)
        return rate(source.read)

    def infer_alone() -> float:
        session, frame = SleepingSession(infer_ms), np.zeros((*SIZE.hw, 3), np.uint8)
        return rate(lambda: session.infer(frame))

    def sink_alone(ms: float) -> Callable[[], float]:
        sink, frame = SleepingSink(ms), Frame(np.zeros((*SIZE.hw, 3), np.uint8), 0, 0)
        return lambda: rate(lambda: sink.write(frame, frame.image[..., 0]))

    alone = {"capture": capture_alone, "inference": infer_alone}
    alone.update({f"sink {i}": sink_alone(ms) for i, ms in enumerate(sinks_ms)})
    return {"waiting": True, **measure(case, run_all, alone, rounds)}


def rate(call: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    for _ in range(FRAMES):
        call()
    return FRAMES / (time.perf_counter() - start_s)


def real(artifact: Artifact, rounds: int, *, throughput: bool) -> dict[str, Any]:
    """A video decoded, segmented and written as an overlay: one frame at a time on one thread, or as `run`
    does with files, several on all threads.
    """
    opened = open_session(artifact, "int8", threads=0 if throughput else 1, throughput=throughput)
    with tempfile.TemporaryDirectory() as scratch, opened as session:
        clip = Path(scratch) / "clip.mp4"
        labels = artifact.manifest.labels
        frames = make_clip(clip, labels, artifact)
        segmenter = Segmenter(session)
        masks = [segmenter.to_source(segmenter.segment(f.image).copy(), f.image.shape[:2]) for f in frames]
        shares: list[float] = []

        def run_all() -> float:
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            with open_source(str(clip)) as source:
                sink = open_sink(f"{scratch}/out.mp4", labels, source.fps)
                fps = run(source, Segmenter(session), [sink]).fps
            used_s = time.process_time() - cpu_s
            shares.append(used_s / (time.perf_counter() - wall_s) / (os.cpu_count() or 1))
            return fps

        def decode_alone() -> float:
            with open_source(str(clip)) as source:
                return rate_of(lambda frame: source.read(), frames)

        def sink_alone() -> float:
            with open_sink(f"{scratch}/alone.mp4", labels, 30.0) as sink:
                return rate_of(lambda i: sink.write(frames[i], masks[i]), range(len(frames)))

        alone = {
            "decode": decode_alone,
            "segment": lambda: segment_all(segmenter, session.in_flight, frames),
            "sink": sink_alone,
        }
        how = f"{session.in_flight} in flight" if throughput else "1 thread"
        row = measure(f"video, OpenVINO INT8 ({how}), overlay", run_all, alone, rounds)
    return {"waiting": False, **row, "cpu_share": round(float(np.median(shares)), 3)}


def segment_all(segmenter: Segmenter, in_flight: int, frames: list[Frame]) -> float:
    start_s = time.perf_counter()
    for index, frame in enumerate(frames):
        if index >= in_flight:
            segmenter.finish()
        segmenter.submit(frame.image)
    for _ in range(min(in_flight, len(frames))):
        segmenter.finish()
    return len(frames) / (time.perf_counter() - start_s)


def rate_of(call: Callable[[Any], object], items: Any) -> float:
    start_s = time.perf_counter()
    for item in items:
        call(item)
    return len(items) / (time.perf_counter() - start_s)


def make_clip(path: Path, labels: Any, artifact: Artifact) -> list[Frame]:
    uri = f"synthetic://?size={artifact.manifest.size}&seconds=5"
    with open_source(uri) as source, open_sink(str(path), labels, source.fps) as sink:
        frames = list(iter(source.read, None))
        for frame in frames:
            sink.write(frame, np.zeros(frame.image.shape[:2], np.uint8))
    return frames


def measure(
    case: str, run_all: Callable[[], float], alone: dict[str, Callable[[], float]], rounds: int
) -> dict[str, Any]:
    runs, singles = [], []
    for _ in range(rounds):
        singles.append({name: call() for name, call in alone.items()})
        runs.append(run_all())
    slowest = min(alone, key=lambda name: float(np.median([single[name] for single in singles])))
    ratios = [fps / min(single.values()) for fps, single in zip(runs, singles)]
    return {
        "case": case,
        "slowest": slowest,
        "slowest_alone_fps": round(float(np.median([single[slowest] for single in singles])), 2),
        "alone_fps": {n: round(float(np.median([s[n] for s in singles])), 2) for n in alone},
        "run_fps": round(float(np.median(runs)), 2),
        "ratio": round(float(np.median(ratios)), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }


if __name__ == "__main__":
    main()
