"""Quantization-aware training: fine-tune the INT8 network itself, from its post-training ranges.

Batch normalisation is folded, so what is trained is what is exported: weights, biases and (unless frozen)
the ranges of the activations. Rounding passes gradients straight through (Jacob et al. 2018); ranges learn
by LSQ (Esser et al. 2020). The FP32 network the start came from can teach: its logits are a second target
(Hinton et al. 2015), which keeps the twin close to it where labels are few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bisenet_edge.errors import CheckpointError, ConfigError, DatasetError
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.loop import run
from bisenet_edge.toolchain.losses import WHOLE, Share, cross_entropy, labelled
from bisenet_edge.toolchain.processes import Worker, device_of
from bisenet_edge.toolchain.quant.fake_quant import set_learnable
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.ptq import Quantized
from bisenet_edge.toolchain.quant.twin import PREFIX, twin_of, with_twin
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.run_state import BEST, EpochResult
from bisenet_edge.toolchain.tensors import to_planes
from bisenet_edge.toolchain.train_data import evaluate, load_data
from bisenet_edge.toolchain.trainee import Trainee

RANGES = ("learned", "frozen")


@dataclass(frozen=True)
class QatRecipe(Recipe):
    """How an INT8 network is fine-tuned. What `Recipe` says, with a shorter and gentler run, and:

    Attributes:
        ranges: "learned" trains the ranges of the activations too, "frozen" leaves them as calibrated.
            Those of the weights follow the weights.
        distillation: weight of the divergence from the FP32 logits beside the cross-entropy; 0 = none. The
            divergence is a hundredth of the cross-entropy: at 1 it has no say, and a ResNet-18 on CamVid
            lost 0.5 points in one epoch that at 10 it kept.
        calibration_count, observer: of the calibration that `train --qat` starts from; `export` has
            options of its own for them.
    """

    epochs: int = 8
    learning_rate: float = 2e-4
    warmup_steps: int = 10
    eval_every: int = 1
    ranges: str = "learned"
    distillation: float = 10.0
    calibration_count: int = 64
    observer: str = "mse"
    precision: str = "fp32"  # rounded to BF16, codes x scale would not be on the INT8 grid

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ranges not in RANGES:
            raise ConfigError("recipe: 'ranges'", got=self.ranges, expected=" or ".join(RANGES))
        if self.distillation < 0:
            raise ConfigError("recipe: 'distillation' must not be negative", got=self.distillation)
        for name, ordinary in (
            ("ema", 0.0),
            ("init", ""),
            ("class_weights", "equal"),
            ("lovasz", 0.0),
            ("precision", "fp32"),
        ):
            if getattr(self, name) != ordinary:
                raise ConfigError(
                    f"recipe: '{name}' belongs to training in FP32",
                    got=getattr(self, name),
                    fix="leave it out of a recipe for fine-tuning in INT8",
                )
        if self.calibration_count < 1:
            raise ConfigError("recipe: 'calibration_count' must be above 0", got=self.calibration_count)


@dataclass(frozen=True)
class FineTuned:
    """What quantization-aware training gave.

    Attributes:
        quantized: the best epoch's network, on the CPU, in evaluation mode.
        best: path of its checkpoint, which holds the FP32 network too.
        report: the report's section "qat".
    """

    quantized: Quantized
    best: Path
    report: dict[str, Any]


@dataclass(frozen=True)
class Start:
    """Where fine-tuning begins.

    Attributes:
        checkpoint: the FP32 network, which is also the teacher.
        quantized: its post-training INT8 network.
        provenance: of the calibration pictures.
    """

    checkpoint: Checkpoint
    quantized: Quantized
    provenance: dict[str, Any]


def fine_tune(
    start: Start,
    recipe: QatRecipe,
    folder: Path,
    *,
    device: str = "auto",
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
    progress: Progress = quiet,
) -> FineTuned:
    """Fine-tune to the end, going on from `folder/last.safetensors` when it is there.

    Raises:
        DatasetError: data that cannot be read, or of other classes than the network.
        CheckpointError: `folder` holds another run.
        UsageError, MissingDependencyError, SinkError, BisenetEdgeError: as for training.
    """
    chosen = device_of(device)
    data = load_data(recipe, progress)
    if data.labels.names != start.checkpoint.labels.names:
        raise DatasetError(
            "the data set has other classes than the network",
            got=f"{len(data.labels)} of '{data.labels.name}'",
            expected=f"{len(start.checkpoint.labels)} of '{start.checkpoint.labels.name}'",
        )
    trainee = _Twin(start, recipe, chosen)
    fp32 = evaluate(trainee.teacher, data.val, len(data.labels), progress)
    history = run(trainee, data, folder, on_epoch=on_epoch, progress=progress)
    best = checkpoints.read(folder / BEST)
    tuned = twin_of(best)
    assert tuned is not None
    report = {
        "data": recipe.data[0],
        "epochs": [{"epoch": r.epoch, "loss": r.loss, "miou": r.miou} for r in history[1:]],
        "fp32_miou": fp32.miou(),
        "start_miou": history[0].miou,
        "best_miou": best.metrics["miou"],
        "ranges": recipe.ranges,
        "distillation": recipe.distillation,
        "learning_rate": recipe.learning_rate,
        "batch": recipe.batch,
    }
    return FineTuned(tuned, folder / BEST, report)


class _Twin(Trainee):
    """The INT8 network, taught by labels and by its FP32 twin."""

    recipe: QatRecipe
    # Where training does not help, what calibration gave is kept.
    starts_trained = True

    def __init__(self, start: Start, recipe: QatRecipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.start, self.recipe, self.worker = start, recipe, Worker(device)
        self.identity = {**recipe.to_json(), "parent": start.checkpoint.sha256}
        self.module = start.quantized.network
        self.module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        set_learnable(start.quantized.network, recipe.ranges == "learned")
        self.teacher = fold(start.checkpoint.build())
        self.teacher.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        # Decay pulls weights to 0; a range pulled to 0 cuts values off.
        named = list(self.module.named_parameters())
        weights = [p for name, p in named if not name.endswith("amax")]
        ranges = [p for name, p in named if name.endswith("amax")]
        return [
            {"params": weights, "weight_decay": recipe.weight_decay},
            {"params": ranges, "weight_decay": 0.0},
        ]

    def labelled(self, labels: Tensor) -> Tensor | None:
        return labelled(labels, self.recipe)

    def loss(self, images: Tensor, labels: Tensor, share: Share = WHOLE) -> Tensor:
        x = to_planes(images)
        logits = self.module(x)
        loss = cross_entropy(logits, labels, self.recipe, share=share)
        if self.recipe.distillation:
            with torch.no_grad():
                taught = F.log_softmax(self.teacher(x), dim=1)
            divergence = F.kl_div(F.log_softmax(logits, dim=1), taught, log_target=True, reduction="none")
            loss = loss + self.recipe.distillation * divergence.sum(1).mean() / share.parts
        return loss

    def checkpoint(self, module: nn.Module) -> Checkpoint:
        tuned = replace(self.start.quantized, method="qat")
        base = with_twin(self.start.checkpoint, tuned, self.start.provenance)
        return replace(base, recipe=self.identity, metrics={"precision": "int8"})

    def restore(self, tensors: dict[str, Tensor]) -> None:
        state = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
        try:
            self.module.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                "this folder holds a run that started from another INT8 network",
                got=str(error).splitlines()[1].strip(),
                fix="give --out another folder, or delete this one",
            ) from error
