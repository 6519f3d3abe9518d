"""What a network is trained to make small: cross-entropy of its heads, and a stand-in for mIoU itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bisenet_edge.labels import IGNORE_INDEX
from bisenet_edge.toolchain.processes import sum_over_processes
from bisenet_edge.toolchain.recipe import Recipe

ENET_OFFSET = 1.02


@dataclass(frozen=True)
class Share:
    """Which part of a step's batch a loss is of. The losses of all parts add up to that of the batch.

    Attributes:
        pixels: what the whole batch's sum is divided by (`labelled` of all its parts); None with hard
            example mining, where only the forward pass tells: the loss is then the mean over the
            parts of a step, each divided by the pixels kept in that part of all processes.
        parts: how many parts of one size a step has in each process.
        processes: how many processes there are.
    """

    pixels: Tensor | None = None
    parts: int = 1
    processes: int = 1

    def divisor(self, counted: Tensor) -> Tensor:
        """What to divide the sum over `counted` pixels of this part by."""
        whole = self.parts * sum_over_processes(counted) if self.pixels is None else self.pixels
        # A batch without any labelled pixel teaches nothing; its mean would be 0 / 0.
        return whole.clamp(min=1e-6)


WHOLE = Share()


def training_loss(
    outputs: tuple[Tensor, ...],
    label: Tensor,
    recipe: Recipe,
    weights: Tensor | None = None,
    share: Share = WHOLE,
) -> Tensor:
    """Cross-entropy of the main head plus the weighted auxiliary ones (section 3.4), at 1/loss_stride.

    Args:
        outputs: logits of the heads, [N, C, h, w] each, main first.
        label: uint8 [N, H, W]; 255 = ignored.
        recipe: its `loss_stride`, `aux_weight`, `ohem_*` and `lovasz` say how.
        weights: float [C], of the classes; None = all equal.
        share: which part of a step's batch this is.
    """
    target = _target(label, recipe)
    main, *others = (_scaled(logits, target) for logits in outputs)
    loss = _cross_entropy(main, target, recipe, weights, share)
    for logits in others:
        loss = loss + recipe.aux_weight * _cross_entropy(logits, target, recipe, weights, share)
    if recipe.lovasz:
        loss = loss + recipe.lovasz * lovasz_softmax(main, target) / (share.parts * share.processes)
    return loss


def cross_entropy(
    logits: Tensor, label: Tensor, recipe: Recipe, weights: Tensor | None = None, share: Share = WHOLE
) -> Tensor:
    """Mean cross-entropy over the labelled pixels, at 1/loss_stride of the label's size.

    With class weights it is the weighted mean; with hard example mining the mean over the pixels kept.

    Args:
        logits: [N, C, h, w], up-sampled to that size.
        label: uint8 [N, H, W]; 255 = ignored.
        recipe, weights, share: as for `training_loss`.
    """
    target = _target(label, recipe)
    return _cross_entropy(_scaled(logits, target), target, recipe, weights, share)


def _cross_entropy(
    scaled: Tensor, target: Tensor, recipe: Recipe, weights: Tensor | None, share: Share
) -> Tensor:
    known = target != IGNORE_INDEX
    if recipe.ohem_threshold == 0:
        total = F.cross_entropy(scaled, target, weights, ignore_index=IGNORE_INDEX, reduction="sum")
        counted = _weight_of(target, known, weights)
    else:
        each = F.cross_entropy(scaled, target, weights, ignore_index=IGNORE_INDEX, reduction="none")
        kept = _hard(scaled.detach(), target, known, recipe)
        total = each[kept].sum()
        counted = _weight_of(target, kept, weights)
    return total / share.divisor(counted)


def lovasz_softmax(scaled: Tensor, target: Tensor) -> Tensor:
    """1 - mean IoU of the classes that occur, made differentiable (Berman, Triki and Blaschko, CVPR 2018).

    The Lovasz extension of each class's Jaccard loss: its pixels' errors, the largest first, each times
    what the loss grows by when that pixel is wrong too. It is no mean over pixels: of several parts of a
    batch, or several processes, the mean of their losses is taken.

    Args:
        scaled: float32 [N, C, h, w], logits of the target's size.
        target: int64 [N, h, w]; 255 = ignored.

    Returns:
        one number from 0 to 1; 0 where nothing is labelled.
    """
    known = target != IGNORE_INDEX
    truth = F.one_hot(target[known], scaled.shape[1]).T.float()
    probability = scaled.softmax(dim=1).movedim(1, 0)[:, known]
    occurs = truth.sum(dim=1) > 0
    if not bool(occurs.any()):
        return scaled.sum() * 0
    truth, probability = truth[occurs], probability[occurs]
    error, order = (truth - probability).abs().sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    pixels = truth.sum(dim=1, keepdim=True)
    jaccard = 1 - (pixels - truth.cumsum(dim=1)) / (pixels + (1 - truth).cumsum(dim=1))
    growth = torch.diff(jaccard, dim=1, prepend=torch.zeros_like(pixels))
    return (error * growth).sum(dim=1).mean()


def labelled(label: Tensor, recipe: Recipe, weights: Tensor | None = None) -> Tensor | None:
    """How many pixels the loss of a batch is the mean over, or the sum of their class weights.

    Args:
        label, recipe, weights: as for `training_loss`.

    Returns:
        one number on the label's device; None with hard example mining (the network decides).
    """
    if recipe.ohem_threshold:
        return None
    target = _target(label, recipe)
    return _weight_of(target, target != IGNORE_INDEX, weights)


def _target(label: Tensor, recipe: Recipe) -> Tensor:
    stride = recipe.loss_stride
    return label[:, stride // 2 :: stride, stride // 2 :: stride].long()


def _scaled(logits: Tensor, target: Tensor) -> Tensor:
    return F.interpolate(logits, size=target.shape[1:], mode="bilinear", align_corners=False).float()


def _weight_of(target: Tensor, chosen: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return chosen.sum()
    return weights[target[chosen]].sum()


def _hard(logits: Tensor, target: Tensor, known: Tensor, recipe: Recipe) -> Tensor:
    """Which pixels teach: bool [N, h, w] (online hard example mining, Shrivastava et al. 2016)."""
    # The pixel's own loss, without class weights: how hard it is does not depend on how much it counts.
    loss = F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, reduction="none")
    hard = known & (loss > -math.log(recipe.ohem_threshold))
    least = int(known.sum() * recipe.ohem_min_kept)
    if least == 0 or int(hard.sum()) >= least:
        return hard
    bar = loss[known].topk(least).values[-1]
    return known & (loss >= bar)


def enet_weights(labels: Iterable[np.ndarray], classes: int) -> np.ndarray:
    """Class weights 1 / ln(1.02 + p), p the class's share of the labelled pixels (Paszke et al. 2016).

    Args:
        labels: uint8 [H, W] each; 255 = ignored.
        classes: C.

    Returns:
        float32 [C], from 1.4 (a class that is everywhere) to 50.5 (one that never occurs).
    """
    counts = np.zeros(classes, np.int64)
    for label in labels:
        counts += np.bincount(label.ravel(), minlength=256)[:classes]
    share = counts / max(int(counts.sum()), 1)
    return (1 / np.log(ENET_OFFSET + share)).astype(np.float32)
