"""`profile` of the device command line. Standard library only until it starts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Callable, Dict

from bisenet_edge.progress import Progress

EXIT_CODES = {"slower": 3, "inconclusive": 4}
"""Verdict of a comparison -> exit code; any other is 0."""


ArtifactPath = Callable[[argparse.Namespace], Path]


def add_parser(
    commands: Any, common: argparse.ArgumentParser, artifact_path: ArtifactPath, progress: Progress
) -> None:
    """Add `profile` to the device's commands.

    Args:
        commands: what `add_subparsers` gave.
        common: parser of the options that every command has.
        artifact_path: where the artifact of these options is.
        progress: told how far a measurement is.
    """
    timed = commands.add_parser("profile", parents=[common], help="latency, power and clocks, by stage")
    timed.add_argument("--backend", default="auto")
    timed.add_argument("--precision", action="append", default=[], help="repeatable (default: all that pay)")
    timed.add_argument("--threads", type=int, default=0)
    timed.add_argument("--samples", type=int, default=200, help="per case, at least 100")
    timed.add_argument("--burst", type=int, default=10, help="samples of one case before the next one's turn")
    timed.add_argument(
        "--against", type=Path, metavar="FILE", help="an older --json or report.json (exit 3: slower)"
    )
    timed.add_argument(
        "--max-regression", type=_percent, default=5.0, metavar="PERCENT", help="tolerated (5)"
    )
    timed.add_argument("--layers", action="store_true", help="what each layer costs, too (TensorRT)")
    timed.add_argument("--force", action="store_true", help="compare although the machines differ")
    timed.set_defaults(call=lambda arguments: _profile(arguments, artifact_path(arguments), progress))


def _percent(text: str) -> float:
    value = float(text)
    if not value >= 0:  # nan is not
        raise ValueError(text)
    return value


def _profile(arguments: argparse.Namespace, path: Path, progress: Progress) -> int:
    from bisenet_edge.artifact import Artifact
    from bisenet_edge.runtime.backends import open_session
    from bisenet_edge.runtime.profile.artifacts import flavours, profile_artifacts
    from bisenet_edge.runtime.profile.compare import compare, load_profile, refusal
    from bisenet_edge.runtime.profile.profiler import ProfileOptions
    from bisenet_edge.runtime.profile.text import comparison_text, profile_text

    options = ProfileOptions(samples=arguments.samples, burst=arguments.burst)
    before = load_profile(arguments.against) if arguments.against else None
    artifact = Artifact.open(path)
    refused = refusal(before) if before and not arguments.force else None
    section: Dict[str, Any] = {"comparison": refused.to_json()} if refused else {}
    if not refused:
        engine = {"backend": arguments.backend, "threads": arguments.threads, "progress": progress}
        asked = flavours(arguments.precision, arguments.backend)
        section = profile_artifacts(
            [artifact],
            asked,
            lambda one, flavour: open_session(one, flavour, **engine),
            options,
            progress,
            layers=arguments.layers,
        ).to_json()
        if before:
            allowed = arguments.max_regression / 100
            section["comparison"] = compare(section, before, allowed, force=arguments.force).to_json()
    comparison = section.get("comparison")
    # Nothing is written: a release stays as its checksums say. `--json > FILE` is what --against takes.
    if arguments.json:
        print(json.dumps(section, indent=2))
    else:
        texts = [profile_text(section)] if "cases" in section else []
        print("\n\n".join(texts + ([comparison_text(comparison)] if comparison else [])))
    if comparison:
        return EXIT_CODES.get(comparison["verdict"], 0)
    return 0 if section["conclusive"] else EXIT_CODES["inconclusive"]
