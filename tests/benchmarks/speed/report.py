"""What a run found, as Markdown; and everything as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .contest import Result, Row
from .contestants import PEAKS
from .floors import Floor, copy_gb_per_s, gmac_per_s
from .targets import Target

JOB_TITLES = {
    "network": "network only, to logits at an eighth of the size",
    "mask": "camera frame -> mask",
    "flow": "frames in memory -> masks, several in flight",
    "video": "video file -> masks",
}


@dataclass
class Findings:
    """Everything of one run.

    Attributes:
        machine: `describe_machine`, and versions of the peers.
        results: contests.
        floors: of each contest, in the same order.
        work: network and size -> what it computes and moves.
        jetsons: network and size -> estimates on paper.
        scaling, streams: per network.
        startup: empty = not measured.
        targets: what was wanted.
        max_foreign: share of the cores that others were allowed.
        calm: whether that was a limit at all.
    """

    machine: dict[str, Any]
    max_foreign: float
    results: list[Result] = field(default_factory=list)
    floors: list[list[Floor]] = field(default_factory=list)
    work: dict[str, dict[str, float]] = field(default_factory=dict)
    jetsons: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    scaling: list[dict[str, Any]] = field(default_factory=list)
    streams: list[dict[str, Any]] = field(default_factory=list)
    startup: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)

    @property
    def calm(self) -> bool:
        return self.max_foreign <= 0.1

    @property
    def valid(self) -> bool:
        """Every contest had enough calm rounds."""
        return all(result.valid for result in self.results)

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "valid": self.valid and self.calm,
            "max_foreign_share": self.max_foreign,
            "contests": [
                {**result.to_json(), "floors": [floor.to_json() for floor in floors]}
                for result, floors in zip(self.results, self.floors)
            ],
            "work": self.work,
            "jetson_estimates": self.jetsons,
            "scaling": self.scaling,
            "streams": self.streams,
            "startup": self.startup,
            "targets": [target.to_json() for target in self.targets],
        }


def as_markdown(findings: Findings) -> str:
    """The whole report."""
    machine = findings.machine
    parts = [
        f"# Speed on {machine['cpu']}, {machine['cores']} cores",
        _note(findings),
        *(_contest(result, floors) for result, floors in zip(findings.results, findings.floors)),
        *(_jetsons(network, rows) for network, rows in findings.jetsons.items()),
        *(_scaling(one) for one in findings.scaling),
        *(_streams(one) for one in findings.streams),
        _startup(findings.startup),
        targets_table(findings.targets),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _note(findings: Findings) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in findings.machine["packages"].items())
    text = (
        "Milliseconds; median and interquartile range of all samples; bursts of all interleaved in "
        f"random order. x: times as fast as plain ONNX Runtime FP32, with a 95 % interval. {packages}."
    )
    if not findings.calm:
        text += (
            f"\n\n**NOT A MEASUREMENT: others were allowed up to {findings.max_foreign:.0%} of the cores; it "
            "shows that the benchmark runs.**"
        )
    elif not findings.valid:
        text += "\n\n**INVALID: too few rounds were undisturbed.**"
    return text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in the source too."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        return f"| {' | '.join(padded)} |"

    rule = (
        "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    )
    return "\n".join([line(head), rule, *map(line, rows)])


def _contest(result: Result, floors: Sequence[Floor]) -> str:
    taken = result.taken
    weights = "trained weights" if result.trained else "random weights"
    parts = [
        f"## {result.group} ({weights})",
        f"{taken.rounds} rounds kept, {taken.rounds_rejected} rejected; of {taken.bursts_taken} bursts "
        f"{taken.bursts_rejected} were disturbed.",
    ]
    for job, title in JOB_TITLES.items():
        rows = [row for row in result.rows if row.job == job]
        if rows:
            parts.append(f"**{title}**\n\n{_rows(sorted(rows, key=lambda row: row.summary.p50_ms), result)}")
    if any(row.name in PEAKS for row in result.rows):
        parts.append(_peaks(result))
    if floors:
        head = ("network only", "ms", "compute floor", "memory floor", "measured / compute floor")
        cells = [
            (
                floor.name,
                f"{floor.measured_ms:.2f}",
                f"{floor.compute_ms:.2f}",
                "-" if floor.memory_ms is None else f"{floor.memory_ms:.2f}",
                str(floor.over),
            )
            for floor in floors
        ]
        parts.append(table(head, cells))
    parts += [f"Did not take part: {reason}" for reason in result.refused.values()]
    return "\n\n".join(parts)


def _rows(rows: Sequence[Row], result: Result) -> str:
    head = ("contestant", "p50", "IQR", "FPS", "x", "pixels as torch FP32", "memory MB")
    return table(
        head,
        [
            (
                f"{row.title} (`{row.name}`)",
                f"{row.summary.p50_ms:.2f}",
                f"{row.summary.iqr_ms:.2f}",
                f"{1e3 / row.summary.p50_ms:.1f}",
                "-" if row.speedup is None else str(row.speedup),
                "-" if row.same is None else f"{row.same:.2%}",
                f"{result.rss_mb[row.name]:.0f}",
            )
            for row in rows
        ],
    )


def _peaks(result: Result) -> str:
    cells = []
    for row in result.rows:
        if row.name == "peak-copy":
            cells.append((row.title, f"{copy_gb_per_s(result):.1f} GB/s (read + written)"))
        elif row.name in PEAKS:
            cells.append((row.title, f"{gmac_per_s(result, row.name):.0f} GMAC/s"))
    return table(("peak rate of this machine, same run", "rate"), cells)


def _jetsons(network: str, rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""

    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    cells = [
        (
            f"{row['board']}, {row['mode']}",
            row["precision"].upper(),
            ms(row["compute_ms"]),
            ms(row["memory_ms"]),
            ms(row["at_least_ms"]),
        )
        for row in rows
    ]
    head = ("board", "precision", "operations", "bytes", "at least")
    return f"## {network} on Jetson boards: {rows[0]['label']}\n\n{table(head, cells)}"


def _scaling(one: dict[str, Any]) -> str:
    cells = [
        (
            row["size"],
            row["job"],
            f"{row['p50_ms']:.2f}",
            f"{row['iqr_ms']:.2f}",
            f"{row['p50_ms'] * 1e6 / row['pixels']:.2f}",
        )
        for row in one["sizes"]
    ]
    lines = [
        f"{job}: {line['fixed_ms']:.2f} ms + {line['ms_per_megapixel']:.2f} ms per megapixel "
        f"(no size is off by more than {line['worst']:.0%})"
        for job, line in one["lines"].items()
    ]
    head = ("size", "job", "p50", "IQR", "ms per megapixel")
    return "\n\n".join([f"## Cost against pixels: {one['model']}, INT8", table(head, cells), *lines])


def _streams(one: dict[str, Any]) -> str:
    cells = [
        (
            str(row["cameras"]),
            f"{row['fps']:.1f}",
            f"{row['least_fps']:.1f}",
            f"{row['age_p50_ms']:.1f}",
            f"{row['age_p99_ms']:.1f}",
            f"{row['peak_rss_mb']:.0f}",
        )
        for row in one["cameras"]
        if "fps" in row
    ]
    head = ("cameras of 30 FPS", "masks/s, all", "masks/s, slowest", "age p50", "age p99, worst", "memory MB")
    return f"## Cameras that share one engine: {one['model']} {one['size']}, INT8\n\n{table(head, cells)}"


def _startup(startup: dict[str, Any]) -> str:
    if not startup:
        return ""
    steps = [key for key in startup["starts"][0] if key.startswith("until ")] if startup["starts"] else []
    head = ("engine", *steps, "IQR", "peak memory MB")
    cells = [
        (
            row["name"],
            *(f"{row[step]:.0f}" for step in steps),
            f"{row['iqr_ms']:.0f}",
            f"{row['peak_rss_mb']:.0f}",
        )
        for row in startup["starts"]
    ]
    sizes = [(name, f"{count / 2**20:.2f}") for name, count in startup["bytes"].items()]
    return "\n\n".join(
        [
            "## Start-up: milliseconds from the start of the process, and what it weighs",
            table(head, cells),
            table(("file", "MiB"), sizes),
            f"Engine build time on a Jetson: {startup['engine_build']}",
        ]
    )


def targets_table(targets: Sequence[Target]) -> str:
    """Each target, what was measured, and whether it was reached."""
    if not targets:
        return ""
    cells = [
        (
            f"{target.model}: {target.text}",
            f"{'at most' if target.at_most else 'at least'} {target.wanted:g} {target.unit}",
            "-" if target.measured is None else str(target.measured),
            target.verdict,
        )
        for target in targets
    ]
    return f"## Targets\n\n{table(('target', 'wanted', 'measured (95 %)', 'verdict'), cells)}"
