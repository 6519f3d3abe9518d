"""From a checkpoint to an artifact: fold, quantize, write every model file, verify, then call it done."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import fx

from bisenet_edge import __version__
from bisenet_edge.artifact import (
    MODEL_FILES,
    Artifact,
    Manifest,
    check_name,
    hash_files,
    is_artifact,
    write_manifest,
)
from bisenet_edge.errors import SinkError
from bisenet_edge.frame import Size
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.resources import replace_when_written
from bisenet_edge.runtime.accuracy import compare
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.evaluation.evaluate import EngineOptions
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.profile.payoff import Payoff, int8_pays
from bisenet_edge.runtime.selftest import write_golden
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.int8 import Int8, Int8Options, gate_data, make_int8
from bisenet_edge.toolchain.loop import EpochResult
from bisenet_edge.toolchain.onnx_graph import to_float16, to_onnx
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.placement import floating
from bisenet_edge.toolchain.verify import verify

GOLDEN_FRAMES = 4
TOOLS = ("torch", "onnx", "onnxsim", "onnxruntime", "openvino", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a checkpoint.

    Attributes:
        size: of the network's input.
        int8: how the INT8 network is made; None = no INT8 model.
        verify_data: data set whose val split gives the frames for verification and self-test; "" =
            synthetic streets of the same size.
    """

    size: Size
    int8: Int8Options | None = None
    verify_data: str = ""

    @property
    def precision(self) -> str:
        return "int8" if self.int8 else "fp32"


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    Attributes:
        artifact: written and verified; None when a gate was set and nothing passed it.
        int8: how the INT8 network came about; None without one.
        payoff: whether INT8 is faster here; None without it.
    """

    artifact: Artifact | None
    int8: Int8 | None = None
    payoff: Payoff | None = None


def default_name(checkpoint: Checkpoint, options: ExportOptions) -> str:
    """Folder name of an artifact: "bisenet-xception39-640x360-int8"."""
    return f"{checkpoint.model}-{options.size}-{options.precision}"


def export(
    checkpoint: Checkpoint,
    options: ExportOptions,
    folder: Path,
    *,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
    progress: Progress = quiet,
) -> Exported:
    """Make an artifact; `folder` appears (or is replaced) only when every file was verified.

    When a gate was set and no network passes it, nothing is written, and what was tried is returned.

    Raises:
        CheckpointError: the weights do not fit the network.
        CalibrationError, DatasetError: calibration images that cannot be used.
        ExportError: a graph that is not valid or whose masks differ from the network's.
        SinkError: the folder cannot be written, or holds something else than an artifact.
    """
    _refuse_foreign(folder)
    try:
        # Entered before the long work: a folder that cannot be written is found first.
        with replace_when_written(folder) as temporary:
            return _export(checkpoint, options, _Place(folder, temporary, on_epoch, progress))
    except _PromiseBrokenError as broken:
        return Exported(None, broken.int8)


class _PromiseBrokenError(Exception):
    """Leaves `export` without an artifact; a report to the caller, not an error."""

    def __init__(self, int8: Int8) -> None:
        super().__init__()
        self.int8 = int8


@dataclass(frozen=True)
class _Place:
    """Where an artifact is made, under which name it will stand, and who is told."""

    folder: Path
    temporary: Path
    on_epoch: Callable[[EpochResult], None]
    progress: Progress


def _export(checkpoint: Checkpoint, options: ExportOptions, place: _Place) -> Exported:
    temporary, progress = place.temporary, place.progress
    frames = _verification_frames(options)
    folded = fold(checkpoint.build())
    networks, int8 = {"fp32": folded}, None
    if options.int8 is not None:
        int8 = make_int8(
            checkpoint, folded, options.size, options.int8, on_epoch=place.on_epoch, progress=progress
        )
        if int8.quantized is None:
            raise _PromiseBrokenError(int8)
        networks["int8"] = int8.quantized.network
    temporary.mkdir(parents=True)
    _write_models(networks, options.size, temporary, progress)
    manifest = _manifest(checkpoint, options, int8, place.folder.name)
    stride = folded.meta["logits_stride"]
    manifest = replace(manifest, files=hash_files(temporary), logits_stride=stride)
    figures, golden = verify(Artifact(temporary, manifest), networks, frames, progress)
    write_golden(temporary, frames, golden)
    measured: dict[str, Any] = {"verification": figures, "machine": describe_machine()}
    manifest = replace(manifest, files=hash_files(temporary), measured=measured)
    payoff = _payoff(Artifact(temporary, manifest), options.int8, progress)
    if payoff is not None:
        measured["payoff"] = payoff.to_json()
        manifest = replace(manifest, runs=payoff.chosen)
    write_manifest(temporary, manifest)
    return Exported(Artifact(place.folder, manifest), int8, payoff)


def _payoff(artifact: Artifact, options: Int8Options | None, progress: Progress) -> Payoff | None:
    """Which precision runs by default: the fastest one, as long as it keeps the promise too."""
    if options is None:
        return None
    payoff = int8_pays(artifact, backend="cpu", progress=progress)
    if options.gate is None or payoff.chosen in ("int8", "fp32"):
        return payoff
    dataset = open_dataset(gate_data(options, artifact.manifest.size), "val")
    comparison = compare(artifact, dataset, payoff.chosen, EngineOptions("cpu"), progress)
    if comparison.passes(options.gate):
        return payoff
    name, drop = payoff.chosen.upper(), comparison.drop_points
    reason = f"{payoff.reason}, but {name} drops by {drop:.2f} points and breaks the promise that INT8 keeps"
    return replace(payoff, chosen="int8", reason=reason)


def _refuse_foreign(folder: Path) -> None:
    # The folder is replaced as a whole: `--out ~/pictures` must not delete the pictures.
    here = Path.cwd()
    if folder.resolve() in (here, *here.parents):
        raise SinkError(
            "the current folder cannot be replaced", got=str(folder), fix="for example --out artifacts/mine"
        )
    check_name(folder.resolve().name)
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not is_artifact(folder):
        raise SinkError(
            "something else stands where the artifact should be, and would be replaced",
            got=str(folder),
            expected="a new or empty folder, or an artifact",
            fix="give --out another folder",
        )


def _verification_frames(options: ExportOptions) -> Sequence[np.ndarray]:
    # Streets of the network's own size: of another shape, part of every frame would be padding.
    dataset = open_dataset(options.verify_data or f"synthetic:?count=20&size={options.size}", "val")
    step = max(1, len(dataset) // GOLDEN_FRAMES)
    images = [dataset[i].image for i in range(0, len(dataset), step)][:GOLDEN_FRAMES]
    fits = [Fit((image.shape[0], image.shape[1]), options.size) for image in images]
    return [np.array(fit.apply(image, fit.new_input())) for fit, image in zip(fits, images)]


def _write_models(networks: dict[str, fx.GraphModule], size: Size, folder: Path, progress: Progress) -> None:
    typed = {"fp32": "fp16-typed", "int8": "int8-typed"}
    for done, (name, network) in enumerate(networks.items(), 1):
        model = to_onnx(network, size)
        onnx.save(model, str(folder / MODEL_FILES[name]))
        onnx.save(to_float16(model), str(folder / MODEL_FILES[typed[name]]))
        progress("writing models", done, len(networks))


def _manifest(checkpoint: Checkpoint, options: ExportOptions, int8: Int8 | None, name: str) -> Manifest:
    tools = {tool: importlib.metadata.version(tool) for tool in TOOLS}
    return Manifest(
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        model=checkpoint.model,
        labels=checkpoint.labels,
        size=options.size,
        precision=options.precision,
        parent={
            "sha256": checkpoint.sha256,
            "metrics": checkpoint.metrics,
            "recipe": checkpoint.recipe,
            "architecture": checkpoint.architecture,
            **checkpoint.progress,
        },
        calibration=_calibration(int8) if int8 else {},
        tools={"bisenet-edge": __version__, "python": platform.python_version(), **tools},
    )


def _calibration(int8: Int8) -> dict[str, Any]:
    quantized = int8.quantized
    assert quantized is not None
    return {
        "method": quantized.method,
        "observer": quantized.scheme.observer,
        "corrections": list(quantized.scheme.corrections),
        "keep_float": sorted(quantized.scheme.keep_float),
        "collapsed_pairs": len(quantized.collapsed),
        "floating_operators": floating(quantized.network),
        **int8.provenance,
    }
