"""The plots of a calibration: the range of each quantizer, and what its tensor's values look like."""

from __future__ import annotations

from typing import Any, List, Tuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, NullFormatter

from bisenet_edge.runtime.report.plots import (
    GRID,
    INK,
    INT8,
    MUTED,
    OTHER,
    STYLE,
    WIDTH_IN,
    Plain,
    floats,
    svg,
)

COLUMNS = 5
PANEL_WIDTH, PANEL_HEIGHT = 0.93, 0.56  # of a cell
PANEL_NAME = 46  # characters that fit above a panel
PREFIX = "quantize_"


def ranges(calibration: Plain) -> str:
    """Range of each quantizer in graph order, and the largest magnitude seen, where that was noted."""
    entries = calibration["ranges"]
    amax = floats([entry["amax"] for entry in entries])
    largest = floats([entry.get("largest") for entry in entries])
    places = np.arange(len(entries))
    with matplotlib.rc_context(STYLE):
        figure = Figure((2 * WIDTH_IN, 2.9))
        axes = figure.subplots()
        # nan is not drawn, and a logarithmic scale has no place for 0.
        axes.bar(places, _positive(amax), 0.7, color=INT8, linewidth=0, label="amax")
        if np.isfinite(largest).any():
            axes.vlines(places, _positive(amax), _positive(largest), color=OTHER, linewidth=1.2)
            axes.plot(
                places, _positive(largest), "_", color=OTHER, markersize=6, markeredgewidth=1.8,
                label="largest magnitude seen: what lies above amax is saturated",
            )  # fmt: skip
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=2)
        axes.set_yscale("log")
        shown = _positive(np.concatenate([amax, largest]))
        if np.isfinite(shown).any():
            axes.set_ylim(0.5 * np.nanmin(shown), 2 * np.nanmax(shown))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(-0.7, len(entries) - 0.3)
        axes.set_xlabel("quantizer, in graph order")
        axes.set_ylabel("magnitude")
        axes.grid(visible=False, axis="x")
        return svg(figure, "ranges", "Range of each quantizer")


def range_histograms(calibration: Plain) -> str:
    """Magnitudes that each quantizer saw, as small multiples: log counts, and a line at amax.

    One axes for all, because eighty of them would take seconds and a megabyte.
    """
    entries = [entry for entry in calibration["ranges"] if entry.get("histogram")]
    rows = -(-len(entries) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure((2 * WIDTH_IN, 0.62 * rows))
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, COLUMNS - (1 - PANEL_WIDTH))
        axes.set_ylim(rows, 0)
        for index, entry in enumerate(entries):
            _panel(axes, entry, index % COLUMNS, index // COLUMNS)
        return svg(figure, "range-histograms", "Histogram of the magnitudes that each quantizer saw")


def _panel(axes: Any, entry: Plain, column: int, row: int) -> None:
    counts = np.nan_to_num(floats(entry["histogram"]["counts"]))
    edges = np.linspace(0, entry["histogram"]["limit"] or 1, len(counts) + 1)
    used = np.flatnonzero(counts > 0)
    amax = np.inf if entry["amax"] is None else entry["amax"]
    # Up to the last value or amax: a histogram's limit is doubled, so half of it may be empty.
    span = max(edges[used[-1] + 1] if len(used) else 0.0, amax if np.isfinite(amax) else 0.0) or 1.0
    base = row + 0.26 + PANEL_HEIGHT
    heights = base - PANEL_HEIGHT * np.log1p(counts) / max(np.log1p(counts.max()), 1e-9)
    x = column + PANEL_WIDTH * np.minimum(edges, span) / span
    beyond = np.append(edges[:-1] >= amax, True)
    split = int(np.argmax(beyond))
    for part, colour in ((slice(0, split), INT8), (slice(split, len(counts)), OTHER)):
        if counts[part].any():
            axes.add_patch(PathPatch(_steps(x, heights, part, base), facecolor=colour, linewidth=0))
    axes.plot([column, column + PANEL_WIDTH], [base, base], color=GRID, linewidth=0.8)
    if np.isfinite(amax):
        line = column + PANEL_WIDTH * amax / span
        axes.plot([line, line], [base, base - PANEL_HEIGHT], color=INK, linewidth=0.8, clip_on=False)
    axes.text(column, row + 0.2, _elided(str(entry["tensor"])), fontsize=6.5, color=INK)
    axes.text(
        column + PANEL_WIDTH, base + 0.03, f"{span:.3g}", fontsize=5.5, color=MUTED, ha="right", va="top"
    )


def _steps(x: np.ndarray, heights: np.ndarray, part: slice, base: float) -> Path:
    """Outline of some of a histogram's bins; bins of one height in a row share their corners."""
    corners: List[Tuple[float, float]] = [(x[part.start], base)]
    for index in range(part.start, part.stop):
        if corners[-1][1] == heights[index]:
            corners.pop()
        else:
            corners.append((x[index], heights[index]))
        corners.append((x[index + 1], heights[index]))
    return Path([*corners, (x[part.stop], base), corners[0]], closed=True)


def _elided(name: str) -> str:
    name = name[len(PREFIX) :] if name.startswith(PREFIX) else name
    return name if len(name) <= PANEL_NAME else "\N{HORIZONTAL ELLIPSIS}" + name[1 - PANEL_NAME :]


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)
