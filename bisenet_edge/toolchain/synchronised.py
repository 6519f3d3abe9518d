"""Batch normalisation over the pictures of all processes, and gradients summed over them.

A network whose batch is spread over processes then learns what it would learn in one.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bisenet_edge.toolchain.processes import Worker, sum_over_processes


class _Sum(torch.autograd.Function):
    """The sum over processes; so is its gradient, as every process's loss depends on everybody's numbers."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return sum_over_processes(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_over_processes(gradients[0])


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the statistics of all processes, on any device; as many pictures in each.

    PyTorch's `nn.SyncBatchNorm` refuses tensors of a CPU. Forward and backward exchange 2 C numbers each.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        values = x if x.dtype == torch.float64 else x.float()
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        # Summed as squares they are the same in every process; in FP64 nothing cancels.
        mean64 = mean.double()
        sums = _Sum.apply(torch.stack([mean64, variance.double() + mean64 * mean64]))
        count = torch.distributed.get_world_size()
        mean64, square = sums[0] / count, sums[1] / count
        mean = mean64.to(values.dtype)
        variance = (square - mean64 * mean64).clamp(min=0).to(values.dtype)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            rate = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            pixels = count * x.numel() / x.shape[1]
            self.running_mean.lerp_(mean, rate)
            self.running_var.lerp_(variance * (pixels / (pixels - 1)), rate)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        out = torch.addcmul(shift[:, None, None], values, scale[:, None, None])
        return out.to(x.dtype)


def synchronised(network: nn.Module, worker: Worker) -> nn.Module:
    """The same network, weights and names included, with batch normalisation over all processes.

    On CUDA by `nn.SyncBatchNorm`. Changes `network`.
    """
    if worker.size == 1:
        return network
    if worker.device.type == "cuda":
        changed: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return changed
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(network, name, _like(child))
        else:
            synchronised(child, worker)
    return network


def _like(norm: nn.BatchNorm2d) -> SynchronisedBatchNorm2d:
    other = SynchronisedBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    other.weight, other.bias = norm.weight, norm.bias
    other.running_mean, other.running_var = norm.running_mean, norm.running_var
    other.num_batches_tracked = norm.num_batches_tracked
    return other.train(norm.training)


def with_summed_gradients(network: nn.Module, worker: Worker) -> nn.Module:
    """What to call instead of `network` in training: its gradients become the mean over all processes.

    Statistics are not sent around: `synchronised` makes them alike.
    """
    if worker.size == 1:
        return network
    ids = [worker.device] if worker.device.type == "cuda" else None
    with warnings.catch_warnings():
        # Newer releases have another name for this, older ones do not know that.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        return DistributedDataParallel(
            network, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
        )
