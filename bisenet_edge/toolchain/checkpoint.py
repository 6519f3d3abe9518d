"""Checkpoints: safetensors with the recipe, classes and metrics in the header. No pickle anywhere."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bisenet_edge import __version__
from bisenet_edge.errors import CheckpointError, ConfigError, UsageError
from bisenet_edge.labels import LabelSet
from bisenet_edge.resources import replace_when_written, shipped_checkpoints, shipped_or
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.models.network import Network

FORMAT = "bisenet-edge-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """Weights and where they come from.

    Attributes:
        model: name of the network.
        labels: its classes.
        tensors: state dict of the network, auxiliary heads included; other keys (optimizer state)
            carry a prefix with a slash.
        recipe: the training recipe, as JSON.
        metrics: what was measured of these weights, as JSON.
        progress: epoch and step at which they were written.
        quantization: how its INT8 twin was made, as JSON (`quant.twin`); empty without one.
        architecture: configuration of the network, as JSON; empty = the zoo's of `model`.
        sha256: of the file; empty for a checkpoint not read from one.
    """

    model: str
    labels: LabelSet
    tensors: dict[str, torch.Tensor]
    recipe: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, int] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=dict)
    architecture: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def build(self) -> Network:
        """The network with these weights, FP32, in evaluation mode.

        Raises:
            CheckpointError: the weights do not fit the network, or its architecture is not understood.
        """
        network = self._untrained()
        own = {
            key: value.float() if value.is_floating_point() else value for key, value in self.tensors.items()
        }
        wanted = network.state_dict()
        weights = {key: value for key, value in own.items() if "/" not in key}
        misfits = [
            f"{key} {_shape(weights.get(key))} instead of {_shape(wanted.get(key))}"
            for key in sorted(set(wanted) | set(weights))
            if _shape(weights.get(key)) != _shape(wanted.get(key))
        ]
        if misfits:
            raise CheckpointError(
                f"{len(misfits)} weights do not fit {self.model} with {len(self.labels)} classes",
                got=misfits[0],
                expected="a checkpoint written by 'bisenet-edge train' for this network",
            )
        network.load_state_dict(weights)
        return network.eval()

    def _untrained(self) -> Network:
        if not self.architecture:
            return zoo.build(self.model, len(self.labels))
        try:
            return zoo.build(self.model, len(self.labels), self.architecture)
        except (ConfigError, UsageError) as error:
            raise CheckpointError(
                f"the architecture in a checkpoint of {self.model} is not understood",
                got=f"{error.what}: {error.got}",
                expected=error.expected,
                fix="if a newer bisenet-edge wrote it: pip install --upgrade bisenet-edge",
            ) from error


def _shape(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else "x".join(map(str, tensor.shape)) or "scalar"


def write(path: Path, checkpoint: Checkpoint, *, half: bool = False) -> None:
    """Write a checkpoint; the file appears whole or not at all.

    Args:
        path: where to.
        half: store convolution weights as float16 (statistics of batch normalisation stay float32:
            their range is not that of weights).
    """
    tensors = {
        key: (value.half() if half and value.dim() == 4 else value).detach().cpu().contiguous()
        for key, value in checkpoint.tensors.items()
    }
    header = {
        "format": FORMAT,
        "bisenet_edge": __version__,
        "model": checkpoint.model,
        "labels": json.dumps(checkpoint.labels.to_json()),
        "recipe": json.dumps(checkpoint.recipe),
        "metrics": json.dumps(checkpoint.metrics),
        "progress": json.dumps(checkpoint.progress),
        "quantization": json.dumps(checkpoint.quantization),
        "architecture": json.dumps(checkpoint.architecture),
    }
    with replace_when_written(path) as temporary:
        save_file(tensors, str(temporary), metadata=header)
        temporary.chmod(0o644)  # safetensors makes it readable by its owner alone


def read(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: a file, or the name of one that comes with the package, without its ending.

    Raises:
        CheckpointError: missing, corrupt, or not written by bisenet-edge.
        UsageError: of a network that this version does not have.
    """
    path = shipped_or(path)
    if not path.is_file():
        shipped = ", ".join(shipped_checkpoints())
        raise CheckpointError(
            "no checkpoint here",
            got=str(path),
            expected=f"a .safetensors file, or the name of one: {shipped}",
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "cannot read a checkpoint",
            got=f"{path}: {error}",
            expected="a whole .safetensors file",
            fix="copy the file again, or train anew",
        ) from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            "not a checkpoint of bisenet-edge",
            got=f"{path}: format {header.get('format', 'absent')!r}",
            expected=FORMAT,
        )
    try:
        checkpoint = Checkpoint(
            model=header["model"],
            labels=LabelSet.from_json(json.loads(header["labels"])),
            tensors=tensors,
            recipe=json.loads(header["recipe"]),
            metrics=json.loads(header["metrics"]),
            progress=json.loads(header["progress"]),
            # Files of earlier versions have neither of the two.
            quantization=json.loads(header.get("quantization", "{}")),
            architecture=json.loads(header.get("architecture", "{}")),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            "the header of a checkpoint lacks something", got=f"{path}: {error!r}"
        ) from error
    zoo.entry(checkpoint.model)
    return checkpoint
