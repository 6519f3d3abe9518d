"""Parameters and multiply-adds of a network, counted by running it once, on shapes alone if on "meta"."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from bisenet_edge.frame import Size
from bisenet_edge.toolchain.models import zoo

MIB = 2**20
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class Cost:
    """What a network weighs and computes.

    Attributes:
        parameters: learnable numbers (batch normalisation's running statistics are not).
        macs: multiply-adds of all convolutions for one image; element-wise work is left out, as in
            the paper's table.
    """

    parameters: int
    macs: int

    @property
    def mib_fp32(self) -> float:
        """Size of the parameters as FP32, in MiB (2**20 bytes)."""
        return self.parameters * 4 / MIB

    @property
    def gmacs(self) -> float:
        return self.macs / 1e9

    @property
    def gflops(self) -> float:
        """Floating-point operations, two per multiply-add, in 10**9."""
        return 2 * self.gmacs


def count(model: nn.Module, size: Size) -> Cost:
    """Count the cost of inference on one image. The model is left as it was.

    Args:
        model: takes float [1, 3, H, W]; on PyTorch's "meta" device nothing is computed.
        size: image size; both sides multiples of the network's `input_multiple`.
    """
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        # A weight is [out, in / groups, k, k] and is used for each output; a transposed one is
        # [in, out / groups, k, k] and is used for each input.
        side = output if isinstance(module, nn.Conv2d) else inputs[0]
        assert isinstance(module.weight, Tensor)
        total += side.numel() * prod(module.weight.shape[1:])

    parameters = sum(p.numel() for p in model.parameters())
    handles: list[Any] = [
        m.register_forward_hook(add) for m in model.modules() if isinstance(m, CONVOLUTIONS)
    ]
    was_training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, 3, *size.hw, device=next(model.parameters()).device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return Cost(parameters, total)


def of_model(name: str, num_classes: int, size: Size) -> tuple[Size, Cost]:
    """What inference costs on a network of the zoo, auxiliary heads left out.

    Args:
        name: of the network.
        num_classes: C.
        size: of the picture.

    Returns:
        the size that is computed, as exported graphs pad the picture to it, and its cost.

    Raises:
        UsageError: no network of this name.
    """
    with torch.device("meta"):  # shapes decide the cost; nothing is computed
        network = zoo.build(name, num_classes)
    network.drop_auxiliary_heads()
    multiple = network.input_multiple
    computed = Size(size.width + -size.width % multiple, size.height + -size.height % multiple)
    return computed, count(network, computed)
