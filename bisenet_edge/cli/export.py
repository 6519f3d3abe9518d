"""`bisenet-edge export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from bisenet_edge.cli.options import ARTIFACTS, SIZE, json_option
from bisenet_edge.cli.render import Bars, emit, next_command, table
from bisenet_edge.frame import Size


@click.command("export")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path), metavar="[CHECKPOINT]")
@click.option("--int8", is_flag=True, help="Quantize: INT8 with explicit Q/DQ, calibrated on pictures.")
@click.option("--res", "size", type=SIZE, default="640x360", show_default=True, help="Input size.")
@click.option(
    "--data", metavar="URI", help="Calibrate on this data set's train split, verify on its val split."
)
@click.option("--calibration", type=click.Path(path_type=Path), help="Calibration recipe (TOML).")
@click.option("--count", type=click.IntRange(min=1), help="Calibration pictures (default: the recipe's, 64).")
@click.option("--seed", type=click.IntRange(min=0), help="Of their choice (default: the recipe's, 0).")
@click.option("--observer", default="mse", show_default=True, help="max, percentile, entropy or mse.")
@click.option(
    "--collapse",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="Merge depthwise + pointwise pairs where that lowers the quantization noise.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Artifact folder (default: artifacts/NAME).")
@json_option
def command(
    checkpoint: Path | None, int8: bool, size: Size, observer: str, collapse: str, **rest: Any
) -> None:
    """Turn CHECKPOINT (default: the shipped one) into an artifact and verify every file of it."""
    from bisenet_edge.errors import unknown_name
    from bisenet_edge.resources import shipped_checkpoint
    from bisenet_edge.toolchain import checkpoint as checkpoints
    from bisenet_edge.toolchain.export import ExportOptions, default_name, export
    from bisenet_edge.toolchain.quant.observers import OBSERVERS
    from bisenet_edge.toolchain.report_sections import write_export_report

    if observer not in OBSERVERS:
        raise unknown_name("observer", observer, OBSERVERS)
    recipe = _calibration(rest) if int8 else None
    loaded = checkpoints.read(checkpoint or shipped_checkpoint())
    options = ExportOptions(size, recipe, observer, collapse)
    if rest["data"]:
        options = ExportOptions(size, recipe, observer, collapse, verify_data=rest["data"])
    folder = rest["out"] or ARTIFACTS / default_name(loaded, options)
    exported = export(loaded, options, folder, Bars())
    written = write_export_report(exported)
    manifest = exported.artifact.manifest
    if rest["as_json"]:
        emit({"artifact": str(folder), **manifest.to_json()})
        return
    files = [(file, f"{(folder / file).stat().st_size / 1e6:.2f} MB") for file in sorted(manifest.files)]
    click.echo(f"{folder}\n\n{table(['file', 'size'], [f for f in files if f[0].endswith('.onnx')])}\n")
    click.echo(table(["verified against torch", "equal pixels"], _verification(manifest.measured)))
    convolutions = manifest.measured["verification"].get("int8 openvino convolutions")
    if convolutions:
        click.echo(f"\nconvolutions in INT8 on OpenVINO: {convolutions['int8']} of {convolutions['total']}")
        click.echo(f"depthwise + pointwise pairs merged: {exported.collapsed}")
    click.echo(f"report: {written.files[-1]}" + (f" ({written.reason})" if written.reason else ""))
    named = [str(folder)] if rest["out"] else []
    check = ["bisenet-edge", "check", *named, "--data", rest["data"] or "synthetic:", "--max-drop", "1.0"]
    next_command(shlex.join(check) if int8 else "bisenet-edge export --int8")


def _calibration(rest: dict[str, Any]) -> Any:
    from dataclasses import replace

    from bisenet_edge.resources import data_folder
    from bisenet_edge.toolchain.quant.select_frames import CalibrationRecipe

    recipe = CalibrationRecipe.read(rest["calibration"] or data_folder("calibration") / "streets.toml")
    if rest["data"]:
        recipe = recipe.with_data(rest["data"])
    if rest["count"] is not None:
        recipe = replace(recipe, count=rest["count"], images=())
    if rest["seed"] is not None:
        recipe = replace(recipe, seed=rest["seed"], images=())
    return recipe


def _verification(measured: dict[str, Any]) -> list[tuple[str, str]]:
    figures = measured["verification"]
    return [(key, f"{value:.3%}") for key, value in figures.items() if isinstance(value, float)]
