"""About how long `profile --paper` takes on a CPU: from multiply-adds, and one convolution timed here."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from bisenet_edge.frame import Size
from bisenet_edge.runtime.profile.network_speed import runs_of_each
from bisenet_edge.toolchain.models import cost

MAKE_S, EXPORT_S = 3.0, 6.0
"""Building and calibrating a network; exporting and compiling one size of it, whatever it computes."""
EXPORT_RUNS = 3
"""How often the network runs in FP32 while it is traced and simplified."""
SHARE_OF_FP32 = {"fp32": 1.0}
OTHER_SHARE = 0.35
"""Time of INT8 and 16 bit against FP32, of networks whose work is not convolutions alone."""
CLASSES, LIKE = 19, Size(640, 360)
CHANNELS, SIDE, TRIES = 64, 128, 5


def macs_per_s(threads: int = 0) -> float:
    """Multiply-adds a second of a 3x3 convolution in FP32, the best of some runs (about 0.1 s in all).

    Args:
        threads: how many will be used; 0 = all. Fewer are taken to be slower in proportion.
    """
    image, weight = torch.rand(1, CHANNELS, SIDE, SIDE), torch.rand(CHANNELS, CHANNELS, 3, 3)
    taken_s = []
    with torch.no_grad():
        for _ in range(TRIES + 1):  # the first one allocates
            begun = time.perf_counter()
            F.conv2d(image, weight, padding=1)
            taken_s.append(time.perf_counter() - begun)
    all_threads = torch.get_num_threads()
    share = min(threads or all_threads, all_threads) / all_threads
    return share * image.numel() * weight[0].numel() / min(taken_s[1:])


def seconds(models: Sequence[str], sizes: Sequence[Size], precisions: Sequence[str], rate: float) -> float:
    """An estimate, right within a factor of about two.

    Args:
        models: names in the zoo.
        sizes: of the pictures.
        precisions: "int8", "fp16", "bf16" or "fp32".
        rate: from `macs_per_s`.

    Raises:
        UsageError: an unknown model.
    """
    total = 0.0
    for model in models:
        total += MAKE_S
        macs_per_pixel = cost.of_model(model, CLASSES, LIKE)[1].macs / (LIKE.width * LIKE.height)
        for size in sizes:
            fp32_s = macs_per_pixel * size.width * size.height / rate
            round_s = fp32_s * sum(SHARE_OF_FP32.get(precision, OTHER_SHARE) for precision in precisions)
            total += EXPORT_S + EXPORT_RUNS * fp32_s + round_s * runs_of_each(round_s)
    return total
