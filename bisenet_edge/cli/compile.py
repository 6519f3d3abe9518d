"""`bisenet-edge compile`: the engines of an artifact, on the device that runs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bisenet_edge.artifact import Artifact, write_manifest
from bisenet_edge.cli.app import EXIT_GATE
from bisenet_edge.cli.options import artifact_argument, find_or_export, json_option
from bisenet_edge.cli.render import Bars, emit, next_command
from bisenet_edge.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from bisenet_edge.runtime.tensorrt.compiled import Compiled

COMPILERS = ("tensorrt", "torch-tensorrt")
PRECISIONS = ("best", "int8", "fp16", "fp32")
FORMS = ("plan", "exported-program", "dry-run")


@click.command("compile")
@artifact_argument
@click.option(
    "--precision",
    default="best",
    show_default=True,
    help="int8, fp16, or best: both, and the faster one runs. fp32 is for comparisons.",
)
@click.option("--workspace-mb", type=int, help="Most memory that a kernel may use (default: all).")
@click.option("--opt-level", type=int, help="0 builds fast, 5 tries the most kernels (default: 3).")
@click.option("--rebuild", is_flag=True, help="Build even when the cache has an engine that serves.")
@click.option("--with", "compiler", default="tensorrt", show_default=True, help="tensorrt or torch-tensorrt.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="With torch-tensorrt: what the artifact was exported from (default: the shipped one).",
)
@click.option(
    "--form",
    default="plan",
    show_default=True,
    help="With torch-tensorrt: plan, exported-program (for torch), or dry-run (which operators are taken).",
)
@click.option("--out", type=click.Path(path_type=Path), help="File for another form than plan.")
@json_option
def command(artifact: Path | None, compiler: str, as_json: bool, **options: Any) -> int:
    """Build the TensorRT engines of ARTIFACT (default: the newest) on this device, and test them.

    \b
    Engines are kept in ~/.cache/bisenet-edge, or $BISENET_EDGE_CACHE. Exit code 3: an engine's masks
    differ from the bundled ones; it is not used.
    """
    from bisenet_edge.runtime.report.sections import update_report
    from bisenet_edge.runtime.tensorrt.compile_text import compile_text

    if compiler not in COMPILERS:
        raise unknown_name("compiler", compiler, COMPILERS)
    if options["precision"] not in PRECISIONS:
        raise unknown_name("precision", options["precision"], PRECISIONS)
    if compiler == "torch-tensorrt" and options["rebuild"]:
        raise UsageError("Torch-TensorRT builds anew every time", got="--rebuild", fix="leave it out")
    found = find_or_export(artifact)
    if compiler == "tensorrt":
        compiled = _with_tensorrt(found, options)
    elif options["form"] == "plan":
        compiled = _with_torch_tensorrt(found, options)
    else:
        return _write_file(found, options, as_json)
    section = compiled.to_json()
    if as_json:
        emit({"artifact": str(found.path), **section})
    else:
        click.echo(compile_text(section))
    _remember(found, section)
    update_report(found.path, "tensorrt", section)
    if not as_json:
        next_command("bisenet-edge profile" if compiled.passed else "bisenet-edge doctor")
    return 0 if compiled.passed else EXIT_GATE


def _with_tensorrt(artifact: Artifact, options: dict[str, Any]) -> Compiled:
    from bisenet_edge.runtime.tensorrt.builder import BuildOptions
    from bisenet_edge.runtime.tensorrt.compile import BEST, Compiler

    for name, default in (("checkpoint", None), ("form", "plan"), ("out", None)):
        if options[name] != default:
            raise UsageError(
                "this belongs to Torch-TensorRT",
                got=f"--{name}",
                fix="add --with torch-tensorrt, or leave it out",
            )
    limits = BuildOptions(options["workspace_mb"], options["opt_level"])
    compiler = Compiler(artifact, Bars())
    if options["precision"] == BEST:
        return compiler.choose(limits, rebuild=options["rebuild"])
    return compiler.only(options["precision"], limits, rebuild=options["rebuild"])


def _with_torch_tensorrt(artifact: Artifact, options: dict[str, Any]) -> Compiled:
    from bisenet_edge.toolchain.torch_tensorrt.engine import Origin, compile_engine

    return compile_engine(Origin(artifact, *_origin(options)), _settings(options), Bars())


def _write_file(artifact: Artifact, options: dict[str, Any], as_json: bool) -> int:
    from bisenet_edge.toolchain.torch_tensorrt.compiler import SUFFIXES
    from bisenet_edge.toolchain.torch_tensorrt.engine import Origin, compile_file

    if options["form"] not in FORMS:
        raise unknown_name("form", options["form"], FORMS)
    out = options["out"] or Path(artifact.manifest.name + SUFFIXES[options["form"]])
    made = compile_file(Origin(artifact, *_origin(options)), _settings(options), out, Bars())
    if as_json:
        emit(made.to_json())
        return 0
    click.echo(f"{made.path}  {made.size_bytes / 1e6:.2f} MB, {made.form}, in {made.seconds:.0f} s")
    click.echo(f"torch {made.torch}, torch-tensorrt {made.torch_tensorrt}, TensorRT {made.tensorrt}")
    if made.note:
        click.echo(made.note)
    next_command("bisenet-edge compile --with torch-tensorrt")
    return 0


def _origin(options: dict[str, Any]) -> tuple[Path | None, str]:
    # Torch-TensorRT makes one engine at a time; INT8 is what it is asked for.
    precision = "int8" if options["precision"] == "best" else options["precision"]
    return options["checkpoint"], precision


def _settings(options: dict[str, Any]) -> Any:
    from bisenet_edge.toolchain.torch_tensorrt.settings import Settings

    return Settings(
        form=options["form"],
        precision="fp32" if options["precision"] == "fp32" else "fp16",
        workspace_mb=options["workspace_mb"] or 0,
        optimization_level=options["opt_level"],
    )


def _remember(artifact: Artifact, section: dict[str, Any]) -> None:
    from bisenet_edge.runtime.machine import describe_machine

    choice = {key: section[key] for key in ("device", "chosen", "reason", "payoff")}
    measured = {**artifact.manifest.measured, "tensorrt": {**choice, "machine": describe_machine()}}
    write_manifest(artifact.path, replace(artifact.manifest, measured=measured))
