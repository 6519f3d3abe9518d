"""What the training loop asks of what it trains: a network in floating point, or an INT8 twin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.losses import WHOLE, Share
from bisenet_edge.toolchain.processes import Worker
from bisenet_edge.toolchain.recipe import Recipe


class Trainee(ABC):
    """What is trained.

    Attributes:
        module: its parameters are what the optimizer changes; gives logits in evaluation mode.
        recipe: how.
        worker: the process that this is, and the device where it computes.
        identity: JSON that tells this run from others; a folder holds one run.
        starts_trained: whether what it starts from is a candidate for the best epoch, as epoch 0.
    """

    module: nn.Module
    recipe: Recipe
    worker: Worker
    identity: dict[str, Any]
    starts_trained = False

    @property
    def device(self) -> torch.device:
        return self.worker.device

    @abstractmethod
    def labelled(self, labels: Tensor) -> Tensor | None:
        """What the loss of a step is divided by, summed over its parts; `losses.labelled`.

        Args:
            labels: uint8 [n, H, W], all that this process has of the step.
        """

    @abstractmethod
    def loss(self, images: Tensor, labels: Tensor, share: Share = WHOLE) -> Tensor:
        """What this part of a step's batch adds to the loss of the step.

        Args:
            images: uint8 [n, H, W, 3] BGR, on the device.
            labels: uint8 [n, H, W], 255 = ignored.
            share: which part it is.
        """

    @abstractmethod
    def checkpoint(self, module: nn.Module) -> Checkpoint:
        """The weights of `module`: of `self.module`, or of its moving average."""

    @abstractmethod
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take the weights of an earlier `checkpoint`."""

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Parameters for the optimizer, with their weight decay."""
        return [{"params": list(self.module.parameters()), "weight_decay": recipe.weight_decay}]

    def unsummed(self) -> AbstractContextManager[None]:
        """While it lasts, gradients add up here and are not summed over processes yet."""
        return nullcontext()
