"""From a folded network to the INT8 one that was asked for: calibrated, fine-tuned, searched for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import fx

from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.accuracy import Gate
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.loop import EpochResult
from bisenet_edge.toolchain.models.network import input_multiple
from bisenet_edge.toolchain.qat import FineTuned, QatRecipe, Start, fine_tune
from bisenet_edge.toolchain.quant.calibrate import observe, ranges
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.observers import OBSERVERS
from bisenet_edge.toolchain.quant.ptq import PostTraining, Quantized, Scheme
from bisenet_edge.toolchain.quant.select_frames import CalibrationFrames, CalibrationRecipe, load
from bisenet_edge.toolchain.quant.twin import twin_of
from bisenet_edge.toolchain.search import check_one, search
from bisenet_edge.toolchain.search_result import Found
from bisenet_edge.toolchain.trial import Trial

METHODS = ("auto", "ptq", "qat")
DEFAULT_OBSERVER = "mse"

assert DEFAULT_OBSERVER in OBSERVERS


@dataclass(frozen=True)
class Int8Options:
    """How the INT8 network is made.

    Attributes:
        calibration: pictures that fix the ranges.
        observer: how: "max", "percentile", "entropy" or "mse".
        collapse: "auto" merges a depthwise + pointwise pair where that was measured to lower the
            quantization noise; "never" leaves all pairs.
        method: "ptq" calibrates; "qat" fine-tunes after that; "auto" takes the INT8 twin of a checkpoint
            that has one, else calibrates, and fine-tunes when a gate asks for it.
        gate: the drop that is allowed; None = not measured.
        data: data set URI for the gate (val) and for fine-tuning (train).
        qat: recipe of the fine-tuning; None = `QatRecipe`'s defaults on `data`.
        runs: folder under which fine-tuning keeps its checkpoints.
        device: of the fine-tuning.
    """

    calibration: CalibrationRecipe
    observer: str = DEFAULT_OBSERVER
    collapse: str = "auto"
    method: str = "auto"
    gate: Gate | None = None
    data: str = ""
    qat: QatRecipe | None = None
    runs: Path = Path("runs")
    device: str = "auto"


@dataclass(frozen=True)
class Int8:
    """An INT8 network and how it came about.

    Attributes:
        quantized: None when a gate was set and nothing passed it.
        provenance: of the calibration pictures.
        ranges: per quantizer its range, histogram and saturation.
        found: what the search tried; None without a gate.
        tuned: what fine-tuning gave; None without it.
    """

    quantized: Quantized | None
    provenance: dict[str, Any]
    ranges: dict[str, dict[str, Any]] = field(default_factory=dict)
    found: Found | None = None
    tuned: FineTuned | None = None


def make_int8(
    checkpoint: Checkpoint,
    folded: fx.GraphModule,
    size: Size,
    options: Int8Options,
    *,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
    progress: Progress = quiet,
) -> Int8:
    """Make the INT8 network of a checkpoint.

    Args:
        checkpoint: where `folded` comes from.
        folded: from `fold`; FP32.
        size: of the network's input.
        options: how.
        on_epoch: told after each epoch of fine-tuning.
        progress: told of everything that takes long.

    Raises:
        UsageError: unknown method, or fine-tuning without data.
        CalibrationError, DatasetError: pictures that cannot be used.
    """
    job = _Job(checkpoint, folded, size, options, on_epoch, progress)
    twin = twin_of(checkpoint) if options.method == "auto" else None
    if twin is not None:
        return job.finished(twin, checkpoint.quantization["calibration"], "QAT of the checkpoint")
    if options.method == "qat":
        job.require_data()
    calibration = load(
        options.calibration, size, progress, measured_on=options.data, multiple=input_multiple(folded)
    )
    if options.method == "qat":
        tuned = job.tune(job.post(calibration).quantize(Scheme(options.observer)), calibration)
        made = job.finished(tuned.quantized, calibration.provenance, "QAT")
        return replace(made, tuned=tuned, ranges=_ranges(tuned.quantized, calibration))
    if options.gate is None:
        quantized = job.post(calibration).quantize(Scheme(options.observer))
        return Int8(quantized, calibration.provenance, _ranges(quantized, calibration))
    return job.searched(calibration)


def gate_data(options: Int8Options, size: Size) -> str:
    """Data set whose val split the gate is measured on: the one named, else streets of the input's size."""
    return options.data or f"synthetic:?size={size}"


