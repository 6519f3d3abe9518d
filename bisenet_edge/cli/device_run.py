"""`run` on a device: options, the call, the report. Standard library only until it is called."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

from bisenet_edge.progress import Progress

BUDGET_VARIABLE = "BISENET_EDGE_LATENCY_BUDGET_MS"
"""Where a service finds its latency budget; `--latency-budget-ms` wins."""


def add_parser(
    commands: Any,
    parents: Sequence[argparse.ArgumentParser],
    artifact_path: Callable[[argparse.Namespace], Path],
    progress: Progress,
) -> None:
    """Add `run` to the device's commands.

    Args:
        commands: what `add_subparsers` gave.
        parents: parsers of the options that this command shares with others.
        artifact_path: where the artifact of these options is.
        progress: told how many frames are done.
    """
    parser = commands.add_parser("run", parents=list(parents), help="segment a source into sinks")
    parser.add_argument(
        "source", metavar="SOURCE", help="csi://0, v4l2://, rtsp://, http://, a video, a folder"
    )
    parser.add_argument(
        "sinks",
        metavar="SINK",
        nargs="+",
        help="overlay.mp4, a folder for PNG masks, http://:8080, rtsp://, shm://, jsonl://, mqtt://, null://",
    )
    parser.add_argument("--frames", type=_count, metavar="N", help="stop after so many frames of the source")
    parser.add_argument("--seconds", type=_positive, metavar="S", help="stop after so many seconds")
    parser.add_argument(
        "--latency-budget-ms",
        type=_positive,
        metavar="MS",
        default=os.environ.get(BUDGET_VARIABLE) or None,
        help=f"count masks older than this; exit 3 if the p99 frame age is above it (env {BUDGET_VARIABLE})",
    )
    parser.set_defaults(call=lambda arguments: _run(arguments, artifact_path(arguments), progress))


def _run(arguments: argparse.Namespace, path: Path, progress: Progress) -> int:
    from bisenet_edge.artifact import Artifact
    from bisenet_edge.runtime.pipeline import launch
    from bisenet_edge.runtime.pipeline.observer import Observer
    from bisenet_edge.runtime.pipeline.run import RunOptions

    class Events(Observer):
        def event(self, text: str) -> None:
            print(text, file=sys.stderr, flush=True)

    report = launch.camera_to_mask(
        Artifact.open(path),
        launch.Job(
            arguments.source,
            tuple(arguments.sinks),
            backend=arguments.backend,
            precision=arguments.precision,
            threads=arguments.threads,
        ),
        RunOptions(
            latency_budget_ms=arguments.latency_budget_ms,
            max_frames=arguments.frames,
            max_seconds=arguments.seconds,
            observers=(Events(),),
        ),
        progress=progress,
    )
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(report.sentences()))
        width = max(map(len, report.times()), default=0)
        for name, times in report.times().items():
            # Fewer than 100 frames have no 99th percentile.
            p99 = f"{times.p99_ms:9.2f} ms" if times.p99_ms == times.p99_ms else "        -"
            print(f"  {name:<{width}}  p50 {times.p50_ms:9.2f} ms   p90 {times.p90_ms:9.2f} ms   p99 {p99}")
    for sink in report.failures:
        print(f"error: sink {sink.uri} failed: {sink.failure}", file=sys.stderr)
    return launch.exit_code(report)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return value
