"""Camera to mask for a long time, with everything going wrong that can: does memory stay, do counters add up?

    python tests/benchmarks/soak.py --minutes 30 [--json FILE] [--png FILE] [--artifact DIR]

A camera of 30 frames per second that is unplugged, stalls, damages frames, changes its size and jumps its
clock; six sinks: a video, a log, shared memory, the live preview under attack by hostile clients, one that
is slow and one whose disk fills up half-way. Without --artifact the engine copies a shade from each frame
into its mask, and a sink checks that no mask belongs to another frame; with it, the artifact's INT8 runs.

PASSED (exit 0) needs: captured = delivered + dropped and at each sink written + dropped = delivered; every
frame that the camera gave was captured; no mask of another frame; the doomed sink failed and no other; the
video plays, and the log has a line for each frame written; and memory is flat. FAILED is exit 3, and a run
too short to tell whether memory is flat exit 4.

How flatness is judged: soak_memory.py.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
from soak_faults import (
    CheckingSink,
    DoomedSink,
    FaultyCamera,
    ShadeSession,
    SlowSink,
    attack,
)
from soak_memory import Memory, describe, draw, memory_slope

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.pipeline.observer import Observer
from bisenet_edge.runtime.pipeline.run import RunOptions, RunReport, run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.sources.reopening import Backoff, ReopeningSource

FPS = 30.0
BETWEEN_FAULTS_S = 15.0
BUDGET_MS = 100.0


class Events(Observer):
    """Prints what happens, and keeps how the run was doing."""

    def __init__(self) -> None:
        self.start_s = time.monotonic()
        self.ages_ms: list[float] = []

    def event(self, text: str) -> None:
        print(f"{time.monotonic() - self.start_s:7.1f} s  {text}", file=sys.stderr, flush=True)

    def status(self, status: Any, *, alive: bool) -> None:
        if status.age_p50_ms is not None:
            self.ages_ms.append(status.age_p50_ms)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--artifact", type=Path, help="run its INT8 instead of the engine that is checked")
    parser.add_argument("--port", type=int, default=18080, help="of the live preview")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--png", type=Path, help="draw memory and frame age here")
    arguments = parser.parse_args()
    result = soak(arguments)
    for name, good in result["checks"].items():
        print(f"{'ok    ' if good else 'unsure' if good is None else 'FAILED'} {name}")
    print(f"{result['verdict']}: {describe(result['memory'])}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.png:
        draw(result, arguments.png)
    return {"PASSED": 0, "FAILED": 3, "INCONCLUSIVE": 4}[result["verdict"]]


def soak(arguments: argparse.Namespace) -> dict[str, Any]:
    seconds = arguments.minutes * 60
    events, checking = Events(), CheckingSink()
    memory = Memory(checking)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        session = stack.enter_context(open_engine(arguments.artifact))
        labels = session.artifact.manifest.labels
        attacker = multiprocessing.get_context("spawn").Process(
            target=attack, args=(arguments.port, arguments.seed), daemon=True
        )
        uris = [
            f"{scratch}/overlay.mp4",
            f"jsonl://{scratch}/masks.jsonl?max_mb=0",
            f"shm://bisenet-edge-soak-{os.getpid()}?frames=1",
            f"http://127.0.0.1:{arguments.port}",
        ]
        opened = [open_sink(uri, labels, FPS, live=True) for uri in uris]
        sinks = [*opened, SlowSink(arguments.seed), DoomedSink(seconds / 2), checking]
        camera = ReopeningSource(
            "soak://camera",
            FaultyCamera.opener(FPS, BETWEEN_FAULTS_S, arguments.seed),
            on_event=events.event,
            backoff=ShortBackoff(),
        )
        stack.enter_context(camera)
        attacker.start()
        stack.callback(attacker.terminate)
        memory.start()
        report = run(
            camera,
            Segmenter(session),
            sinks,
            options=RunOptions(latency_budget_ms=BUDGET_MS, max_seconds=seconds, observers=(events,)),
        )
        memory.ended.set()
        files = look_at_files(scratch)
    slope = memory_slope(memory, seconds)
    checks = check(report, files, checking, engine_is_checked=arguments.artifact is None)
    checks["memory is flat"] = slope["flat"]
    return {
        "verdict": verdict(checks),
        "checks": checks,
        "memory": slope,
        "faults": FaultyCamera.faults,
        "sizes": sorted(checking.sizes),
        "files": files,
        "report": report.to_json(),
        "machine": describe_machine(),
        "samples": {
            "time_s": [round(t, 1) for t in memory.times_s],
            "rss_mb": [round(m, 2) for m in memory.rss_mb],
            "height": [size[0] for size in memory.sizes],
            "age_p50_ms": [round(a, 2) for a in events.ages_ms],
        },
    }


class ShortBackoff(Backoff):
    """Two seconds at most: a soak of minutes wants frames, not waiting."""

    def next_wait_s(self) -> float:
        return min(2.0, super().next_wait_s())


def open_engine(path: Path | None) -> Session:
    if path is not None:
        return open_session(Artifact.open(path), "int8")
    manifest = Manifest("soak", "", "soak", CAMVID, Size(640, 360), "int8")
    return ShadeSession(Artifact(Path(), manifest), 0.008)


def look_at_files(folder: Path) -> dict[str, int]:
    """Frames that the video plays, and lines of the log that are JSON."""
    capture = cv2.VideoCapture(str(folder / "overlay.mp4"))
    frames = 0
    while capture.grab():
        frames += 1
    lines = (folder / "masks.jsonl").read_text().splitlines()
    return {"video_frames": frames, "log_lines": sum("frame" in json.loads(line) for line in lines)}


def check(
    report: RunReport, files: dict[str, int], checking: CheckingSink, *, engine_is_checked: bool
) -> dict[str, bool | None]:
    delivered = report.frames_delivered
    sinks = {sink.uri.split("://")[0]: sink for sink in report.sinks}
    return {
        "captured = delivered + dropped": report.frames_captured == delivered + report.frames_dropped,
        "written + dropped = delivered at every sink": all(
            sink.written + sink.dropped == delivered for sink in report.sinks
        ),
        "every frame that the camera gave was captured": FaultyCamera.given == report.frames_captured,
        "no mask of another frame": checking.wrong == 0 or not engine_is_checked,
        "several sizes were seen": len(checking.sizes) > 1,
        "the camera was lost and came back": report.reopened > 0,
        "the doomed sink failed and no other": [s.uri for s in report.failures] == ["doomed://"],
        "the slow sink dropped frames and the others nearly none": sinks["slow"].dropped > delivered // 3
        and sinks["check"].dropped <= delivered // 20,
        "the video plays": files["video_frames"] > 0,
        "the log has a line for each frame": files["log_lines"] == sinks["jsonl"].written,
    }


def verdict(checks: dict[str, bool | None]) -> str:
    if False in checks.values():
        return "FAILED"
    return "INCONCLUSIVE" if None in checks.values() else "PASSED"


if __name__ == "__main__":
    sys.exit(main())
