"""`bisenet-edge run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bisenet_edge.artifact import MANIFEST
from bisenet_edge.cli.options import backend_option, find_artifact, json_option, threads_option
from bisenet_edge.cli.render import Bars, emit, next_command, note, table
from bisenet_edge.errors import UsageError

if TYPE_CHECKING:
    from bisenet_edge.runtime.pipeline.run_report import RunReport

POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command("run")
@click.argument("words", nargs=-1, required=True, metavar="[ARTIFACT] SOURCE SINK...")
@click.option("--precision", default="", help="int8, bf16 or fp32 (default: what pays).")
@backend_option
@threads_option
@click.option("--frames", type=click.IntRange(min=1), help="Stop after so many frames of the source.")
@click.option("--seconds", type=POSITIVE, help="Stop after so many seconds.")
@click.option(
    "--latency-budget-ms",
    type=POSITIVE,
    envvar="BISENET_EDGE_LATENCY_BUDGET_MS",
    show_envvar=True,
    help="Count masks older than this; exit 3 if the p99 frame age is above it.",
)
@json_option
def command(
    *,
    words: tuple[str, ...],
    precision: str,
    backend: str,
    threads: int,
    frames: int | None,
    seconds: float | None,
    latency_budget_ms: float | None,
    as_json: bool,
) -> int:
    """Segment SOURCE into one or more SINKs with ARTIFACT (default: the newest).

    \b
    SOURCE  csi://0, v4l2:///dev/video0, rtsp://..., http://..., a video, a picture,
            a folder of pictures, synthetic://?seconds=10&seed=0
    SINK    overlay.mp4, a folder (masks as PNG), http://:8080 (live page),
            rtsp://:8554/live, shm://NAME, jsonl://FILE, mqtt://HOST/TOPIC, null://

    From a camera the newest frame wins, and a sink that fails is left out: exit 1 at the end.
    Ctrl-C ends it in good order, a second one at once.
    """
    from bisenet_edge.runtime.pipeline import launch
    from bisenet_edge.runtime.pipeline.observer import Observer
    from bisenet_edge.runtime.pipeline.run import RunOptions
    from bisenet_edge.runtime.report.sections import update_report

    class Events(Observer):
        def event(self, text: str) -> None:
            note(text)

    path, source, sinks = _split(words)
    artifact = find_artifact(path, int8=False)
    report = launch.camera_to_mask(
        artifact,
        launch.Job(source, sinks, backend=backend, precision=precision, threads=threads),
        RunOptions(
            latency_budget_ms=latency_budget_ms,
            max_frames=frames,
            max_seconds=seconds,
            observers=(Events(),),
        ),
        progress=Bars(),
    )
    if as_json:
        emit(report.to_json())
    else:
        click.echo(f"{artifact.path}, {artifact.manifest.model} {artifact.manifest.size}")
        _print(report)
    for sink in report.failures:
        note(f"error: sink {sink.uri} failed: {sink.failure}")
    update_report(artifact.path, "run", _section(report, source))
    if not as_json:
        next_command("bisenet-edge deploy jetson")
    return launch.exit_code(report)


def _split(words: tuple[str, ...]) -> tuple[Path | None, str, tuple[str, ...]]:
    from bisenet_edge.runtime.uris import redacted

    artifact = Path(words[0]) if (Path(words[0]) / MANIFEST).is_file() else None
    rest = words if artifact is None else words[1:]
    if len(rest) < 2:
        raise UsageError(
            "run needs a source and at least one sink",
            got=" ".join(map(redacted, words)),
            expected="[ARTIFACT] SOURCE SINK...",
            fix="bisenet-edge run synthetic:// overlay.mp4",
        )
    return artifact, rest[0], rest[1:]


def _print(report: RunReport) -> None:
    click.echo("\n".join(report.sentences()) + "\n")
    rows = [[name, t.p50_ms, t.p90_ms, t.p99_ms] for name, t in report.times().items()]
    click.echo(table(["stage (ms)", "p50", "p90", "p99"], rows))


def _section(report: RunReport, source: str) -> dict[str, Any]:
    """What `report.json` keeps of a run."""
    from bisenet_edge.runtime.uris import redacted

    section: dict[str, Any] = {
        "source": redacted(source),
        "sinks": [sink.uri for sink in report.sinks],
        "frames": report.frames_delivered,
        "dropped": report.frames_dropped,
        "wall_s": round(report.wall_s, 4),
        "fps": round(report.fps, 3),
        "frame_age": report.frame_age.to_json() if report.frame_age else None,
        "stages": {stage: summary.to_json() for stage, summary in report.stages.items()},
    }
    if report.latency_budget_ms is not None:
        section.update(deadline_ms=report.latency_budget_ms, deadline_misses=report.deadline_misses)
    return section
