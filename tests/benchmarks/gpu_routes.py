"""The routes that `gpu_torch.py` times: the network alone, the plain route and the fused one.

On a CPU the same code runs without CUDA graphs and without pinned memory, so that it can be checked there.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx
from torch.nn import functional as F

from bisenet_edge.frame import Size
from bisenet_edge.toolchain.tensors import logits_to_mask

WARM_UPS = 3  # before a capture: cuDNN chooses its algorithms, and the allocator gets its memory


@dataclass(frozen=True)
class Precision:
    """How a network computes: the type of its tensors, and whether FP32 products may be TF32."""

    name: str
    dtype: torch.dtype
    tf32: bool = False


FP32 = Precision("fp32", torch.float32)
PRECISIONS = (FP32, Precision("tf32", torch.float32, tf32=True), Precision("fp16", torch.float16))
Route = Callable[[np.ndarray], np.ndarray]


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Set what PyTorch keeps globally; a captured graph keeps what was set when it was captured."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision.tf32
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def captured(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """`function` as one CUDA graph; itself on a CPU. What it reads and writes must stay where it is."""
    if device.type != "cuda":
        return function
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            function()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    replay: Callable[[], None] = graph.replay
    return replay


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def on_device(folded: fx.GraphModule, device: torch.device, precision: Precision) -> fx.GraphModule:
    """A copy of a folded network, channels_last."""
    moved: fx.GraphModule = copy.deepcopy(folded).to(  # type: ignore[call-overload]
        device=device, dtype=precision.dtype, memory_format=torch.channels_last
    )
    return moved


class Network:
    """The network alone: a float frame on the device -> full-size logits."""

    def __init__(
        self, folded: fx.GraphModule, size: Size, device: torch.device, precision: Precision
    ) -> None:
        core = on_device(folded, device, precision)
        image = torch.rand(1, 3, *size.hw, device=device) * 255
        self.device = device
        self.image = image.to(precision.dtype, memory_format=torch.channels_last)
        self.logits = torch.empty(0)

        def compute() -> None:
            self.logits = F.interpolate(core(self.image), size=size.hw, mode="bilinear", align_corners=False)

        with computing_in(precision):
            self._run = captured(compute, device)

    def sample(self) -> float:
        """Milliseconds of one run, on the device's clock where it has one."""
        if self.device.type != "cuda":
            begun_ns = time.perf_counter_ns()
            with torch.inference_mode():
                self._run()
            return (time.perf_counter_ns() - begun_ns) / 1e6
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        self._run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))


def plain_route(folded: fx.GraphModule, device: torch.device) -> Route:
    """uint8 [H, W, 3] -> uint8 [H, W], the way one writes it first, in FP32."""
    core = on_device(folded, device, FP32)

    def segment(frame: np.ndarray) -> np.ndarray:
        image = np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32)
        with computing_in(FP32):
            logits = core(torch.from_numpy(image).to(device))
            full = F.interpolate(logits, size=frame.shape[:2], mode="bilinear", align_corners=False)
            return np.argmax(full.cpu().numpy(), axis=1)[0].astype(np.uint8)

    return segment


def fused_route(folded: fx.GraphModule, size: Size, device: torch.device, precision: Precision) -> Route:
    """uint8 [H, W, 3] -> uint8 [H, W] with one upload, one CUDA graph and one download.

    The mask that is given lies in a buffer that the next call writes.
    """
    core = on_device(folded, device, precision)
    pinned = device.type == "cuda"
    frame_host = torch.empty(1, *size.hw, 3, dtype=torch.uint8, pin_memory=pinned)
    mask_host = torch.empty(1, *size.hw, dtype=torch.uint8, pin_memory=pinned)
    frame_device = torch.zeros_like(frame_host, device=device)
    mask_device = torch.zeros_like(mask_host, device=device)

    def compute() -> None:
        # NHWC seen as NCHW is channels_last already: nothing is moved.
        logits: Tensor = core(frame_device.permute(0, 3, 1, 2).to(precision.dtype))
        mask_device.copy_(logits_to_mask(logits, size.hw))

    with computing_in(precision):
        run = captured(compute, device)

    def segment(frame: np.ndarray) -> np.ndarray:
        np.copyto(frame_host.numpy()[0], frame)
        with torch.inference_mode():
            frame_device.copy_(frame_host, non_blocking=True)
            run()
            mask_host.copy_(mask_device, non_blocking=True)
        synchronize(device)
        return np.asarray(mask_host.numpy()[0])

    return segment