def start_of(checkpoint: Checkpoint, recipe: QatRecipe, size: Size, progress: Progress = quiet) -> Start:
    """Calibrate what fine-tuning begins with, on the train split of its own first data set.

    Raises:
        CalibrationError, DatasetError: pictures that cannot be used.
    """
    wanted = CalibrationRecipe(recipe.data[0], recipe.calibration_count, recipe.seed)
    folded = fold(checkpoint.build())
    calibration = load(wanted, size, progress, multiple=input_multiple(folded))
    post = PostTraining(folded, calibration.frames, "auto", progress)
    return Start(checkpoint, post.quantize(Scheme(recipe.observer)), calibration.provenance)


@dataclass
class _Job:
    checkpoint: Checkpoint
    folded: fx.GraphModule
    size: Size
    options: Int8Options
    on_epoch: Callable[[EpochResult], None]
    progress: Progress
    tuned: FineTuned | None = None

    def post(self, calibration: CalibrationFrames) -> PostTraining:
        return PostTraining(self.folded, calibration.frames, self.options.collapse, self.progress)

    def require_data(self) -> None:
        if not self.options.data and self.options.qat is None:
            raise UsageError(
                "quantization-aware training needs labelled pictures",
                got="no data set",
                fix="--data camvid:PATH (its train split is trained on, its val split measured)",
            )

    def tune(self, start: Quantized, calibration: CalibrationFrames) -> FineTuned:
        recipe = self.options.qat or QatRecipe(self.checkpoint.model, (self.options.data,))
        whole = Start(self.checkpoint, start, calibration.provenance)
        told = {"parent": self.checkpoint.sha256, "calibration": calibration.provenance["images"]}
        text = json.dumps({**recipe.to_json(), **told, "scheme": str(start.scheme)}, sort_keys=True)
        # The folder is named after all that decides the run: the same command goes on with it.
        folder = self.options.runs / f"qat-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self.tuned = fine_tune(
            whole, recipe, folder, device=self.options.device, on_epoch=self.on_epoch, progress=self.progress
        )
        return self.tuned

    def finished(self, quantized: Quantized, provenance: dict[str, Any], name: str) -> Int8:
        """A network that is measured against the gate, if there is one, but not searched for."""
        made = Int8(quantized, provenance, ranges(quantized.network, {}))
        if self.options.gate is None:
            return made
        with self._trial() as trial:
            found = check_one(quantized, name, trial, self.options.gate, self.progress)
        return replace(made, quantized=quantized if found.chosen else None, found=found)

    def searched(self, calibration: CalibrationFrames) -> Int8:
        options = self.options
        assert options.gate is not None

        def tune(start: Quantized) -> Quantized:
            return self.tune(start, calibration).quantized

        # "ptq" by name means no training; without named data there are no labels to train on.
        trains = options.method == "auto" and bool(options.data or options.qat)
        with self._trial() as trial:
            found = search(
                self.post(calibration),
                trial,
                options.gate,
                options.observer,
                fine_tune=tune if trains else None,
                progress=self.progress,
            )
        if found.chosen is None:
            return Int8(None, calibration.provenance, {}, found, self.tuned)
        quantized = found.chosen.quantized
        tuned = self.tuned if quantized.method == "qat" else None
        return Int8(quantized, calibration.provenance, _ranges(quantized, calibration), found, tuned)

    def _trial(self) -> Trial:
        dataset = open_dataset(gate_data(self.options, self.size), "val")
        _require_classes(dataset.labels, self.checkpoint.labels)
        return Trial(self.folded, self.size, dataset)


def _require_classes(data: LabelSet, network: LabelSet) -> None:
    if data.names != network.names:
        raise UsageError(
            "the gate needs a data set with the network's classes",
            got=f"{len(data)} of '{data.name}'",
            expected=f"{len(network)} of '{network.name}'",
            fix="--data URI",
        )


def _ranges(quantized: Quantized, calibration: CalibrationFrames) -> dict[str, dict[str, Any]]:
    """What the finished network's quantizers see on the calibration pictures."""
    histograms = quantized.histograms or observe(quantized.network, calibration.frames)
    return ranges(quantized.network, histograms)
