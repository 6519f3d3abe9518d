"""`bisenet-edge demo`: the whole job, as the commands a user would type, one after another."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bisenet_edge.artifact import Artifact
from bisenet_edge.cli.render import next_command, points, table
from bisenet_edge.errors import BisenetEdgeError

CLIP = "synthetic://?seed=3&seconds=8&size=1280x720"
VIDEO = Path("overlay.mp4")
SIZE = "640x360"
MAX_DROP = 1.0
SYNTHETIC = "synthetic:?count=60&size=640x360"


@dataclass(frozen=True)
class Step:
    """One command of the demo, and the exit codes after which the demo goes on."""

    words: tuple[str, ...]
    fine: tuple[int, ...] = (0,)


def steps(data: str | None) -> list[Step]:
    """The demo's commands, on `data` or on synthetic streets."""
    calibrate = ("--data", data) if data else ()
    gate = ("--data", data or SYNTHETIC, "--max-drop", str(MAX_DROP))
    return [
        Step(("export", "--int8", "--res", SIZE, *calibrate)),
        Step(("check", *gate)),
        # 4: the machine was too busy for a clear figure; the demo goes on and says so.
        Step(("profile", "--res", SIZE), fine=(0, 4)),
        Step(("run", CLIP, str(VIDEO))),
        Step(("deploy", "jetson")),
    ]


@click.command("demo")
@click.option(
    "--data", metavar="URI", help="A data set, for example camvid:PATH, instead of synthetic streets."
)
@click.option("--out", type=click.Path(path_type=Path), default="demo", show_default=True, help="Folder.")
def command(data: str | None, out: Path) -> None:
    """Export, check, profile, run and deploy the shipped checkpoint; takes a few minutes."""
    if data:
        data = _absolute(data)
    _make_folder(out)
    spent = []
    click.secho(f"\n$ cd {out}", bold=True)
    for step in steps(data):
        line = shlex.join(["bisenet-edge", *step.words])
        click.secho(f"\n$ {line}", bold=True)
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "bisenet_edge", *step.words], cwd=out, check=False)
        if done.returncode not in step.fine:
            raise BisenetEdgeError(
                "a step of the demo failed",
                got=f"{line}: exit code {done.returncode}",
                fix=f"cd {out} && {line}",
            )
        spent.append([line, time.monotonic() - start])
    _summary(out, spent)
    next_command("bisenet-edge train --model bisenet-xception39 --data folder:PATH")


def _absolute(uri: str) -> str:
    # The commands run in the demo's own folder.
    scheme, colon, path = uri.partition(":")
    return f"{scheme}:{Path(path).expanduser().resolve()}" if colon and scheme != "synthetic" else uri


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BisenetEdgeError("cannot make the demo's folder", got=f"{out}: {error.strerror}") from error


def _summary(out: Path, spent: list[list[Any]]) -> None:
    from bisenet_edge.artifact import newest_artifact
    from bisenet_edge.cli.options import ARTIFACTS
    from bisenet_edge.runtime.report.sections import read_report

    artifact: Artifact = newest_artifact(out / ARTIFACTS)
    report = read_report(artifact.path)
    accuracy, profile, run = report["accuracy"], report["profile"], report["run"]
    bundle = max((out / "bundles").glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
    ratio = profile["ratios"][0]
    by_precision = {case["precision"]: case["frame_to_mask"] for case in profile["cases"]}
    click.secho("\nWhat was measured", bold=True)
    rows = [
        ["mIoU FP32", points(accuracy["fp32"]["miou"]), accuracy["data"]],
        ["mIoU INT8", points(accuracy["int8"]["miou"]), f"drop {accuracy['drop_points']:+.2f} points"],
        ["frame -> mask FP32, p50 ms", by_precision["fp32"]["p50_ms"], SIZE],
        [
            "frame -> mask INT8, p50 ms",
            by_precision["int8"]["p50_ms"],
            f"{ratio['speedup']:.2f} times as fast as FP32",
        ],
        [
            "clip to overlay video, FPS",
            run["fps"],
            f"{run['frames']} frames, drawn while segmented",
        ],
    ]
    click.echo(table(["figure", "value", ""], rows))
    if not profile["conclusive"]:
        click.echo("The latency figures are inconclusive: " + "; ".join(profile["reasons"]))
    click.secho("\nWhat was made", bold=True)
    made = [(artifact.path, "artifact"), (out / VIDEO, "overlay video"), (bundle, "bundle for a Jetson")]
    click.echo(table(["file", "what"], [[path, what] for path, what in made]))
    click.echo(f"\ntook {sum(seconds for _, seconds in spent):.0f} s")
    click.secho(f"report: {(artifact.path / 'report.html').resolve()}", bold=True)
