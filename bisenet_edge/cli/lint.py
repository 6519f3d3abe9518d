"""`bisenet-edge lint`: what will not run in INT8, and why."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bisenet_edge.cli.app import EXIT_GATE
from bisenet_edge.cli.options import find_artifact, json_option
from bisenet_edge.cli.render import emit, next_command, table

if TYPE_CHECKING:
    from bisenet_edge.toolchain.lint.linter import LintResult

COLUMNS = ("flavour", "severity", "rule", "node")


@click.command("lint")
@click.argument("artifact", required=False, type=click.Path(path_type=Path), metavar="[ARTIFACT]")
@json_option
def command(artifact: Path | None, as_json: bool) -> int:
    """Check the Q/DQ graphs of ARTIFACT (default: the newest), or one .onnx file, for what TensorRT fuses.

    Exit code 3 when there is a finding.
    """
    from bisenet_edge.runtime.report.sections import update_report
    from bisenet_edge.toolchain.lint.linter import ENGINE_RULE, lint, lint_file

    if artifact is not None and artifact.is_file():
        path, result = artifact, lint_file(artifact)
        advice = "bisenet-edge export --int8"
    else:
        found = find_artifact(artifact)
        path, result = found.path, lint(found)
        advice = f"bisenet-edge export --int8 --res {found.manifest.size}"
        if not any(f.severity == "error" and f.rule != ENGINE_RULE[0] for f in result.findings):
            # Warnings, and what an engine decided by itself, may cost time; whether they do is measured.
            named = [] if artifact is None else [str(artifact)]
            advice = shlex.join(["bisenet-edge", "profile", *named, "--res", str(found.manifest.size)])
    # The findings first: a read-only artifact must not hide them.
    if as_json:
        emit({"artifact": str(path), **result.to_json()})
    else:
        _print(path, result)
        next_command(advice)
    if path.is_dir():
        update_report(path, "lint", result.to_json())
    return EXIT_GATE if result.findings else 0


def _print(path: Path, result: LintResult) -> None:
    click.echo(f"{path}\n")
    if result.findings:
        _print_findings(result)
    else:
        click.echo(f"no findings: {result.int8} of {result.convolutions} convolutions are in INT8")
    engine = result.engine
    if engine:
        share = f"{engine['convolutions_int8']} of {engine['convolutions']}"
        click.echo(f"{engine['name']} {engine['version']} runs {share} convolutions in INT8")
    if result.kept_float:
        click.echo(f"kept in floating point on purpose: {', '.join(result.kept_float)}")


def _print_findings(result: LintResult) -> None:
    rows = [list(COLUMNS)] + [[getattr(finding, c) for c in COLUMNS] for finding in result.findings]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    # Text stands left: `table` pads on the left only what is shorter.
    first, *others = [[text.ljust(width) for text, width in zip(row, widths)] for row in rows]
    header, rule, *lines = table(first, others).splitlines()
    click.echo(f"{header}\n{rule}")
    for line, finding in zip(lines, result.findings):
        click.echo(f"{line}\n    {finding.message}\n    fix: {finding.fix}")
    errors = sum(finding.severity == "error" for finding in result.findings)
    click.echo(
        f"\nfindings: {len(result.findings)}, errors among them: {errors}; "
        f"{result.int8} of {result.convolutions} convolutions are in INT8"
    )
