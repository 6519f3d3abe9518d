"""Artifacts of networks that nobody trained, for what does not depend on weights: how fast they are.

Nothing verifies them and their masks mean nothing, so they live in temporary folders only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import fx

from bisenet_edge.artifact import MODEL_FILES, Artifact, Manifest, hash_files
from bisenet_edge.frame import Size
from bisenet_edge.labels import CITYSCAPES
from bisenet_edge.runtime.streets import Scene
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.onnx_graph import to_float16, to_onnx
from bisenet_edge.toolchain.quant.calibrate import observe, set_ranges
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.placement import insert_quantizers

CALIBRATION_SIZE = Size(256, 128)
FILES = {"int8": ("int8", "int8-typed"), "fp16": ("fp32", "fp16-typed"), "bf16": ("fp32",), "fp32": ("fp32",)}
"""Precision -> the files that engines open for it."""


@dataclass(frozen=True)
class RandomNetwork:
    """A network with random weights, in FP32 and, calibrated on one synthetic street, in INT8."""

    model: str
    fp32: fx.GraphModule
    int8: fx.GraphModule

    @classmethod
    def make(cls, model: str, seed: int = 0) -> RandomNetwork:
        """Build a network of the zoo for the classes of Cityscapes, as the paper times them.

        Raises:
            UsageError: no network of this name.
        """
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            folded = fold(zoo.build(model, len(CITYSCAPES)))
        quantized = insert_quantizers(folded)
        frame = np.ascontiguousarray(Scene(seed, CALIBRATION_SIZE).render(0)[0])
        set_ranges(quantized, observe(quantized, [frame]), "max")
        return cls(model, folded, quantized)

    def artifact(self, size: Size, folder: Path, precisions: Sequence[str], *, typed: bool) -> Artifact:
        """Write what some precisions need.

        Args:
            size: of the network's input.
            folder: a new one.
            precisions: "int8", "fp16", "bf16" or "fp32".
            typed: for TensorRT, with the strongly typed files.
        """
        wanted = {file for precision in precisions for file in FILES[precision]}
        folder.mkdir(parents=True)
        for flavour, network in (("fp32", self.fp32), ("int8", self.int8)):
            if flavour not in wanted:
                continue
            model = to_onnx(network, size)
            onnx.save(model, str(folder / MODEL_FILES[flavour]))
            half = {"fp32": "fp16-typed", "int8": "int8-typed"}[flavour]
            if typed and half in wanted:
                onnx.save(to_float16(model), str(folder / MODEL_FILES[half]))
        stride = self.fp32.meta["logits_stride"]
        precision = "int8" if "int8" in wanted else "fp32"
        files = hash_files(folder)
        manifest = Manifest(
            folder.name, "", self.model, CITYSCAPES, size, precision, files, logits_stride=stride
        )
        return Artifact(folder, manifest)
