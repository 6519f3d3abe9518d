"""ncnn, through pnnx: PyTorch's trace -> ncnn's own files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from .base import Contestant, usual_mask


class NcnnFp32(Contestant):
    """Float planes in (the network normalises inside), full-size logits out, numpy argmax."""

    title = "ncnn FP32"
    packages = ("ncnn", "pnnx")

    def _stem(self, output: str) -> Path:
        return self.material.folder / f"ncnn_{output}"  # pnnx makes "_" of "-" in names

    def prepare(self) -> None:
        for output in ("logits", "full"):
            if not self._stem(output).with_suffix(".ncnn.bin").is_file():
                self._convert(output)

    def _convert(self, output: str) -> None:
        converter = _pnnx()
        import torch
        from torch.nn import functional

        from bisenet_edge.toolchain import checkpoint as checkpoints

        network: Any = checkpoints.read(self.material.checkpoint).build()
        network.drop_auxiliary_heads()
        size_hw = self.material.size.hw

        class Whole(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                logits: torch.Tensor = self.network(image)
                if output == "logits":
                    return logits
                return functional.interpolate(logits, size=size_hw, mode="bilinear", align_corners=False)

        traced = torch.jit.trace(Whole().eval(), torch.zeros(1, 3, *size_hw))
        script = self._stem(output).with_suffix(".pt")
        traced.save(str(script))
        shape = f"inputshape=[1,3,{size_hw[0]},{size_hw[1]}]"
        # fp16=0: weights stay FP32, as this contestant claims.
        subprocess.run([converter, str(script), shape, "fp16=0"], check=True, capture_output=True)

    def load(self) -> None:
        self._to_logits, self._to_full = self._open("logits"), self._open("full")

    def _open(self, output: str) -> Any:
        import ncnn

        network = ncnn.Net()
        network.opt.num_threads = self.threads
        for setting in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(network.opt, setting, False)
        stem = self._stem(output)
        if network.load_param(f"{stem}.ncnn.param") or network.load_model(f"{stem}.ncnn.bin"):
            raise RuntimeError(f"ncnn cannot load {stem}.ncnn.param")
        return network

    def ready(self, frame: np.ndarray) -> Any:
        import ncnn

        height, width = self.material.size.hw
        return ncnn.Mat.from_pixels(np.ascontiguousarray(frame), ncnn.Mat.PixelType.PIXEL_BGR, width, height)

    def network(self, ready: Any) -> object:
        return self._run(self._to_logits, ready)

    def mask(self, frame: np.ndarray) -> np.ndarray:
        return usual_mask(self._run(self._to_full, self.ready(frame))[None])

    def _run(self, network: Any, image: Any) -> np.ndarray:
        extractor = network.create_extractor()
        extractor.input("in0", image)
        code, found = extractor.extract("out0")
        if code:
            raise RuntimeError(f"ncnn failed with code {code}")
        return np.array(found)


def _pnnx() -> str:
    """The converter, which its wheel puts beside its module."""
    import pnnx

    return str(Path(pnnx.__file__).parent / "pnnx")
