"""Pictures of a run: who is how fast, cost against pixels, cameras on one engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .contest import Result

OURS, PEER = "#1b6ca8", "#7a7a7a"
MARKER = {"fp32": "o", "bf16": "s", "int8": "D"}


def plot_contest(result: Result, path: Path) -> None:
    """Network only beside frame -> mask, the fastest at the top, on a logarithmic axis."""
    jobs = [job for job in ("network", "mask") if any(row.job == job for row in result.rows)]
    count = max(sum(row.job == job for row in result.rows) for job in jobs)
    figure = Figure(figsize=(6.5 * len(jobs), 1.4 + 0.36 * count), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(jobs)))
    for axis, job in zip(axes, jobs):
        _points(axis, result, job)
    figure.suptitle(f"{result.group}: median milliseconds and quartiles; ours in blue")
    figure.savefig(path, dpi=110)


def _points(axis: Axes, result: Result, job: str) -> None:
    rows = sorted((r for r in result.rows if r.job == job), key=lambda row: -row.summary.p50_ms)
    for place, row in enumerate(rows):
        time_ms, half_ms = row.summary.p50_ms, row.summary.iqr_ms / 2
        axis.errorbar(
            time_ms,
            place,
            xerr=half_ms,
            fmt=MARKER[row.precision],
            color=OURS if row.name.startswith("ours") else PEER,
            markersize=8,
        )
        end = (time_ms + half_ms, place)
        axis.annotate(f"{time_ms:.1f}", end, (7, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.set_xscale("log")
    times_ms = [row.summary.p50_ms for row in rows]
    axis.set_xlim(min(times_ms) / 1.5, 2 * max(times_ms))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda time_ms, _: f"{time_ms:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_title("network only" if job == "network" else "camera frame -> mask", fontsize=10)
    axis.grid(alpha=0.3, which="both")
    for precision, marker in MARKER.items():
        axis.plot([], [], marker, color=PEER, label=precision.upper())
    axis.legend(fontsize=8, loc="upper right")


def plot_scaling(scaling: Sequence[dict[str, Any]], streams: Sequence[dict[str, Any]], path: Path) -> None:
    """Cost against pixels with the fitted lines; throughput and age against the number of cameras."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    cost, rate, age = figure.subplots(1, 3)
    for one in scaling:
        rows = [row for row in one["sizes"] if row["job"] == "mask"]
        pixels = np.array([row["pixels"] for row in rows]) / 1e6
        (points,) = cost.plot(pixels, [row["p50_ms"] for row in rows], "o", label=one["model"])
        line = one["lines"].get("mask")
        if line:
            ends = np.array([0, pixels.max()])
            cost.plot(
                ends, line["fixed_ms"] + line["ms_per_megapixel"] * ends, "-", color=points.get_color(), lw=1
            )
    for one in streams:
        rows = [row for row in one["cameras"] if "fps" in row]
        cameras = [row["cameras"] for row in rows]
        (points,) = rate.plot(cameras, [row["fps"] for row in rows], "o-", label=one["model"])
        age.plot(
            cameras,
            [row["age_p50_ms"] for row in rows],
            "o-",
            color=points.get_color(),
            label=f"{one['model']}, p50",
        )
        age.plot(
            cameras,
            [row["age_p99_ms"] for row in rows],
            "o--",
            color=points.get_color(),
            label="p99, worst camera",
        )
    if streams:
        rate.plot([1, 4], [30, 120], ":", color="#888888", label="all frames of 30 FPS cameras")
    titles = (
        (cost, "frame -> mask, INT8", "megapixels", "ms"),
        (rate, "cameras on one engine", "cameras", "masks per second, all"),
        (age, "age of a mask", "cameras", "ms"),
    )
    for axis, title, across, up in titles:
        axis.set(title=title, xlabel=across, ylabel=up)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        if axis.has_data():
            axis.legend(fontsize=8)
    for axis in (rate, age):
        axis.set_xticks(range(1, 5))
    figure.savefig(path, dpi=110)
