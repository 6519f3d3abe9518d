"""What `install.sh` and the unit call: `fits`, `budget`, `serve`. Standard library only until they start."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any, Callable, List

from bisenet_edge.cli.device_run import BUDGET_VARIABLE
from bisenet_edge.errors import ArtifactError
from bisenet_edge.progress import Progress

EXIT_GATE_FAILED = 3

ArtifactPath = Callable[[argparse.Namespace], Path]


def add_parsers(
    commands: Any,
    common: argparse.ArgumentParser,
    artifact_path: ArtifactPath,
    progress: Progress,
    main: Callable[[List[str]], int],
) -> None:
    """Add the commands.

    Args:
        commands: what `add_subparsers` gave.
        common: parser of the options that every command has.
        artifact_path: where the artifact of these options is.
        progress: told how far the work is.
        main: runs another command.
    """
    fits = commands.add_parser(
        "fits", parents=[common], help="is this the board that the bundle is made for? (exit 1: no)"
    )
    fits.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="look at a folder's system")
    fits.set_defaults(call=lambda arguments: _fits(arguments, artifact_path(arguments).parent / "board.json"))

    budget = commands.add_parser(
        "budget", parents=[common], help="is a frame's mask there in time? (exit 3: no)"
    )
    budget.add_argument("budget_ms", type=_milliseconds, metavar="MS", help="for resize and inference, p99")
    budget.add_argument("--backend", default="auto")
    budget.add_argument("--precision", default="", help="default: what runs by default")
    budget.add_argument("--threads", type=int, default=0)
    budget.set_defaults(call=lambda arguments: _budget(arguments, artifact_path(arguments), progress))

    serve = commands.add_parser(
        "serve", parents=[common], help="run with SOURCE, SINKS and LATENCY_BUDGET_MS of the environment"
    )
    serve.add_argument("--backend", default="auto")
    serve.set_defaults(call=lambda arguments: _serve(arguments, main))


def _fits(arguments: argparse.Namespace, board: Path) -> int:
    from bisenet_edge.runtime.jetson import board_mismatch, detect

    wanted = str(json.loads(board.read_text(encoding="utf-8"))["name"])
    found = detect(arguments.root)
    differs = board_mismatch(wanted, found)
    if differs:
        own = found.board if found else "cpu"
        raise ArtifactError(
            "this bundle is for another machine",
            got=differs,
            expected=wanted,
            fix=f"bisenet-edge deploy jetson --board {own}" if own else "if you know better: --any-machine",
        )
    print(json.dumps({"board": wanted}) if arguments.json else f"made for this board: {wanted}")
    return 0


def _budget(arguments: argparse.Namespace, path: Path, progress: Progress) -> int:
    from bisenet_edge.artifact import Artifact
    from bisenet_edge.runtime.backends import open_session
    from bisenet_edge.runtime.pipeline.latency_gate import check_latency

    engine = {"backend": arguments.backend, "threads": arguments.threads}
    with open_session(Artifact.open(path), arguments.precision, **engine) as session:
        gate = check_latency(session, arguments.budget_ms, progress)
    print(json.dumps(gate.to_json(), indent=2) if arguments.json else gate)
    return 0 if gate.passed else EXIT_GATE_FAILED


def _serve(arguments: argparse.Namespace, main: Callable[[List[str]], int]) -> int:
    from bisenet_edge.runtime.pipeline.service_environment import job_from_environment

    source, sinks, budget_ms = job_from_environment()
    if budget_ms is not None:
        os.environ[BUDGET_VARIABLE] = f"{budget_ms:g}"
    options = ["--backend", arguments.backend]
    options += ["--artifact", str(arguments.artifact)] if arguments.artifact else []
    options += [f"--{name}" for name in ("json", "debug") if getattr(arguments, name)]
    # Behind "--" a source that begins with "-" is no option.
    return main(["run", *options, "--", source, *sinks])


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
