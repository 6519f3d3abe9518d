"""`bisenet-edge profile`: INT8 and FP32, interleaved, stage by stage."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from bisenet_edge.artifact import Artifact
from bisenet_edge.cli.app import EXIT_INCONCLUSIVE
from bisenet_edge.cli.options import (
    SIZE,
    artifact_argument,
    backend_option,
    find_or_export,
    json_option,
    refuse_null,
    threads_option,
)
from bisenet_edge.cli.render import Bars, emit, next_command, table
from bisenet_edge.frame import Size

SCENE_SEED = 7
SCENE_FRAMES = 20


@click.command("profile")
@artifact_argument
@click.option("--res", "sizes", type=SIZE, multiple=True, help="Network input size (repeatable).")
@click.option("--samples", type=int, default=200, show_default=True, help="Per case, at least 100.")
@backend_option
@threads_option
@json_option
def command(
    artifact: Path | None, sizes: tuple[Size, ...], samples: int, backend: str, threads: int, as_json: bool
) -> int:
    """Latency of ARTIFACT, or of the newest one of each --res (made when there is none)."""
    from bisenet_edge.runtime.backends import open_session
    from bisenet_edge.runtime.profiler import CAMERA_SIZE, Case, ProfileOptions, profile
    from bisenet_edge.runtime.report import update_report
    from bisenet_edge.runtime.streets import Scene

    refuse_null(backend)
    options = ProfileOptions(samples=samples)
    found = _artifacts(artifact, sizes)
    scene = Scene(SCENE_SEED, CAMERA_SIZE)
    frames = [scene.render(second)[0] for second in range(SCENE_FRAMES)]
    with ExitStack() as stack:
        cases = []
        for one in found:
            for precision in ("int8", "fp32"):
                session = stack.enter_context(open_session(one, precision, backend=backend, threads=threads))
                cases.append(Case(f"{one.manifest.model} {one.manifest.size} {precision}", session))
        result = profile(cases, frames, options, Bars())
    section = result.to_json()
    written = update_report(found[0].path, "profile", section)
    if as_json:
        emit(section)
    else:
        _print(section)
        click.echo(f"report: {written.files[-1]}" + (f" ({written.reason})" if written.reason else ""))
        next_command("bisenet-edge run synthetic:// overlay.mp4")
    return 0 if section["conclusive"] else EXIT_INCONCLUSIVE


def _artifacts(artifact: Path | None, sizes: tuple[Size, ...]) -> list[Artifact]:
    from bisenet_edge.errors import UsageError

    if artifact is None:
        return [find_or_export(None, size) for size in sizes or (None,)]
    found = find_or_export(artifact)
    if sizes and sizes != (found.manifest.size,):
        raise UsageError(
            "an artifact has one size",
            got=f"{found.path}: {found.manifest.size}",
            expected=", ".join(map(str, sizes)),
            fix="leave the artifact out to profile several sizes",
        )
    return [found]


def _print(section: dict[str, Any]) -> None:
    click.echo(f"{section['machine']['cpu']}, camera {section['source']}\n")
    rows = []
    for case in section["cases"]:
        times, stages = case["frame_to_mask"], case["stages"]
        paper = case["paper"]
        rows.append(
            [
                case["name"],
                times["p50_ms"],
                times["p90_ms"],
                times["p99_ms"],
                case["fps_p50"],
                *[stages[stage]["p50_ms"] for stage in ("decode", "resize", "infer", "sink")],
                paper["time_ms"] if paper else None,
            ]
        )
    header = ["frame -> mask (ms)", "p50", "p90", "p99", "FPS", "decode", "resize", "infer", "sink", "paper"]
    click.echo(table(header, rows))
    for ratio in section["ratios"]:
        low, high = ratio["ci95"]
        click.echo(
            f"\n{ratio['size']}: INT8 takes {ratio['int8_over_fp32']:.2f} of FP32's time "
            f"(95 % interval {low:.2f} to {high:.2f}), {ratio['speedup']:.2f} times as fast"
        )
    click.echo(f"peak memory of this process: {section['peak_rss_mb']:.0f} MB")
    click.echo("paper: Titan X, milliseconds per frame. FPS: of one frame's decode to sink, without overlap.")
    if not section["conclusive"]:
        click.echo("INCONCLUSIVE: " + "; ".join(section["reasons"]))
