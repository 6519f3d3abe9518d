"""One step of the optimizer, in parts where memory is short, and the losses of an epoch's steps."""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from bisenet_edge.errors import BisenetEdgeError
from bisenet_edge.toolchain.loader import Batch
from bisenet_edge.toolchain.losses import Share
from bisenet_edge.toolchain.processes import sum_over_processes
from bisenet_edge.toolchain.trainee import Trainee

# Reading a loss makes a GPU wait for it; of a CPU it costs nothing.
STEPS_BETWEEN_READINGS = {"cuda": 20, "cpu": 1}


class Stepper:
    """Changes a trainee by the gradient of one batch at a time.

    Attributes:
        optimizer: SGD over the trainee's parameters.
        scaler: of the loss, for FP16; does nothing otherwise.
    """

    def __init__(self, trainee: Trainee) -> None:
        self.trainee = trainee
        recipe = trainee.recipe
        self.optimizer = torch.optim.SGD(
            trainee.parameter_groups(recipe), lr=recipe.learning_rate, momentum=recipe.momentum
        )
        self.scaler = torch.amp.GradScaler(trainee.device.type, enabled=recipe.precision == "fp16")

    def step(self, batch: Batch) -> Tensor:
        """Take one step; gives what this process's part adds to the loss, on the device."""
        trainee, recipe = self.trainee, self.trainee.recipe
        processes = trainee.worker.size
        pixels = trainee.labelled(batch.labels)
        whole = None if pixels is None else sum_over_processes(pixels)
        share = Share(whole, recipe.accumulate, processes)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=trainee.device)
        for number, part in enumerate(batch.parts(recipe.accumulate), 1):
            with nullcontext() if number == recipe.accumulate else trainee.unsummed():
                loss = trainee.loss(part.images, part.labels, share)
                # Over processes the mean of gradients is taken; wanted is their sum.
                self.scaler.scale(loss * processes).backward()
            total += loss.detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return total

    def set_learning_rate(self, step: int, steps: int) -> float:
        """The "poly" schedule with warm-up; gives the rate of step `step` of `steps`."""
        recipe = self.trainee.recipe
        rate = recipe.learning_rate * (1 - step / steps) ** recipe.poly_power
        if step < recipe.warmup_steps:
            rate *= (step + 1) / recipe.warmup_steps
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate


class EpochLosses:
    """The losses of an epoch's steps, summed over processes, read from the device now and then.

    Attributes:
        mean: over the steps read so far; nan before the first.
    """

    def __init__(self, steps: int, device: torch.device, epoch: int) -> None:
        self._values = torch.zeros(steps, device=device)
        self._epoch, self._read, self._sum = epoch, 0, 0.0
        self._every = STEPS_BETWEEN_READINGS.get(device.type, 1)

    @property
    def mean(self) -> float:
        return self._sum / self._read if self._read else math.nan

    def add(self, index: int, loss: Tensor) -> None:
        """Take in the loss of step `index`, from 0.

        Raises:
            BisenetEdgeError: a loss is not finite; in all processes alike.
        """
        self._values[index] = loss
        if (index + 1) % self._every and index + 1 < len(self._values):
            return
        values = sum_over_processes(self._values[self._read : index + 1]).cpu().numpy()
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise BisenetEdgeError(
                "training diverged",
                got=f"loss {values[wrong[0]]} at epoch {self._epoch}, step {self._read + wrong[0] + 1}",
                fix="lower learning_rate, or set warmup_steps = 100 in the recipe",
            )
        for value in values.tolist():
            self._sum += value
        self._read = index + 1
