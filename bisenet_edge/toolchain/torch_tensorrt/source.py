"""What can be compiled: a checkpoint. An artifact holds ONNX files only, which are another compiler's."""

from __future__ import annotations

from pathlib import Path

from torch import fx

from bisenet_edge.artifact import MANIFEST
from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.int8 import Int8Options, make_int8
from bisenet_edge.toolchain.quant.fold import fold


def load_network(
    source: Path | None, size: Size, int8: Int8Options | None, progress: Progress = quiet
) -> fx.GraphModule:
    """The network to compile, made as `export` makes it.

    Args:
        source: a checkpoint: an FP32 one is calibrated, one with an INT8 twin (`train --qat`) gives the twin;
            None = the shipped one.
        size: of the network's input; calibration pictures are scaled to it.
        int8: how INT8 is made; None = no INT8. Its gate is `export`'s matter and must be None.
        progress: told while pictures are looked at.

    Raises:
        UsageError: an artifact or an ONNX file, or a gate.
        CheckpointError, CalibrationError, DatasetError: as for `export`.
    """
    path = source or shipped_checkpoint()
    _refuse_onnx(path)
    checkpoint = checkpoints.read(path)
    folded = fold(checkpoint.build())
    if int8 is None:
        return folded
    if int8.gate is not None:
        raise UsageError(
            "a promise is measured on the exported graph, not on a compiled one",
            got=f"max_drop {int8.gate.max_drop}, max_class_drop {int8.gate.max_class_drop}",
            fix="bisenet-edge export --int8 --max-drop N",
        )
    made = make_int8(checkpoint, folded, size, int8, progress=progress)
    assert made.quantized is not None  # only a gate can refuse
    return made.quantized.network


def _refuse_onnx(path: Path) -> None:
    is_artifact = (path / MANIFEST).exists()
    if not is_artifact and path.suffix != ".onnx":
        return
    raise UsageError(
        "Torch-TensorRT compiles the torch network, and this holds ONNX files",
        got=f"{path}{' (an artifact)' if is_artifact else ''}",
        expected="the checkpoint it was exported from (.safetensors), calibrated anew or with its INT8 twin",
        fix="bisenet-edge compile CHECKPOINT --with torch-tensorrt  (or, for ONNX: --with tensorrt)",
    )
