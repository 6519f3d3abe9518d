"""From a checkpoint to an artifact: fold, quantize, write every model file, verify, then call it done."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
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
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.selftest import write_golden
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.onnx_graph import to_float16, to_onnx
from bisenet_edge.toolchain.quant.calibrate import observe, ranges, set_ranges
from bisenet_edge.toolchain.quant.fold import collapse_pairs, fold
from bisenet_edge.toolchain.quant.noise import quieter_when_dense
from bisenet_edge.toolchain.quant.observers import OBSERVERS
from bisenet_edge.toolchain.quant.placement import insert_quantizers
from bisenet_edge.toolchain.quant.select_frames import CalibrationFrames, CalibrationRecipe, load
from bisenet_edge.toolchain.verify import verify

DEFAULT_OBSERVER = "mse"
GOLDEN_FRAMES = 4
COLLAPSE = ("auto", "never")
TOOLS = ("torch", "onnx", "onnxsim", "onnxruntime", "openvino", "numpy", "opencv-python-headless")

assert DEFAULT_OBSERVER in OBSERVERS


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a checkpoint.

    Attributes:
        size: of the network's input.
        calibration: recipe of the INT8 calibration; None = no INT8 model.
        observer: how ranges are chosen: "max", "percentile", "entropy" or "mse".
        collapse: "auto" merges a depthwise + pointwise pair where that was measured to lower the
            quantization noise; "never" leaves all pairs.
        verify_data: data set whose val split gives the frames for verification and self-test; "" =
            synthetic streets of the same size.
    """

    size: Size
    calibration: CalibrationRecipe | None = None
    observer: str = DEFAULT_OBSERVER
    collapse: str = "auto"
    verify_data: str = ""

    @property
    def precision(self) -> str:
        return "int8" if self.calibration else "fp32"


@dataclass(frozen=True)
class Exported:
    """An artifact and what was found while making it.

    Attributes:
        artifact: written and verified.
        ranges: per quantizer: amax, largest value seen, share saturated; empty without INT8.
        collapsed: how many depthwise + pointwise pairs were merged.
    """

    artifact: Artifact
    ranges: dict[str, dict[str, float]]
    collapsed: int


@dataclass(frozen=True)
class Quantized:
    """A calibrated INT8 network with its provenance."""

    network: fx.GraphModule
    frames: CalibrationFrames
    ranges: dict[str, dict[str, float]]
    collapsed: int


def default_name(checkpoint: Checkpoint, options: ExportOptions) -> str:
    """Folder name of an artifact: "bisenet-xception39-640x360-int8"."""
    return f"{checkpoint.model}-{options.size}-{options.precision}"


def export(
    checkpoint: Checkpoint, options: ExportOptions, folder: Path, progress: Progress = quiet
) -> Exported:
    """Make an artifact; `folder` appears (or is replaced) only when every file was verified.

    Raises:
        CheckpointError: the weights do not fit the network.
        CalibrationError, DatasetError: calibration images that cannot be used.
        ExportError: a graph that is not valid or whose masks differ from the network's.
        SinkError: the folder cannot be written, or holds something else than an artifact.
    """
    _refuse_foreign(folder)
    with replace_when_written(folder) as temporary:
        frames = _verification_frames(options)
        folded = fold(checkpoint.build())
        networks = {"fp32": folded}
        quantized = None
        if options.calibration is not None:
            quantized = quantize(folded, options, progress)
            networks["int8"] = quantized.network
        temporary.mkdir(parents=True)
        _write_models(networks, options.size, temporary, progress)
        manifest = _manifest(checkpoint, options, quantized, folder.name)
        manifest = replace(manifest, files=hash_files(temporary))
        figures, golden = verify(Artifact(temporary, manifest), networks, frames, progress)
        write_golden(temporary, frames, golden)
        measured = {"verification": figures, "machine": describe_machine()}
        manifest = replace(manifest, files=hash_files(temporary), measured=measured)
        write_manifest(temporary, manifest)
    artifact = Artifact(folder, manifest)
    return Exported(artifact, quantized.ranges if quantized else {}, quantized.collapsed if quantized else 0)


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


def quantize(folded: fx.GraphModule, options: ExportOptions, progress: Progress = quiet) -> Quantized:
    """Calibrate an INT8 network (post-training quantization).

    Raises:
        CalibrationError: images or ranges that cannot be used.
    """
    assert options.calibration is not None
    calibration = load(options.calibration, options.size, progress)
    merged: set[str] = set()
    if options.collapse == "auto":
        merged = quieter_when_dense(folded, calibration.frames, options.observer)
    network = insert_quantizers(collapse_pairs(folded, merged.__contains__))
    histograms = observe(network, calibration.frames, progress)
    set_ranges(network, histograms, options.observer)
    return Quantized(network, calibration, ranges(network, histograms), len(merged))


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


def _manifest(
    checkpoint: Checkpoint, options: ExportOptions, quantized: Quantized | None, name: str
) -> Manifest:
    calibration: dict[str, Any] = {}
    if quantized is not None:
        calibration = {
            "method": "ptq",
            "observer": options.observer,
            "collapsed_pairs": quantized.collapsed,
            **quantized.frames.provenance,
        }
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
            **checkpoint.progress,
        },
        calibration=calibration,
        tools={"bisenet-edge": __version__, "python": platform.python_version(), **tools},
    )
