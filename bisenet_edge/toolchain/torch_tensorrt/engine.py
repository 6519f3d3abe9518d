"""An artifact's engine made by Torch-TensorRT, tested and kept like one that TensorRT made from ONNX."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch import fx

from bisenet_edge.artifact import Artifact, file_sha256
from bisenet_edge.errors import UsageError
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.runtime.tensorrt import compiled as engines
from bisenet_edge.runtime.tensorrt.api import INT8
from bisenet_edge.runtime.tensorrt.builder import Plan
from bisenet_edge.runtime.tensorrt.compile import Compiler
from bisenet_edge.toolchain.int8 import Int8Options
from bisenet_edge.toolchain.quant.calibration_recipe import CalibrationRecipe
from bisenet_edge.toolchain.torch_tensorrt.compiler import Compiled, compile_torch_tensorrt
from bisenet_edge.toolchain.torch_tensorrt.settings import Settings
from bisenet_edge.toolchain.torch_tensorrt.source import load_network


@dataclass(frozen=True)
class Origin:
    """Where an artifact's network comes from.

    Attributes:
        artifact: what the engine is for.
        checkpoint: that it was exported from; None = the shipped one.
        precision: "int8", "fp16" or "fp32".
    """

    artifact: Artifact
    checkpoint: Path | None = None
    precision: str = INT8

    def network(self, progress: Progress = quiet) -> fx.GraphModule:
        """The torch network, calibrated as the artifact was.

        Raises:
            UsageError: another checkpoint than the artifact's, or an INT8 that calibration does not give.
            CheckpointError, CalibrationError, DatasetError: as for `export`.
        """
        path = self.checkpoint or shipped_checkpoint()
        found, expected = file_sha256(path) if path.is_file() else "", self.artifact.manifest.parent["sha256"]
        if found and found != expected:
            raise UsageError(
                "this artifact was exported from another checkpoint",
                got=f"{path}: sha256 {found[:16]}...",
                expected=f"sha256 {expected[:16]}...",
                fix="name it: --checkpoint FILE",
            )
        int8 = self._int8() if self.precision == INT8 else None
        return load_network(path, self.artifact.manifest.size, int8, progress)

    def _int8(self) -> Int8Options:
        made = self.artifact.manifest.calibration
        special = [*made.get("corrections", []), *(f"{b} in float" for b in made.get("keep_float", []))]
        if not made or special:
            raise UsageError(
                "Torch-TensorRT is given the calibrated network, and this artifact's INT8 is more than that",
                got=", ".join(special) or "an artifact without INT8",
                expected="an artifact of a plain calibration, or of a checkpoint with an INT8 twin",
                fix="compile its ONNX file: --with tensorrt",
            )
        recipe = CalibrationRecipe(made["data"], int(made["count"]), int(made["seed"]))
        return Int8Options(recipe, made["observer"], "auto" if made["collapsed_pairs"] else "never")


def compile_engine(origin: Origin, settings: Settings, progress: Progress = quiet) -> engines.Compiled:
    """Make the engine, test it with the golden frames, and let it run by default if it passes.

    Args:
        origin: the artifact and its checkpoint.
        settings: how; its form is "plan".
        progress: told while pictures are looked at.

    Raises:
        As `Origin.network`, `compile_torch_tensorrt` and `Compiler.adopt`.
    """
    # First: without a GPU or TensorRT there is no need to look at pictures.
    compiler = Compiler(origin.artifact, progress)
    core = origin.network(progress)
    with tempfile.TemporaryDirectory(prefix="bisenet-edge-plan-") as folder:
        path = Path(folder) / "engine.plan"
        made = compile_torch_tensorrt(core, origin.artifact.manifest.size, path, settings)
        plan = Plan(path.read_bytes(), b"", made.seconds, [made.note] if made.note else [])
    return compiler.adopt(origin.precision, plan, f"torch-tensorrt {made.torch_tensorrt}")


def compile_file(origin: Origin, settings: Settings, out: Path, progress: Progress = quiet) -> Compiled:
    """Make a file of another form than a plan: an exported program, or what a dry run says.

    Raises:
        As `Origin.network` and `compile_torch_tensorrt`.
    """
    return compile_torch_tensorrt(origin.network(progress), origin.artifact.manifest.size, out, settings)
