"""PyTorch on the CPU, eager and compiled, as its users write it: float image in, full-size logits, argmax."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .base import Contestant


class _Torch(Contestant):
    compiled = False

    def load(self) -> None:
        # Kept beside the material: a second run does not compile again.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(self.material.folder / "inductor")
        import torch

        from bisenet_edge.toolchain import checkpoint as checkpoints

        torch.set_num_threads(self.threads)
        self._torch = torch
        self._dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        network: Any = checkpoints.read(self.material.checkpoint).build()
        network.drop_auxiliary_heads()
        network = network.eval().to(self._dtype).to(memory_format=torch.channels_last)
        if self.compiled:
            network = torch.compile(network, options={"freezing": True})
        self._network = network
        self.network(self.ready(self.material.frames()[0]))  # compiles

    def prepare(self) -> None:
        if self.compiled:
            self.load()

    def ready(self, frame: np.ndarray) -> Any:
        torch = self._torch
        image = torch.from_numpy(frame).permute(2, 0, 1)[None].to(self._dtype)
        return image.contiguous(memory_format=torch.channels_last)

    def network(self, ready: Any) -> Any:
        with self._torch.inference_mode(not self.compiled), self._torch.no_grad():
            return self._network(ready)

    def mask(self, frame: np.ndarray) -> np.ndarray:
        torch = self._torch
        with torch.no_grad():
            logits = self.network(self.ready(frame)).float()
            full = torch.nn.functional.interpolate(
                logits, size=self.material.size.hw, mode="bilinear", align_corners=False
            )
            return full.argmax(1)[0].to(torch.uint8).numpy()


class TorchFp32(_Torch):
    title = "PyTorch eager FP32"


class TorchBf16(_Torch):
    title = "PyTorch eager BF16, channels last"
    precision = "bf16"


class TorchCompileFp32(_Torch):
    title = "PyTorch compiled FP32"
    compiled = True
    heavy = True


class TorchCompileBf16(TorchCompileFp32):
    title = "PyTorch compiled BF16"
    precision = "bf16"
