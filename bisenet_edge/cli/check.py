"""`bisenet-edge check`: does INT8 keep the promise?"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bisenet_edge.artifact import Artifact, write_manifest
from bisenet_edge.cli.app import EXIT_GATE
from bisenet_edge.cli.evaluation_options import method_options
from bisenet_edge.cli.options import (
    artifact_argument,
    backend_option,
    data_option,
    find_artifact,
    json_option,
    refuse_null,
    threads_option,
)
from bisenet_edge.cli.render import Bars, emit, next_command

FOR_THE_REPORT = ("confusion", "palette")
"""Keys of an accuracy section that a manifest does without."""


@click.command("check")
@artifact_argument
@data_option
@click.option("--split", default="val", show_default=True, help="train, val or test.")
@click.option("--max-drop", type=float, help="Points of mIoU that INT8 may lose; more is exit code 3.")
@click.option("--max-class-drop", type=float, help="Likewise, points of IoU of any one class.")
@click.option("--precision", default="int8", show_default=True, help="What is held against FP32.")
@method_options
@backend_option
@threads_option
@json_option
def command(
    artifact: Path | None, data: str, split: str, precision: str, as_json: bool, **options: Any
) -> int:
    """Measure FP32 and INT8 mIoU of ARTIFACT (default: the newest) on labelled pictures.

    With --backend tensorrt the engines themselves are measured, on the device they run on. With --scales,
    --flip or --slide both are measured on the mean of several views of each picture, which a device does not
    compute: such figures go into the report, and not into the artifact's manifest.
    """
    from bisenet_edge.runtime.accuracy import Gate, accuracy_text, compare
    from bisenet_edge.runtime.datasets import open_dataset
    from bisenet_edge.runtime.evaluation.evaluate import EngineOptions
    from bisenet_edge.runtime.evaluation.method import Method
    from bisenet_edge.runtime.report.sections import update_report

    refuse_null(options["backend"])
    method = Method.parse(options["scales"], options["flip"], options["slide"])
    found = find_artifact(artifact)
    gate = Gate(options["max_drop"], options["max_class_drop"])
    dataset = open_dataset(data, split)
    engine = EngineOptions(options["backend"], options["threads"], method)
    result = compare(found, dataset, precision, engine, Bars())
    section = result.to_json(gate)
    # The figures first: a read-only artifact must not cost minutes of work.
    if as_json:
        emit({"artifact": str(found.path), **section})
    else:
        click.echo(f"{found.path} on {accuracy_text(section)}")
        next_command(_next(found, section))
    frames = result.gallery.write(found.path, "accuracy")
    update_report(found.path, "accuracy", {**section, "frames": frames})
    if method.plain:
        _remember(found, section)
    return 0 if section["passed"] else EXIT_GATE


def _remember(artifact: Artifact, section: dict[str, Any]) -> None:
    from bisenet_edge.runtime.machine import describe_machine

    figures = {key: value for key, value in section.items() if key not in FOR_THE_REPORT}
    accuracy = {**figures, "machine": describe_machine()}
    manifest = replace(artifact.manifest, measured={**artifact.manifest.measured, "accuracy": accuracy})
    write_manifest(artifact.path, manifest)


def _next(artifact: Artifact, section: dict[str, Any]) -> str:
    if section["passed"]:
        return f"bisenet-edge profile --res {artifact.manifest.size}"
    # The promise at export searches for a network that passes here.
    words = ["bisenet-edge", "export", "--int8", "--res", str(artifact.manifest.size)]
    words += ["--data", section["data"]]
    for option, key in (("--max-drop", "max_drop"), ("--max-class-drop", "max_class_drop")):
        words += [option, f"{section[key]:g}"] if section[key] is not None else []
    return shlex.join(words)
