"""`bisenet-edge export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bisenet_edge.cli.app import EXIT_GATE
from bisenet_edge.cli.options import ARTIFACTS, SIZE, json_option
from bisenet_edge.cli.render import Bars, emit, next_command, note, table
from bisenet_edge.frame import Size

if TYPE_CHECKING:
    from bisenet_edge.toolchain.export import Exported
    from bisenet_edge.toolchain.int8 import Int8Options
    from bisenet_edge.toolchain.quant.select_frames import CalibrationRecipe
    from bisenet_edge.toolchain.run_state import EpochResult


@click.command("export")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path), metavar="[CHECKPOINT]")
@click.option("--int8", is_flag=True, help="Quantize: INT8 with explicit Q/DQ, calibrated on pictures.")
@click.option("--res", "size", type=SIZE, default="640x360", show_default=True, help="Input size.")
@click.option(
    "--data",
    metavar="URI",
    help="Calibrate (and fine-tune) on this data set's train split, measure and verify on its val split.",
)
@click.option("--max-drop", type=float, help="Promise: points of mIoU that INT8 may lose, else exit code 3.")
@click.option("--max-class-drop", type=float, help="Likewise, points of IoU of any one class.")
@click.option(
    "--method",
    type=click.Choice(["auto", "ptq", "qat"]),
    default="auto",
    show_default=True,
    help="ptq: calibrate; qat: then fine-tune; auto: fine-tune only when the promise needs it.",
)
@click.option("--calibration", type=click.Path(path_type=Path), help="Calibration recipe (TOML).")
@click.option(
    "--count", type=click.IntRange(min=1), help="Calibration pictures (default: 64, or all there are)."
)
@click.option("--seed", type=click.IntRange(min=0), help="Of their choice (default: the recipe's, 0).")
@click.option("--observer", default="mse", show_default=True, help="max, percentile, entropy or mse.")
@click.option(
    "--collapse",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="Merge depthwise + pointwise pairs where that lowers the quantization noise.",
)
@click.option("--qat-recipe", type=click.Path(path_type=Path), help="Recipe of the fine-tuning (TOML).")
@click.option("--qat-epochs", type=click.IntRange(min=1), help="Epochs of fine-tuning (default: 8).")
@click.option("--device", default="auto", show_default=True, help="Of the fine-tuning: auto, cpu, cuda.")
@click.option("--out", type=click.Path(path_type=Path), help="Artifact folder (default: artifacts/NAME).")
@json_option
def command(checkpoint: Path | None, int8: bool, size: Size, as_json: bool, **rest: Any) -> int:
    """Turn CHECKPOINT (default: the shipped one) into an artifact and verify every file of it."""
    from bisenet_edge.resources import shipped_checkpoint
    from bisenet_edge.toolchain import checkpoint as checkpoints
    from bisenet_edge.toolchain.export import ExportOptions, default_name, export
    from bisenet_edge.toolchain.report_sections import write_export_report, write_failure_report

    if not int8:
        _refuse_without_int8(rest)
    wanted = _int8_options(rest, checkpoint) if int8 else None
    loaded = checkpoints.read(checkpoint or shipped_checkpoint())
    options = ExportOptions(size, wanted, rest["data"] or "")
    folder = rest["out"] or ARTIFACTS / default_name(loaded, options)
    exported = export(loaded, options, folder, on_epoch=_tell, progress=Bars())
    if exported.artifact is None:
        written = write_failure_report(exported, loaded, folder)
        code = _failed(exported, written.files[-1], loaded.labels.names, as_json)
        if not as_json:
            next_command(_another_way(exported, checkpoint, rest))
        return code
    written = write_export_report(exported)
    if as_json:
        emit({"artifact": str(folder), **exported.artifact.manifest.to_json()})
        return 0
    _print(exported, folder)
    click.echo(written.text)
    next_command(_measured(exported, folder, rest) if int8 else "bisenet-edge export --int8")
    return 0


def _measured(exported: Exported, folder: Path, rest: dict[str, Any]) -> str:
    """The command that measures an artifact: its drop, where a data set of its classes is at hand."""
    from bisenet_edge.labels import CAMVID

    assert exported.artifact is not None
    manifest = exported.artifact.manifest
    named = [str(folder)] if rest["out"] else []
    if not rest["data"] and manifest.labels.names != CAMVID.names:  # synthetic streets have CamVid's
        return shlex.join(["bisenet-edge", "profile", *named, "--res", str(manifest.size)])
    data = rest["data"] or "synthetic:"
    return shlex.join(["bisenet-edge", "check", *named, "--data", data, "--max-drop", "1.0"])


def _refuse_without_int8(rest: dict[str, Any]) -> None:
    from bisenet_edge.errors import UsageError

    needs_int8 = ("max_drop", "max_class_drop", "calibration", "count", "seed", "qat_recipe", "qat_epochs")
    given = [f"--{name.replace('_', '-')}" for name in needs_int8 if rest[name] is not None]
    given += ["--method"] if rest["method"] != "auto" else []
    if given:
        raise UsageError(
            "this says how to quantize, and nothing is quantized", got=given[0], fix="add --int8"
        )


def _int8_options(rest: dict[str, Any], checkpoint: Path | None) -> Int8Options:
    from bisenet_edge.errors import unknown_name
    from bisenet_edge.runtime.accuracy import Gate
    from bisenet_edge.toolchain.int8 import Int8Options
    from bisenet_edge.toolchain.quant.observers import OBSERVERS

    if rest["observer"] not in OBSERVERS:
        raise unknown_name("observer", rest["observer"], OBSERVERS)
    gated = rest["max_drop"] is not None or rest["max_class_drop"] is not None
    return Int8Options(
        calibration=_calibration(rest),
        observer=rest["observer"],
        collapse=rest["collapse"],
        method=rest["method"],
        gate=Gate(rest["max_drop"], rest["max_class_drop"]) if gated else None,
        data=rest["data"] or "",
        qat=_qat_recipe(rest, checkpoint),
        device=rest["device"],
    )


def _calibration(rest: dict[str, Any]) -> CalibrationRecipe:
    from dataclasses import replace

    from bisenet_edge.errors import UsageError
    from bisenet_edge.resources import data_folder
    from bisenet_edge.toolchain.quant.select_frames import CalibrationRecipe

    recipe = CalibrationRecipe.read(rest["calibration"] or data_folder("calibration") / "streets.toml")
    if rest["calibration"] and (rest["count"] is not None or rest["seed"] is not None):
        raise UsageError(
            "a calibration recipe says itself which pictures it takes",
            got="--calibration with --count or --seed",
            fix="bisenet-edge calibrate select --data URI --count N --seed S",
        )
    if rest["data"] and not rest["calibration"]:
        recipe = recipe.with_data(rest["data"])
        if rest["count"] is None:
            recipe = _at_most_all(recipe)
    if rest["count"] is not None:
        recipe = replace(recipe, count=rest["count"], images=(), coverage=(), file="")
    if rest["seed"] is not None:
        recipe = replace(recipe, seed=rest["seed"], images=(), coverage=(), file="")
    return recipe


def _at_most_all(recipe: CalibrationRecipe) -> CalibrationRecipe:
    """The same, of a data set that may have fewer pictures than are usual."""
    from dataclasses import replace

    from bisenet_edge.runtime.datasets import open_dataset

    available = len(open_dataset(recipe.data, "train"))
    if available >= recipe.count:
        return recipe
    note(
        f"note: calibrating on all {available} pictures of {recipe.data} train, fewer than the usual "
        f"{recipe.count}"
    )
    return replace(recipe, count=available)


def _qat_recipe(rest: dict[str, Any], checkpoint: Path | None) -> Any:
    from bisenet_edge.errors import UsageError
    from bisenet_edge.resources import shipped_checkpoint
    from bisenet_edge.toolchain import checkpoint as checkpoints
    from bisenet_edge.toolchain.qat import QatRecipe

    data = (rest["data"],) if rest["data"] else None
    if rest["qat_recipe"]:
        return QatRecipe.read(rest["qat_recipe"], data=data, epochs=rest["qat_epochs"])
    if rest["qat_epochs"] is None:
        return None
    if data is None:
        raise UsageError(
            "fine-tuning needs labelled pictures", got="--qat-epochs and no data set", fix="--data URI"
        )
    model = checkpoints.read(checkpoint or shipped_checkpoint()).model
    return QatRecipe.from_options(model=model, data=data, epochs=rest["qat_epochs"])


def _tell(result: EpochResult) -> None:
    note(
        f"fine-tuning, epoch {result.epoch}/{result.epochs}: loss {result.loss:.4f}, val mIoU "
        f"{result.miou * 100:.2f}"
    )


def _print(exported: Exported, folder: Path) -> None:
    assert exported.artifact is not None
    manifest = exported.artifact.manifest
    files = [(file, f"{(folder / file).stat().st_size / 1e6:.2f} MB") for file in sorted(manifest.files)]
    click.echo(f"{folder}\n\n{table(['file', 'size'], [f for f in files if f[0].endswith('.onnx')])}\n")
    if exported.int8 and exported.int8.found:
        _print_search(exported, manifest.labels.names)
    click.echo(table(["verified against torch", "equal pixels"], _verification(manifest.measured)))
    convolutions = manifest.measured["verification"].get("int8 openvino convolutions")
    if convolutions:
        click.echo(f"\nconvolutions in INT8 on OpenVINO: {convolutions['int8']} of {convolutions['total']}")
        click.echo(f"depthwise + pointwise pairs merged: {manifest.calibration['collapsed_pairs']}")
        floating = manifest.calibration["floating_operators"]
        if floating:
            told = ", ".join(f"{count} x {name}" for name, count in floating.items())
            click.echo(f"operators that stay in floating point: {told}")
    if exported.payoff:
        click.echo(f"runs by default: {exported.payoff.chosen}. {exported.payoff.reason}")


def _print_search(exported: Exported, names: tuple[str, ...]) -> None:
    assert exported.int8 is not None and exported.int8.found is not None
    section = exported.int8.found.to_json(names)
    rows = [
        [
            step["name"],
            step["miou"] * 100,
            step["drop_points"],
            f"{step['worst_class']} {step['worst_class_drop_points']:.2f}",
            step["speedup"],
            "yes" if step["passed"] else "no",
        ]
        for step in section["steps"]
    ]
    header = ["tried", "mIoU", "drop", "worst class", "FP32 time / its", "passes"]
    limits = [f"{what} {section[key]:g}" for what, key in _LIMITS if section[key] is not None]
    click.echo(f"{section['data']} {section['split']}, {section['images']} pictures, {section['backend']}")
    click.echo(f"FP32 mIoU {section['fp32']['miou'] * 100:.2f}; promise: {', '.join(limits)}\n")
    click.echo(f"{table(header, rows)}\n")
    if section["sensitivity"]:
        blocks = [
            [b["block"], b["convolutions"], b["only_drop_points"], b["without_drop_points"]]
            for b in sorted(section["sensitivity"], key=lambda b: -b["only_drop_points"])
        ]
        header = ["block", "convolutions", "drop, only it in INT8", "drop, all but it"]
        click.echo(f"{table(header, blocks)}\n")
    click.echo(f"{'kept' if section['passed'] else 'BROKEN'}: {section['reason']}\n")


_LIMITS = (("mIoU drop at most", "max_drop"), ("class drop at most", "max_class_drop"))


def _failed(exported: Exported, report: Path, names: tuple[str, ...], as_json: bool) -> int:
    assert exported.int8 is not None and exported.int8.found is not None
    if as_json:
        emit({"artifact": None, "report": str(report), "search": exported.int8.found.to_json(names)})
        return EXIT_GATE
    _print_search(exported, names)
    click.echo(f"no artifact was written. report: {report}")
    return EXIT_GATE


def _another_way(exported: Exported, checkpoint: Path | None, rest: dict[str, Any]) -> str:
    """What to try when nothing kept the promise: training, or longer training."""
    assert exported.int8 is not None and exported.int8.found is not None
    words = ["bisenet-edge", "export", *([str(checkpoint)] if checkpoint else []), "--int8"]
    words += ["--method", "qat", "--data", rest["data"] or "URI"]
    if any(step.stage == "qat" for step in exported.int8.found.steps):
        words += ["--qat-epochs", "20"]
    return f"{shlex.join(words)}  # or a wider --max-drop"


def _verification(measured: dict[str, Any]) -> list[tuple[str, str]]:
    figures = measured["verification"]
    return [(key, f"{value:.3%}") for key, value in figures.items() if isinstance(value, float)]
