"""Compile the torch network with Torch-TensorRT: what `bisenet-edge compile --with torch-tensorrt` calls.

A plan is bound to the GPU and the TensorRT it was made with, so this runs on the machine that is to run the
plan: one with an NVIDIA GPU, torch and Torch-TensorRT. A Jetson is served by the ONNX files of the artifact.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from bisenet_edge.errors import BackendError, MissingDependencyError
from bisenet_edge.frame import Size
from bisenet_edge.resources import replace_when_written
from bisenet_edge.toolchain.quant.placement import quant_convs, quantizers
from bisenet_edge.toolchain.torch_tensorrt.converter import register_cast_to_uint8
from bisenet_edge.toolchain.torch_tensorrt.program import export_program
from bisenet_edge.toolchain.torch_tensorrt.quantize_op import import_modelopt
from bisenet_edge.toolchain.torch_tensorrt.releases import Installed, plan_note, release_for
from bisenet_edge.toolchain.torch_tensorrt.settings import Settings, computes_in_half, keywords

SUFFIXES = {"plan": ".plan", "exported-program": ".ep", "dry-run": ".txt"}
"""What a file is called by default, by form."""

INPUT, OUTPUT = "frame", "output0"
"""Tensor names of a plan. Torch-TensorRT names outputs itself, where our ONNX files say `mask`."""


@dataclass(frozen=True)
class Compiled:
    """What a compilation wrote.

    Attributes:
        path: the file.
        form: "plan", "exported-program" or "dry-run" (`Settings.form`).
        torch, torch_tensorrt, tensorrt: versions; a plan needs this TensorRT, an exported program all three.
        settings: what was asked for, as JSON.
        seconds: that the compiler took.
        size_bytes: of the file.
        note: what the user must know of where it runs; "" on a Jetson.
    """

    path: Path
    form: str
    torch: str
    torch_tensorrt: str
    tensorrt: str
    settings: dict[str, Any]
    seconds: float
    size_bytes: int
    note: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path), "input": INPUT, "output": OUTPUT}


def compile_torch_tensorrt(
    core: fx.GraphModule, size: Size, out: Path, settings: Settings, installed: Installed | None = None
) -> Compiled:
    """Compile a network for this machine's GPU; the file appears whole or not at all.

    Args:
        core: folded and perhaps quantized, float BGR [1, 3, H, W] in 0..255 -> logits [1, C, H/8, W/8]; see
            `source.load_network`.
        size: of the frame. All shapes are fixed.
        out: file to write.
        settings: how.
        installed: versions to go by; None = those of this machine.

    Raises:
        MissingDependencyError: a package that is absent, or versions that do not go together.
        UsageError: an option that the installed release does not have.
        BackendError: no GPU, a JetPack without Torch-TensorRT, or the compiler's own failure.
        SinkError: `out` cannot be written.
    """
    installed = installed or Installed.here()
    release = release_for(installed)
    int8 = bool(quantizers(core) or quant_convs(core))
    wanted = keywords(settings, release, int8=int8)
    device = gpu()
    compiler = _import_compiler(int8)
    with replace_when_written(out) as temporary:
        program = export_program(core, size, half=computes_in_half(settings, release), device=device)
        frame = torch.zeros(1, *size.hw, 3, dtype=torch.uint8, device=device)
        job = _Job(compiler, program, frame, wanted)
        started_s = time.monotonic()
        job.write(settings.form, temporary)
        seconds = time.monotonic() - started_s
        size_bytes = temporary.stat().st_size
    return Compiled(
        path=out,
        form=settings.form,
        torch=installed.torch,
        torch_tensorrt=installed.torch_tensorrt,
        tensorrt=installed.tensorrt,
        settings=settings.to_json(),
        seconds=seconds,
        size_bytes=size_bytes,
        note=plan_note(installed),
    )


def gpu() -> str:
    """The device to compile on.

    Raises:
        BackendError: torch sees no NVIDIA GPU.
    """
    if not torch.cuda.is_available():
        raise BackendError(
            "Torch-TensorRT compiles for the GPU of the machine it runs on, and torch sees none",
            got=f"torch {torch.__version__}",
            expected="an NVIDIA GPU and a torch built for CUDA",
            fix="nvidia-smi; bisenet-edge export --int8 makes what a device builds its engine from",
        )
    return "cuda"


def _import_compiler(int8: bool) -> Any:
    """Import `torch_tensorrt`, after ModelOpt: its converters are chosen while it is imported."""
    if int8:
        import_modelopt()
    try:
        compiler = importlib.import_module("torch_tensorrt")
        importlib.import_module("torch_tensorrt.dynamo")
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            "Torch-TensorRT cannot be imported",
            got=str(error).splitlines()[0],
            fix="python -c 'import tensorrt, torch_tensorrt'",
        ) from error
    conversion = importlib.import_module("torch_tensorrt.dynamo.conversion")
    if int8 and torch.ops.tensorrt.quantize_op.default not in conversion.DYNAMO_CONVERTERS:
        raise BackendError(
            "this process imported Torch-TensorRT before ModelOpt, and it has no converter for INT8",
            fix="import modelopt.torch.quantization first, or start a new process",
        )
    register_cast_to_uint8()
    return compiler


@dataclass(frozen=True)
class _Job:
    """One call of the compiler. Positional and keyword arguments are those of all known releases."""

    compiler: Any
    program: ExportedProgram
    frame: torch.Tensor
    keywords: dict[str, Any]

    def write(self, form: str, path: Path) -> None:
        try:
            if form == "plan":
                self._write_plan(path)
            elif form == "dry-run":
                self._write_dry_run(path)
            else:
                self._write_program(path)
        except (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError) as error:
            raise BackendError(
                "Torch-TensorRT could not compile the network",
                got=(str(error).splitlines() or [repr(error)])[0][:300],
                fix="compile with the form dry-run, which says which operators it takes",
            ) from error

    def _write_plan(self, path: Path) -> None:
        make = self.compiler.dynamo.convert_exported_program_to_serialized_trt_engine
        plan = make(self.program, arg_inputs=[self.frame], **self.keywords)
        if not plan:
            raise BackendError("TensorRT built no engine", got="an empty plan")
        path.write_bytes(plan)

    def _write_program(self, path: Path) -> None:
        module = self.compiler.dynamo.compile(self.program, arg_inputs=[self.frame], **self.keywords)
        in_torch = [name for name, _ in module.named_children() if name.startswith("_run_on_gpu")]
        if in_torch:
            raise BackendError(
                "a part of the network would run in torch", got=", ".join(in_torch), expected="one engine"
            )
        self.compiler.save(
            module, str(path), output_format="exported_program", arg_inputs=[self.frame], retrace=True
        )

    def _write_dry_run(self, path: Path) -> None:
        self.compiler.dynamo.compile(self.program, arg_inputs=[self.frame], dryrun=str(path), **self.keywords)
