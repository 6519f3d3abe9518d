"""`bisenet-edge evaluate`: how good are the masks of one model?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bisenet_edge.cli.evaluation_options import method_options
from bisenet_edge.cli.options import SIZE, data_option, find_artifact, json_option, refuse_null
from bisenet_edge.cli.render import Bars, emit, next_command
from bisenet_edge.errors import UsageError

if TYPE_CHECKING:
    from bisenet_edge.dataset import Dataset
    from bisenet_edge.runtime.evaluation.evaluate import Evaluation
    from bisenet_edge.runtime.evaluation.method import Method

OF_ARTIFACTS = ("precision", "backend", "threads")
OF_CHECKPOINTS = ("size", "device")
WORDS = {"size": "--res"}


@click.command("evaluate")
@click.argument("model", required=False, type=click.Path(path_type=Path), metavar="[CHECKPOINT|ARTIFACT]")
@data_option
@click.option("--split", default="val", show_default=True, help="train, val or test.")
@method_options
@click.option("--precision", help="Of an artifact: int8, fp32, ... (default: what runs by default).")
@click.option("--backend", help="Of an artifact: auto (default), cpu, openvino, onnxruntime, reference, ...")
@click.option("--threads", type=click.IntRange(0, 1024), help="Of an artifact: CPU threads; 0 = all.")
@click.option("--res", "size", type=SIZE, help="Of a checkpoint: input size (default: each picture's own).")
@click.option("--device", help="Of a checkpoint: auto (default), cpu, cuda or cuda:N.")
@click.option("--confusion", is_flag=True, help="Print the confusion matrix too.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.html",
              help="Write the page here; without it an artifact's own report gets a section.")  # fmt: skip
@json_option
def command(model: Path | None, data: str, split: str, as_json: bool, **options: Any) -> None:
    """Measure mIoU, IoU per class and the confusion matrix of one model (default: the newest artifact).

    \b
    bisenet-edge evaluate --data camvid:PATH
    bisenet-edge evaluate my.safetensors --data camvid:PATH --scales 0.5,0.75,1,1.25,1.5,1.75 --flip
    """
    from bisenet_edge.runtime.datasets import open_dataset
    from bisenet_edge.runtime.evaluation.method import Method

    method = Method.parse(options["scales"], options["flip"], options["slide"])
    report = options["report"]
    if report is not None and report.suffix != ".html":
        raise UsageError("a report is an HTML page", got=str(report), expected="a name that ends in .html")
    of_checkpoint = model is not None and not model.is_dir()
    _refuse(options, OF_ARTIFACTS if of_checkpoint else OF_CHECKPOINTS, of_checkpoint)
    dataset = open_dataset(data, split)
    if of_checkpoint:
        assert model is not None
        result, folder = _checkpoint(model, dataset, method, options), None
        following = ["export", str(model), "--int8", "--data", data]
    else:
        result, folder = _artifact(model, dataset, method, options)
        following = ["check", *([str(model)] if model else []), "--data", data]
    _tell(result, model or folder, as_json, options["confusion"])
    written = _write(result, folder, report)
    if not as_json:
        click.echo(written)
        next_command(shlex.join(["bisenet-edge", *following]))


def _refuse(options: dict[str, Any], foreign: tuple[str, ...], of_checkpoint: bool) -> None:
    given = [WORDS.get(name, f"--{name}") for name in foreign if options[name] is not None]
    if not given:
        return
    if of_checkpoint:
        raise UsageError(
            "an engine runs artifacts; a checkpoint is evaluated in torch, in FP32",
            got=given[0],
            expected="an artifact, or a checkpoint without it",
            fix="bisenet-edge export CHECKPOINT --int8, then evaluate the artifact",
        )
    raise UsageError(
        "an artifact has its size, and an engine that runs it",
        got=given[0],
        expected="a checkpoint, or an artifact without it",
        fix="bisenet-edge evaluate CHECKPOINT --data URI",
    )


def _artifact(
    path: Path | None, dataset: Dataset, method: Method, options: dict[str, Any]
) -> tuple[Evaluation, Path]:
    from bisenet_edge.runtime.evaluation.evaluate import EngineOptions, evaluate_artifact

    refuse_null(options["backend"] or "")
    artifact = find_artifact(path, int8=options["precision"] in (None, "int8"))
    engine = EngineOptions(options["backend"] or "auto", options["threads"] or 0, method)
    found = evaluate_artifact(artifact, dataset, options["precision"] or "", engine, Bars())
    return found, artifact.path


def _checkpoint(path: Path, dataset: Dataset, method: Method, options: dict[str, Any]) -> Evaluation:
    from bisenet_edge.toolchain import checkpoint as checkpoints
    from bisenet_edge.toolchain.evaluation import CheckpointOptions, evaluate_checkpoint

    chosen = CheckpointOptions(options["size"], options["device"] or "auto", method)
    return evaluate_checkpoint(checkpoints.read(path), dataset, chosen, Bars())


def _tell(result: Evaluation, model: Path | None, as_json: bool, confusion: bool) -> None:
    from bisenet_edge.runtime.evaluation.text import evaluation_text

    section = result.to_json()
    if as_json:
        emit({"path": str(model), **section})
    else:
        click.echo(f"{model} on {evaluation_text(section, confusion=confusion)}")


def _write(result: Evaluation, folder: Path | None, page: Path | None) -> str:
    """Write the report; a line that says where it is."""
    from bisenet_edge.runtime.evaluation.report import add_to_report, write_page

    if page is not None:
        write_page(page, result)
        return f"report: {page}"
    if folder is None:
        return "no report was asked for: --report FILE.html has the pictures and the confusion matrix"
    written = add_to_report(folder, result)
    return f"report: {written.files[-1]}" + (f" ({written.reason})" if written.reason else "")
