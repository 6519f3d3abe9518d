"""The command line of a device: what `bisenet-edge.pyz` runs. Standard library only until a command starts.

The full command line needs click and offers every step; this one offers what a device does. Exit codes are
the same: 0 ok, 1 error or a problem that `doctor` found, 2 usage, 3 a gate failed, 4 inconclusive.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import traceback
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from bisenet_edge import __version__
from bisenet_edge.cli import device_compile, device_install, device_profile, device_run
from bisenet_edge.errors import BisenetEdgeError, MissingDependencyError

PROGRAM = "bisenet-edge.pyz"
EXIT_PROBLEM = 1
EXIT_GATE_FAILED = 3
EXIT_INTERRUPTED = 130


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command and give its exit code. The one place on a device that turns errors into text."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.call(arguments))
    except BisenetEdgeError as error:
        return _report(error, arguments.debug)
    except ModuleNotFoundError as error:
        if error.name not in ("numpy", "cv2"):
            raise
        missing = MissingDependencyError(
            "a package that every command needs is not installed",
            got=f"no module '{error.name}' for {sys.executable}",
            fix="sudo apt-get install -y python3-numpy python3-opencv",
        )
        return _report(missing, arguments.debug)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _report(error: BisenetEdgeError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--artifact", type=Path, metavar="DIR", help="default: artifact/ beside this program")
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("--debug", action="store_true", help="show tracebacks")
    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument(
        "--backend",
        default="auto",
        help="tensorrt, cpu, openvino, onnxruntime or reference (default: tensorrt on a Jetson, else cpu)",
    )
    engine.add_argument("--precision", default="", help="int8, fp16, bf16 or fp32 (default: what pays)")
    engine.add_argument("--threads", type=int, default=0, help="CPU threads (default: all)")

    parser = argparse.ArgumentParser(prog=PROGRAM, description="Street scenes to masks, on this device.")
    parser.add_argument("--version", action="version", version=f"bisenet-edge {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    test = commands.add_parser(
        "selftest",
        parents=[common, engine],
        help="compare the masks of the golden frames (exit 3: too few agree)",
    )
    test.add_argument(
        "--min-agreement",
        type=float,
        metavar="SHARE",
        help="of the pixels (default: what the artifact allows)",
    )
    test.set_defaults(call=_selftest)

    device_compile.add_parsers(commands, common, _artifact_path, _show_progress)
    device_run.add_parser(commands, (common, engine), _artifact_path, _show_progress)
    device_profile.add_parser(commands, common, _artifact_path, _show_progress)
    device_install.add_parsers(commands, common, _artifact_path, _show_progress, main)

    info = commands.add_parser("info", parents=[common], help="what is installed here")
    info.set_defaults(call=_info)

    doctor = commands.add_parser(
        "doctor",
        parents=[common],
        help="check JetPack, TensorRT, CUDA, cameras, power mode (exit 1: a problem stops the job)",
    )
    doctor.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="look at a folder's system"
    )
    doctor.set_defaults(call=_doctor)
    return parser


def _artifact_path(arguments: argparse.Namespace) -> Path:
    if arguments.artifact is not None:
        return Path(arguments.artifact)
    # Resolved, so that a service keeps reading the release it was started from when `current` moves.
    return Path(sys.argv[0]).resolve().parent / "artifact"


def _selftest(arguments: argparse.Namespace) -> int:
    from bisenet_edge.artifact import Artifact
    from bisenet_edge.runtime.backends import open_session
    from bisenet_edge.runtime.selftest import selftest

    artifact = Artifact.open(_artifact_path(arguments))
    with open_session(
        artifact,
        arguments.precision,
        backend=arguments.backend,
        threads=arguments.threads,
        progress=_show_progress,
    ) as session:
        result = selftest(artifact, session, arguments.min_agreement)
    if arguments.json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        print(f"self-test of {artifact.manifest.name} on {result.backend}, {result.precision}")
        for index, share in enumerate(result.agreements):
            print(f"  frame {index}: {100 * share:7.3f} % of the pixels agree")
        print(f"  worst class: {result.worst_class}, IoU {result.worst_class_iou:.3f} with the golden masks")
        verdict = "passed" if result.passed else "FAILED"
        share, least = 100 * result.mean_agreement, 100 * result.min_agreement
        print(f"{verdict} ({share:.3f} % in the mean, needs {least:g} %)")
    return 0 if result.passed else EXIT_GATE_FAILED


def _show_progress(step: str, done: int, total: int) -> None:
    # In a journal a line that rewrites itself is noise.
    if sys.stderr.isatty():
        of = f" of {total}" if total else ""
        end = "\n" if done == total else ""
        print(f"\r{step} {done}{of}", end=end, file=sys.stderr, flush=True)


def _info(arguments: argparse.Namespace) -> int:
    from bisenet_edge.artifact import MODEL_FILES, Artifact
    from bisenet_edge.runtime.machine import describe_machine

    path = _artifact_path(arguments)
    manifest = Artifact.open(path).manifest
    found: Dict[str, Dict[str, Any]] = {
        "artifact": {
            "path": str(path),
            "name": manifest.name,
            "model": manifest.model,
            "created": manifest.created,
            "size": str(manifest.size),
            "classes": list(manifest.labels.names),
            "precision": manifest.precision,
            "precisions": [name for name, file in MODEL_FILES.items() if file in manifest.files],
        },
        "engines": {
            "tensorrt": _has("tensorrt"),
            "openvino": _has("openvino"),
            "onnxruntime": _has("onnxruntime") and _has("onnx"),
            "reference": _has("onnxruntime"),
        },
        "machine": describe_machine(),
        "program": {"version": __version__, "made_for": _board(path.parent / "board.json", "title")},
    }
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    for group, values in found.items():
        print(group)
        for key, value in values.items():
            print(f"  {key:<18}{_text(value)}")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from bisenet_edge.runtime.doctor import as_text, examine, next_step

    diagnosis = examine(arguments.root, _board(_artifact_path(arguments).parent / "board.json", "name"))
    if arguments.json:
        print(json.dumps(diagnosis.to_json(), indent=2))
    else:
        print(f"{as_text(diagnosis)}\n\nnext: {next_step(diagnosis, f'python3 {PROGRAM} selftest')}")
    return 0 if diagnosis.healthy else EXIT_PROBLEM


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _board(path: Path, key: str) -> str:
    return str(json.loads(path.read_text(encoding="utf-8")).get(key, "")) if path.is_file() else ""


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "installed" if value else "not installed"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
