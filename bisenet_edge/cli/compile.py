"""`bisenet-edge compile`: the engines of an artifact, on the device that runs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bisenet_edge.artifact import Artifact, write_manifest
from bisenet_edge.cli import compile_text
from bisenet_edge.cli.app import EXIT_GATE
from bisenet_edge.cli.options import artifact_argument, find_or_export, json_option
from bisenet_edge.cli.render import Bars, emit, next_command


@click.command("compile")
@artifact_argument
@click.option(
    "--precision",
    default="best",
    show_default=True,
    help="int8, fp16, or best: both, and the faster one runs. fp32 is for comparisons.",
)
@click.option(
    "--workspace-mb", type=int, help="Most memory that a kernel may use (default: all that is free)."
)
@click.option("--opt-level", type=int, help="0 builds fast, 5 tries the most kernels (default: 3).")
@click.option("--rebuild", is_flag=True, help="Build even when the cache has an engine that serves.")
@json_option
def command(artifact: Path | None, precision: str, as_json: bool, rebuild: bool, **limits: Any) -> int:
    """Build the TensorRT engines of ARTIFACT (default: the newest) on this device, and test them.

    \b
    Engines are kept in ~/.cache/bisenet-edge, or $BISENET_EDGE_CACHE. Exit code 3: an engine's masks
    differ from the bundled ones; it is not used.
    """
    from bisenet_edge.runtime.report import update_report
    from bisenet_edge.runtime.tensorrt.builder import BuildOptions
    from bisenet_edge.runtime.tensorrt.compile import BEST, Compiler

    options = BuildOptions(**limits)
    found = find_or_export(artifact)
    compiler = Compiler(found, Bars())
    if precision == BEST:
        compiled = compiler.choose(options, rebuild=rebuild)
    else:
        compiled = compiler.only(precision, options, rebuild=rebuild)
    section = compiled.to_json()
    if as_json:
        emit({"artifact": str(found.path), **section})
    else:
        click.echo("\n".join(compile_text.lines(section)))
    _remember(found, section)
    update_report(found.path, "tensorrt", section)
    if not as_json:
        next_command("bisenet-edge profile" if compiled.passed else "bisenet-edge doctor")
    return 0 if compiled.passed else EXIT_GATE


def _remember(artifact: Artifact, section: dict[str, Any]) -> None:
    from bisenet_edge.runtime.machine import describe_machine

    choice = {key: section[key] for key in ("device", "chosen", "reason", "payoff")}
    measured = {**artifact.manifest.measured, "tensorrt": {**choice, "machine": describe_machine()}}
    write_manifest(artifact.path, replace(artifact.manifest, measured=measured))
