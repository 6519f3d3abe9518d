from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bisenet_edge.toolchain.losses import Share, cross_entropy, enet_weights, lovasz_softmax, training_loss
from bisenet_edge.toolchain.recipe import Recipe

SIDE = 64
RECIPE = Recipe("bisenet-xception39", ("synthetic:",))


def random_outputs(stride=8):
    torch.manual_seed(0)
    return tuple(torch.randn(2, 3, SIDE // stride, SIDE // stride, requires_grad=True) for _ in range(3))


def test_the_auxiliary_heads_count_with_their_weight():
    outputs = random_outputs()
    label = torch.randint(0, 3, (2, SIDE, SIDE), dtype=torch.uint8)

    def loss(which, weight):
        return training_loss(tuple(outputs[i] for i in which), label, replace(RECIPE, aux_weight=weight))

    alone = [loss((i, i, i), 0.0) for i in range(3)]
    assert loss((0, 1, 2), 0.0) == alone[0]
    torch.testing.assert_close(loss((0, 1, 2), 0.5), alone[0] + 0.5 * (alone[1] + alone[2]))


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_ignored_pixels_are_in_no_loss(stride):
    outputs = random_outputs()
    label = torch.full((2, SIDE, SIDE), 255, dtype=torch.uint8)
    label[:, : SIDE // 2] = 1
    recipe = replace(RECIPE, loss_stride=stride)
    training_loss(outputs, label, recipe).backward()
    assert outputs[0].grad[:, :, : SIDE // 16].abs().sum() > 0
    # Beyond the row that bilinear up-sampling still mixes in.
    assert not outputs[0].grad[:, :, SIDE // 16 + 1 :].any()


def test_logits_of_the_right_class_cost_nothing():
    label = torch.ones((1, SIDE, SIDE), dtype=torch.uint8)
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 1] = 100
    assert training_loss((logits,) * 3, label, RECIPE).item() == pytest.approx(0, abs=1e-6)


def test_a_batch_without_labels_teaches_nothing_and_stops_nothing():
    outputs = random_outputs()
    loss = training_loss(outputs, torch.full((2, SIDE, SIDE), 255, dtype=torch.uint8), RECIPE)
    loss.backward()
    assert loss.item() == 0
    assert not outputs[0].grad.any()


def test_a_network_without_auxiliary_heads_has_the_loss_of_its_main_head():
    outputs = random_outputs()
    label = torch.randint(0, 3, (2, SIDE, SIDE), dtype=torch.uint8)
    alone = training_loss(outputs[:1], label, RECIPE)
    torch.testing.assert_close(alone, training_loss(outputs, label, replace(RECIPE, aux_weight=0.0)))


def full_size(logits, label, weights=None):
    scaled = F.interpolate(logits, size=label.shape[1:], mode="bilinear", align_corners=False)
    return F.cross_entropy(scaled, label.long(), weights, ignore_index=255)


def test_class_weights_make_a_weighted_mean():
    logits = random_outputs()[0]
    label = torch.randint(0, 3, (2, SIDE, SIDE), dtype=torch.uint8)
    label[:, :10] = 255
    weights = torch.tensor([1.0, 5.0, 0.5])
    ours = cross_entropy(logits, label, replace(RECIPE, loss_stride=1), weights)
    torch.testing.assert_close(ours, full_size(logits, label, weights))


def test_the_weights_of_enet():
    label = np.full((10, 10), 255, np.uint8)
    label[:5] = 0  # 50 pixels
    label[5:6, :] = 1  # 10 pixels
    weights = enet_weights([label, label], 3)
    expected = [1 / np.log(1.02 + 50 / 60), 1 / np.log(1.02 + 10 / 60), 1 / np.log(1.02)]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.dtype == np.float32


def hard_case():
    """Logits at full size: class 0 is right everywhere, with a probability that falls from left to right."""
    logits = torch.zeros(1, 2, 8, 8)
    logits[0, 0] = torch.linspace(4, -4, 8)
    return logits.requires_grad_(), torch.zeros((1, 8, 8), dtype=torch.uint8)


def test_only_hard_pixels_teach():
    logits, label = hard_case()
    recipe = replace(RECIPE, loss_stride=1, ohem_threshold=0.7, ohem_min_kept=0.0)
    loss = cross_entropy(logits, label, recipe)
    loss.backward()
    probability = torch.softmax(logits.detach(), 1)[0, 0]
    taught = logits.grad.abs().sum(1)[0] > 0
    assert (taught == (probability < 0.7)).all()
    torch.testing.assert_close(loss, -probability[probability < 0.7].log().mean())


def test_the_hardest_pixels_teach_when_too_few_are_hard():
    logits, label = hard_case()
    label[:, 4:] = 255
    recipe = replace(RECIPE, loss_stride=1, ohem_threshold=1e-4, ohem_min_kept=0.25)
    cross_entropy(logits, label, recipe).backward()
    taught = logits.grad.abs().sum(1)[0] > 0
    assert taught.sum() == 8  # a quarter of the 32 labelled pixels ...
    assert taught[:4, 6:].all()  # ... the two hardest columns


def test_mining_a_batch_without_labels():
    logits, label = hard_case()
    recipe = replace(RECIPE, loss_stride=1, ohem_threshold=0.7)
    assert cross_entropy(logits, torch.full_like(label, 255), recipe).item() == 0


def jaccard_loss_of_sets(prediction, target, classes):
    """1 - mean IoU over the classes that occur in the target, counted pixel by pixel."""
    losses = []
    for number in range(classes):
        said, true = prediction == number, target == number
        if true.any():
            losses.append(1 - (said & true).sum().item() / (said | true).sum().item())
    return sum(losses) / len(losses)


def test_the_lovasz_loss_of_certain_answers_is_one_minus_the_mean_iou():
    # Berman et al. 2018: the extension equals the set function on corners of the cube.
    torch.manual_seed(3)
    target = torch.randint(0, 4, (2, 12, 16))
    prediction = torch.where(torch.rand(target.shape) < 0.3, torch.randint(0, 4, target.shape), target)
    logits = 200.0 * F.one_hot(prediction, 5).movedim(3, 1).float()
    expected = jaccard_loss_of_sets(prediction, target, 4)
    assert 0.1 < expected < 0.9
    assert lovasz_softmax(logits, target).item() == pytest.approx(expected, abs=1e-5)


def test_descending_the_lovasz_loss_raises_the_mean_iou():
    torch.manual_seed(4)
    target = torch.randint(0, 3, (1, 8, 8))
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    before = jaccard_loss_of_sets(logits.argmax(1), target, 3)
    for _ in range(50):
        (gradient,) = torch.autograd.grad(lovasz_softmax(logits, target), logits)
        logits = (logits - 20 * gradient).detach().requires_grad_()
    assert jaccard_loss_of_sets(logits.argmax(1), target, 3) < 0.2 * before


def test_ignored_pixels_are_not_in_the_lovasz_loss():
    torch.manual_seed(5)
    target = torch.randint(0, 3, (1, 8, 8))
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    target[:, 4:] = 255
    loss = lovasz_softmax(logits, target)
    torch.testing.assert_close(loss, lovasz_softmax(logits[:, :, :4], target[:, :4]))
    loss.backward()
    assert logits.grad[:, :, :4].abs().sum() > 0
    assert not logits.grad[:, :, 4:].any()
    nothing = lovasz_softmax(logits, torch.full_like(target, 255))
    assert nothing.item() == 0


def test_the_lovasz_loss_is_added_to_that_of_the_main_head_only():
    outputs = random_outputs()
    label = torch.randint(0, 3, (2, SIDE, SIDE), dtype=torch.uint8)
    with_it = replace(RECIPE, lovasz=0.5, loss_stride=8)
    without = replace(RECIPE, loss_stride=8)
    target = label[:, 4::8, 4::8].long()
    extra = 0.5 * lovasz_softmax(outputs[0], target)
    torch.testing.assert_close(
        training_loss(outputs, label, with_it), training_loss(outputs, label, without) + extra
    )
    # Two parts in each of three processes, each as here: a step's loss has it once.
    share = Share(torch.tensor(6.0 * target.numel()), parts=2, processes=3)
    part = training_loss(outputs, label, with_it, share=share)
    torch.testing.assert_close(6 * part, training_loss(outputs, label, with_it))
