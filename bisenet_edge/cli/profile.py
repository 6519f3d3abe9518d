"""`bisenet-edge profile`: INT8 and floating point, interleaved, stage by stage."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bisenet_edge.artifact import Artifact, write_manifest
from bisenet_edge.cli.app import EXIT_GATE, EXIT_INCONCLUSIVE
from bisenet_edge.cli.options import (
    SIZE,
    artifact_argument,
    backend_option,
    find_or_export,
    given_words,
    json_option,
    refuse_null,
    threads_option,
)
from bisenet_edge.cli.profile_estimate import tell_estimate
from bisenet_edge.cli.profile_paper import tell_paper
from bisenet_edge.cli.render import Bars, emit, next_command
from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size

if TYPE_CHECKING:
    from bisenet_edge.runtime.profile.profiler import ProfileOptions
    from bisenet_edge.runtime.profile.result import ProfileResult

WITH_PAPER = ("paper", "models", "sizes", "precisions", "backend", "threads", "as_json")


@click.command("profile")
@artifact_argument
@click.option("--res", "sizes", type=SIZE, multiple=True, help="Network input size (repeatable).")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    help="int8, fp16, bf16 or fp32 (repeatable; default: all that this machine computes natively).",
)
@click.option("--samples", type=int, default=200, show_default=True, help="Per case, at least 100.")
@click.option(
    "--burst", type=int, default=10, show_default=True, help="Samples of one case before the next one's turn."
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="REPORT",
    help="Compare with an older report.json (or saved --json): exit 3 when a case is slower.",
)
@click.option(
    "--max-regression",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="How much slower than --against is tolerated.",
)
@click.option("--force", is_flag=True, help="Compare although machine, engine version or camera differ.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="REPORT",
    help="With --against: compare this newer report instead of measuring.",
)
@click.option("--layers", is_flag=True, help="What each layer costs, too, and in which precision (TensorRT).")
@click.option("--estimate", "board", metavar="BOARD", help="Measure nothing: at best so fast on a board.")
@click.option(
    "--paper",
    is_flag=True,
    help="The paper's table of speeds instead, with random weights, at 640x360, 1280x720 and 1920x1080 "
    "(or each --res). Tells first how long that takes: a quarter of an hour or so on two CPU cores.",
)
@click.option(
    "--models",
    multiple=True,
    metavar="MODEL",
    help="With --paper: these networks of `bisenet-edge models` (repeatable, or a,b; default: segnet, enet "
    "and the two BiSeNets of the paper's table, icnet and bisenetv2; dlc alone takes nearly as long as all "
    "of these).",
)
@backend_option
@threads_option
@json_option
def command(
    *,
    artifact: Path | None,
    sizes: tuple[Size, ...],
    precisions: tuple[str, ...],
    samples: int,
    burst: int,
    against: Path | None,
    max_regression: float,
    force: bool,
    report: Path | None,
    board: str | None,
    layers: bool,
    paper: bool,
    models: tuple[str, ...],
    as_json: bool,
    **engine: Any,
) -> int:
    """Latency of ARTIFACT, or of the newest one of each --res (made when there is none)."""
    from bisenet_edge.runtime.profile.compare import compare, load_profile, refusal
    from bisenet_edge.runtime.profile.profiler import ProfileOptions

    refuse_null(engine["backend"])
    if paper or models:
        _refuse_others(paper)
        return tell_paper(_names(models), sizes, precisions, engine, as_json)
    options = ProfileOptions(samples=samples, burst=burst)
    if board is not None:
        if against is not None:
            raise UsageError("an estimate is no measurement to compare", got="--estimate and --against")
        return tell_estimate(board, _artifacts(artifact, sizes), as_json)
    before = None if against is None else load_profile(against)
    if report is not None:
        if before is None:
            raise UsageError("--report needs an older one to compare with", fix="add --against OLDER")
        comparison = compare(load_profile(report), before, max_regression / 100, force=force)
        return _tell({"comparison": comparison.to_json()}, as_json)
    refused = refusal(before) if before and not force else None
    if refused:
        return _tell({"comparison": refused.to_json()}, as_json)
    found = _artifacts(artifact, sizes)
    result = _measure(found, precisions, options, engine, layers=layers)
    section = result.to_json()
    if before:
        section["comparison"] = compare(section, before, max_regression / 100, force=force).to_json()
    # The figures first: a read-only artifact must not cost minutes of work.
    code = _tell(section, as_json)
    for number, one in enumerate(found):
        count = len(result.cases) // len(found)
        part = result.part(result.cases[number * count : (number + 1) * count]).to_json()
        told = _write(one, {**part, "comparison": section.get("comparison")}, engine["threads"], against)
        if not as_json:
            click.echo(told)
    if not as_json:
        done = section["conclusive"]
        next_command(
            "bisenet-edge run synthetic:// overlay.mp4" if done else _again(samples, section["reasons"])
        )
    return code


def _again(samples: int, reasons: list[str]) -> str:
    """The same command with more samples: as many as the reasons ask for, at least twice as many."""
    asked = [int(number) for reason in reasons for number in re.findall(r"--samples (\d+)", reason)]
    words = given_words(click.get_current_context(), but=("samples",))
    return shlex.join(["bisenet-edge", "profile", *words, "--samples", str(max(2 * samples, *asked, 0))])


def _refuse_others(paper: bool) -> None:
    if not paper:
        raise UsageError("--models chooses from the paper's table", fix="add --paper")
    context = click.get_current_context()
    others = [
        "ARTIFACT" if parameter.name == "artifact" else parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in WITH_PAPER
        and context.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE
    ]
    if others:
        raise UsageError(
            "--paper measures networks with random weights, in a way of its own",
            got=f"{', '.join(others)} too",
            expected="with --paper: --models, --res, --precision, --backend, --threads and --json",
        )


def _artifacts(artifact: Path | None, sizes: tuple[Size, ...]) -> list[Artifact]:
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


def _measure(
    found: list[Artifact],
    precisions: tuple[str, ...],
    options: ProfileOptions,
    engine: dict[str, Any],
    *,
    layers: bool,
) -> ProfileResult:
    from bisenet_edge.runtime.backends import open_session
    from bisenet_edge.runtime.profile.artifacts import flavours, profile_artifacts

    progress = Bars()
    return profile_artifacts(
        found,
        flavours(precisions, engine["backend"]),
        lambda artifact, precision: open_session(artifact, precision, **engine, progress=progress),
        options,
        progress,
        layers=layers,
    )


def _tell(section: dict[str, Any], as_json: bool) -> int:
    """Print what was measured or compared, or both; the exit code of it."""
    from bisenet_edge.runtime.profile.text import comparison_text, profile_text

    comparison = section.get("comparison")
    if as_json:
        emit(section)
    else:
        texts = [profile_text(section)] if "cases" in section else []
        texts += [comparison_text(comparison)] if comparison else []
        click.echo("\n\n".join(texts))
    if comparison:
        return {"slower": EXIT_GATE, "inconclusive": EXIT_INCONCLUSIVE}.get(comparison["verdict"], 0)
    return 0 if section["conclusive"] else EXIT_INCONCLUSIVE


def _write(artifact: Artifact, section: dict[str, Any], threads: int, against: Path | None) -> str:
    """Bring an artifact's report and manifest up to date; what was done, in a sentence."""
    from bisenet_edge.runtime.report.sections import REPORT_JSON, update_report

    own = artifact.path / REPORT_JSON
    if (
        against is not None
        and own.exists()
        and own.resolve() in (against.resolve(), (against / REPORT_JSON).resolve())
    ):
        # Else a second try would compare with the slow figures of the first one, and pass.
        return f"report: {own} stays as it is: it is what was compared with"
    written = update_report(artifact.path, "profile", section)
    _remember(artifact, section, threads)
    return written.text


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


def _names(models: tuple[str, ...]) -> list[str]:
    names = [name.strip() for words in models for name in words.split(",") if name.strip()]
    if models and not names:
        raise UsageError("--models names no network", got=repr(",".join(models)), fix="bisenet-edge models")
    return names
