"""`compile` and `check` of the device command line. Standard library only until they start."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Callable

from bisenet_edge.progress import Progress

EXIT_GATE_FAILED = 3

ArtifactPath = Callable[[argparse.Namespace], Path]


def add_parsers(
    commands: Any, common: argparse.ArgumentParser, artifact_path: ArtifactPath, progress: Progress
) -> None:
    """Add `compile` and `check` to the device's commands.

    Args:
        commands: what `add_subparsers` gave.
        common: parser of the options that every command has.
        artifact_path: where the artifact of these options is.
        progress: told how far the work is.
    """
    made = commands.add_parser(
        "compile", parents=[common], help="build and test the TensorRT engines (exit 3: a self-test failed)"
    )
    made.add_argument("--precision", default="best", help="int8, fp16, fp32 or best: the faster one")
    made.add_argument("--workspace-mb", type=int, help="most memory that a kernel may use (default: all)")
    made.add_argument("--opt-level", type=int, help="0 builds fast, 5 tries the most kernels (default: 3)")
    made.add_argument("--rebuild", action="store_true", help="build even when the cache has one that serves")
    made.set_defaults(call=lambda arguments: _compile(arguments, artifact_path(arguments), progress))

    measured = commands.add_parser(
        "check", parents=[common], help="mIoU of the engine beside FP32 (exit 3: it drops too much)"
    )
    measured.add_argument(
        "--data",
        required=True,
        help="cityscapes:PATH, camvid:PATH, coco-stuff:PATH, folder:PATH or synthetic:",
    )
    measured.add_argument("--split", default="val", help="train or val")
    measured.add_argument("--precision", default="int8", help="what is held against FP32")
    measured.add_argument("--backend", default="auto")
    measured.add_argument("--threads", type=int, default=0)
    measured.add_argument("--max-drop", type=float, help="points of mIoU that may be lost")
    measured.add_argument("--max-class-drop", type=float, help="likewise, points of IoU of any one class")
    measured.set_defaults(call=lambda arguments: _check(arguments, artifact_path(arguments), progress))


def _compile(arguments: argparse.Namespace, path: Path, progress: Progress) -> int:
    from bisenet_edge.artifact import Artifact
    from bisenet_edge.runtime.tensorrt.builder import BuildOptions
    from bisenet_edge.runtime.tensorrt.compile import BEST, Compiler
    from bisenet_edge.runtime.tensorrt.compile_text import compile_text

    options = BuildOptions(arguments.workspace_mb, arguments.opt_level)
    compiler = Compiler(Artifact.open(path), progress)
    if arguments.precision == BEST:
        compiled = compiler.choose(options, rebuild=arguments.rebuild)
    else:
        compiled = compiler.only(arguments.precision, options, rebuild=arguments.rebuild)
    # Nothing is written into the artifact: a release stays as its checksums say. The choice and its reason
    # stand beside the engines.
    section = compiled.to_json()
    print(json.dumps(section, indent=2) if arguments.json else compile_text(section))
    return 0 if compiled.passed else EXIT_GATE_FAILED


def _check(arguments: argparse.Namespace, path: Path, progress: Progress) -> int:
    from bisenet_edge.artifact import Artifact
    from bisenet_edge.runtime.accuracy import Gate, accuracy_text, compare
    from bisenet_edge.runtime.datasets import open_dataset
    from bisenet_edge.runtime.evaluation.evaluate import EngineOptions

    result = compare(
        Artifact.open(path),
        open_dataset(arguments.data, arguments.split),
        arguments.precision,
        EngineOptions(arguments.backend, arguments.threads),
        progress,
    )
    section = result.to_json(Gate(arguments.max_drop, arguments.max_class_drop))
    print(json.dumps(section, indent=2) if arguments.json else accuracy_text(section))
    return 0 if section["passed"] else EXIT_GATE_FAILED
