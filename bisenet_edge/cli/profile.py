"""`bisenet-edge profile`: INT8 and floating point, interleaved, stage by stage."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from bisenet_edge.artifact import Artifact, write_manifest
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
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    help="int8, bf16 or fp32 (repeatable; default: all that this machine computes natively).",
)
@click.option("--samples", type=int, default=200, show_default=True, help="Per case, at least 100.")
@backend_option
@threads_option
@json_option
def command(
    artifact: Path | None,
    sizes: tuple[Size, ...],
    precisions: tuple[str, ...],
    samples: int,
    as_json: bool,
    **engine: Any,
) -> int:
    """Latency of ARTIFACT, or of the newest one of each --res (made when there is none)."""
    from bisenet_edge.runtime.backends import open_session
    from bisenet_edge.runtime.profiler import CAMERA_SIZE, Case, ProfileOptions, profile
    from bisenet_edge.runtime.report import update_report
    from bisenet_edge.runtime.streets import Scene

    refuse_null(engine["backend"])
    options = ProfileOptions(samples=samples)
    found = _artifacts(artifact, sizes)
    flavours = _flavours(precisions, engine["backend"])
    scene = Scene(SCENE_SEED, CAMERA_SIZE)
    frames = [scene.render(second)[0] for second in range(SCENE_FRAMES)]
    with ExitStack() as stack:
        cases = []
        for one in found:
            for precision in flavours:
                session = stack.enter_context(open_session(one, precision, **engine))
                cases.append(Case(f"{one.manifest.model} {one.manifest.size} {precision}", session))
        result = profile(cases, frames, options, Bars())
    section = result.to_json()
    # The figures first: a read-only artifact must not cost minutes of work.
    if as_json:
        emit(section)
    else:
        _print(section)
    for number, one in enumerate(found):
        own = result.cases[number * len(flavours) : (number + 1) * len(flavours)]
        part = result.part(own).to_json()
        written = update_report(one.path, "profile", part)
        _remember(one, part, engine["threads"])
        if not as_json:
            click.echo(f"report: {written.files[-1]}" + (f" ({written.reason})" if written.reason else ""))
    if not as_json:
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


def _flavours(asked: tuple[str, ...], backend: str) -> tuple[str, ...]:
    """What to time: what was asked for, each once, else INT8 and all floating point worth comparing."""
    from bisenet_edge.runtime.backends import choose_backend, native_float16

    if asked:
        return tuple(dict.fromkeys(asked))
    half = native_float16(choose_backend(backend))
    return ("int8", half, "fp32") if half else ("int8", "fp32")


def _remember(artifact: Artifact, section: dict[str, Any], threads: int) -> None:
    cases = section["cases"]
    latency = {
        "frame_to_mask": {
            case["precision"]: {key: case["frame_to_mask"][key] for key in ("p50_ms", "p90_ms", "p99_ms")}
            for case in cases
        },
        "samples": cases[0]["frame_to_mask"]["samples"],
        "conclusive": section["conclusive"],
        "camera": section["source"],
        "backend": cases[0]["backend"],
        "threads": cases[0]["engine"].get("threads", threads),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": section["machine"],
    }
    manifest = replace(artifact.manifest, measured={**artifact.manifest.measured, "latency": latency})
    write_manifest(artifact.path, manifest)


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
    click.echo()
    for ratio in section["ratios"]:
        low, high = ratio["ci95"]
        click.echo(
            f"{ratio['size']}: INT8 takes {ratio['int8_over_fp32']:.2f} of {ratio['against'].upper()}'s time "
            f"(95 % interval {low:.2f} to {high:.2f}), {ratio['speedup']:.2f} times as fast"
        )
    for size in dict.fromkeys(ratio["size"] for ratio in section["ratios"]):
        advise([ratio for ratio in section["ratios"] if ratio["size"] == size])
    click.echo(f"peak memory of this process: {section['peak_rss_mb']:.0f} MB")
    click.echo("paper: Titan X, milliseconds per frame. FPS: of one frame's decode to sink, without overlap.")
    if not section["conclusive"]:
        click.echo("INCONCLUSIVE: " + "; ".join(section["reasons"]))


def advise(ratios: list[dict[str, Any]]) -> None:
    """Where INT8 is not clearly faster than the fastest floating point of one size, say what to do."""
    hardest = max(ratios, key=lambda ratio: float(ratio["int8_over_fp32"]))
    low, high = hardest["ci95"]
    flavour, backend = hardest["against"], hardest["backend"]
    if low > 1:
        click.echo(
            f"{hardest['size']}: INT8 does not pay on {backend} here: run with --precision {flavour} "
            f"--backend {backend}, or try another --backend"
        )
    elif high >= 1:
        click.echo(
            f"{hardest['size']}: INT8 is not clearly faster than {flavour.upper()} here: "
            "profile again with more --samples"
        )
