"""One step in one part or in several, in each precision, and the losses that are read now and then."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bisenet_edge.errors import BisenetEdgeError, ConfigError, MissingDependencyError, UsageError
from bisenet_edge.toolchain import step as stepping
from bisenet_edge.toolchain.loader import Batch
from bisenet_edge.toolchain.losses import labelled, training_loss
from bisenet_edge.toolchain.precision import autocast, check_precision
from bisenet_edge.toolchain.processes import Worker
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.step import EpochLosses, Stepper
from bisenet_edge.toolchain.tensors import to_planes
from bisenet_edge.toolchain.trainee import Trainee

CPU = torch.device("cpu")
RECIPE = Recipe("bisenet-xception39", ("synthetic:",), batch=4, precision="fp32", weight_decay=0.0)
CLASSES, SIDE = 3, 32


class TwoHeads(Trainee):
    """Without batch normalisation, whose statistics are each part's own."""

    def __init__(self, recipe, weights=None):
        torch.manual_seed(0)
        self.recipe, self.worker, self.identity, self.weights = recipe, Worker(CPU), {}, weights
        self.module = nn.ModuleList(nn.Conv2d(3, CLASSES, 8, stride=8) for _ in range(2))

    def labelled(self, labels):
        return labelled(labels, self.recipe, self.weights)

    def loss(self, images, labels, *share):
        outputs = tuple(head(to_planes(images) / 255) for head in self.module)
        return training_loss(outputs, labels, self.recipe, self.weights, *share)

    def checkpoint(self, module):
        raise NotImplementedError

    def restore(self, tensors):
        raise NotImplementedError


def uneven():
    """Four pictures; of the first two hardly a pixel is labelled, and the classes are not alike."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (4, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (4, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    labels[:2, 6:] = 255
    labels[2:, :20] = 1
    return Batch(images, labels)


def taken(recipe, batch, weights=None):
    """Loss and gradients of one step."""
    trainee = TwoHeads(recipe, weights)
    loss = Stepper(trainee).step(batch)
    return float(loss), [parameter.grad.clone() for parameter in trainee.module.parameters()]


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 5.0, 20.0])])
def test_the_gradient_of_a_batch_in_parts_is_that_of_the_batch(parts, weights):
    whole, expected = taken(RECIPE, uneven(), weights)
    loss, gradients = taken(replace(RECIPE, accumulate=parts), uneven(), weights)
    assert loss == pytest.approx(whole, rel=1e-6)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    # The parts' own means, averaged, are another gradient: the test can tell.
    halves = [taken(replace(RECIPE, batch=1), part, weights)[1] for part in uneven().parts(4)]
    mean = torch.stack([half[0] for half in halves]).mean(0)
    assert (mean - expected[0]).norm() > 0.05 * expected[0].norm()


def test_with_hard_pixels_alone_it_is_the_mean_of_the_parts():
    hard = replace(RECIPE, ohem_threshold=0.4)
    loss, gradients = taken(replace(hard, accumulate=2), uneven())
    parts = [taken(replace(hard, batch=2), part) for part in uneven().parts(2)]
    assert loss == pytest.approx(sum(part[0] for part in parts) / 2, rel=1e-6)
    torch.testing.assert_close(gradients[0], (parts[0][1][0] + parts[1][1][0]) / 2)


def test_a_batch_without_labels_teaches_nothing():
    batch = uneven()
    batch.labels.fill_(255)
    loss, gradients = taken(replace(RECIPE, accumulate=2), batch)
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)


def test_a_batch_falls_into_parts_of_one_size():
    with pytest.raises(ConfigError, match="accumulate"):
        replace(RECIPE, accumulate=3)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_convolutions_run_in_the_precision_asked_for(precision, dtype):
    with autocast(precision, CPU):
        assert F.conv2d(torch.ones(1, 3, 8, 8), torch.ones(4, 3, 3, 3)).dtype == dtype


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(UsageError, match="NVIDIA") as caught:
        check_precision("fp16", CPU)
    assert caught.value.fix == "--precision bf16"
    check_precision("bf16", CPU)


def test_bf16_on_a_gpu_that_lacks_it_is_refused_fake(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 2))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Xavier")
    with pytest.raises(MissingDependencyError, match="no BF16") as caught:
        check_precision("bf16", torch.device("cuda", 0))
    assert caught.value.fix == "--precision fp16"
    check_precision("fp16", torch.device("cuda", 0))


def test_losses_that_are_read_now_and_then_name_the_step_that_went_wrong(monkeypatch):
    monkeypatch.setitem(stepping.STEPS_BETWEEN_READINGS, "cpu", 3)
    losses = EpochLosses(5, CPU, epoch=2)
    losses.add(0, torch.tensor(2.0))
    assert math.isnan(losses.mean)  # none is read yet
    losses.add(1, torch.tensor(float("inf")))
    with pytest.raises(BisenetEdgeError, match="diverged") as caught:
        losses.add(2, torch.tensor(1.0))
    assert caught.value.got == "loss inf at epoch 2, step 2"


def test_the_last_losses_of_an_epoch_are_read_too(monkeypatch):
    monkeypatch.setitem(stepping.STEPS_BETWEEN_READINGS, "cpu", 3)
    losses = EpochLosses(4, CPU, epoch=1)
    for index, value in enumerate((1.0, 2.0, 3.0, 6.0)):
        losses.add(index, torch.tensor(value))
    assert losses.mean == 3
