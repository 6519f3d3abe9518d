"""`bisenet-edge run`."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from bisenet_edge.artifact import MANIFEST
from bisenet_edge.cli.options import backend_option, find_artifact, json_option, threads_option
from bisenet_edge.cli.render import Bars, emit, next_command, table
from bisenet_edge.errors import UsageError


@click.command("run")
@click.argument("words", nargs=-1, required=True, metavar="[ARTIFACT] SOURCE SINK...")
@click.option("--precision", default="", help="int8, bf16 or fp32 (default: what pays).")
@backend_option
@threads_option
@json_option
def command(words: tuple[str, ...], precision: str, backend: str, threads: int, as_json: bool) -> None:
    """Segment SOURCE into one or more SINKs with ARTIFACT (default: the newest).

    \b
    SOURCE  a video, a picture, a folder of pictures, synthetic://?seconds=10&seed=0
    SINK    overlay.mp4, a folder (masks as PNG), null://
    """
    from bisenet_edge.runtime import pipeline
    from bisenet_edge.runtime.backends import open_session
    from bisenet_edge.runtime.report import update_report
    from bisenet_edge.runtime.segmenter import Segmenter
    from bisenet_edge.runtime.sinks import open_sink
    from bisenet_edge.runtime.sources import open_source
    from bisenet_edge.runtime.uris import refuse_clashes

    path, source_uri, sink_uris = _split(words)
    refuse_clashes(source_uri, sink_uris)
    artifact = find_artifact(path, int8=False)
    stop = threading.Event()
    with ExitStack() as stack:
        before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
        stack.callback(signal.signal, signal.SIGTERM, before)
        source = stack.enter_context(open_source(source_uri))
        labels = artifact.manifest.labels
        sinks = [
            stack.enter_context(open_sink(uri, labels, source.fps, live=source.live)) for uri in sink_uris
        ]
        session = stack.enter_context(open_session(artifact, precision, backend=backend, threads=threads))
        report = pipeline.run(source, Segmenter(session), sinks, progress=Bars(), stop=stop).to_json()
    section = {
        "source": source_uri,
        "sinks": list(sink_uris),
        "frames": report["frames_written"],
        "dropped": report["frames_dropped"],
        "wall_s": report["wall_s"],
        "fps": report["fps"],
        "frame_age": report["frame_age"],
        "stages": report["stages"],
    }
    if as_json:
        emit(report)
    else:
        _print(section)
    update_report(artifact.path, "run", section)
    if as_json:
        return
    next_command("bisenet-edge deploy jetson")


def _split(words: tuple[str, ...]) -> tuple[Path | None, str, tuple[str, ...]]:
    artifact = Path(words[0]) if (Path(words[0]) / MANIFEST).is_file() else None
    rest = words if artifact is None else words[1:]
    if len(rest) < 2:
        raise UsageError(
            "run needs a source and at least one sink",
            got=" ".join(words),
            expected="[ARTIFACT] SOURCE SINK...",
            fix="bisenet-edge run synthetic:// overlay.mp4",
        )
    return artifact, rest[0], rest[1:]


def _print(section: dict[str, Any]) -> None:
    click.echo(
        f"{section['frames']} frames to {', '.join(section['sinks'])}: {section['fps']:.1f} FPS, "
        f"{section['dropped']} dropped\n"
    )
    named = {**section["stages"], "frame age": section["frame_age"]}
    rows = [[name, t["p50_ms"], t["p90_ms"], t["p99_ms"]] for name, t in named.items() if t]
    click.echo(table(["stage (ms)", "p50", "p90", "p99"], rows))
