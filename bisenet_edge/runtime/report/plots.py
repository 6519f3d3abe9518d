"""The plots of a report, as inline SVG.

Colours are those of the page: matplotlib draws with stand-ins, which are replaced by CSS variables, so
that one drawing serves the light and the dark scheme. Text stays text: it takes the page's font, can be
searched, and is legible where the drawing is scaled.
"""

from __future__ import annotations

import html
import io
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

Plain = Mapping[str, Any]

# Stand-in -> CSS variable. matplotlib writes colours in lower-case hexadecimal.
INK, MUTED, GRID, FP32, INT8, OTHER = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
DECODE, RESIZE, INFER, SINK = "#010107", "#010108", "#010109", "#01010a"
PTQ, CORRECTION, FALLBACK, QAT = "#01010b", "#01010c", "#01010d", "#01010e"
CARD, BAD = "#01010f", "#010110"
CSS = {
    INK: "--ink", MUTED: "--muted", GRID: "--line", FP32: "--fp32", INT8: "--int8", OTHER: "--other",
    DECODE: "--decode", RESIZE: "--resize", INFER: "--infer", SINK: "--sink",
    PTQ: "--ptq", CORRECTION: "--correction", FALLBACK: "--fallback", QAT: "--qat",
    CARD: "--card", BAD: "--bad",
}  # fmt: skip
PRECISION = {"fp32": FP32, "int8": INT8}
STAGE = {"decode": DECODE, "resize": RESIZE, "infer": INFER, "sink": SINK}

WIDTH_IN = 5.6  # 403 points: legible on a telephone, where the drawing fills the width
TIMELINE_RANGE = (0.7, 1.5)  # times the median; stray frames outside are drawn on the edge, a drift widens it
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    # Comes with matplotlib, and is wider than what browsers use: labels measured with it are never cut.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "text.parse_math": False,  # a name with dollar signs is a name
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.09,
}


def class_iou(accuracy: Plain) -> str:
    """IoU per class, FP32 and INT8 side by side; an absent class is said to be absent."""
    names = accuracy["classes"]
    rows = np.arange(len(names))
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 0.9 + 0.36 * len(names)))
        axes = figure.subplots()
        for precision, offset in (("fp32", -0.19), ("int8", 0.19)):
            iou = accuracy[precision]["iou"]
            widths = [0 if v is None else 100 * v for v in iou]
            axes.barh(
                rows + offset, widths, 0.34, color=PRECISION[precision], label=precision.upper(), linewidth=0
            )
        for row, (fp32, int8) in enumerate(zip(accuracy["fp32"]["iou"], accuracy["int8"]["iou"])):
            if fp32 is None and int8 is None:
                axes.text(1, row, "absent", va="center", color=MUTED, style="italic")
        axes.set_yticks(rows, names)
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_xlim(0, 100)
        axes.set_xlabel("IoU, %")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper right", ncols=2)
        return svg(figure, "iou", "IoU per class, FP32 and INT8")


def histograms(cases: Sequence[Plain]) -> str:
    """Frame -> mask times: one histogram per case, each on its own scale, with p50 and p99."""
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 0.3 + 1.35 * len(cases)))
        for axes, case in zip(figure.subplots(len(cases), squeeze=False)[:, 0], cases):
            times_ms, summary = frame_to_mask_ms(case), case["frame_to_mask"]
            # One stray frame must not squeeze the others into one bar: it is drawn in the last one.
            top = min(times_ms.max(), 2.5 * summary["p50_ms"])
            axes.hist(
                np.minimum(times_ms, top), bins=60, color=PRECISION.get(case["precision"], OTHER), linewidth=0
            )
            for name in ("p50_ms", "p99_ms"):
                if summary[name] is not None:
                    axes.axvline(min(summary[name], top), color=INK, linewidth=1, dashes=(3, 2))
            p99 = "" if summary["p99_ms"] is None else f", p99 {summary['p99_ms']:.3g}"
            axes.set_title(f"{case['name']}: p50 {summary['p50_ms']:.3g}{p99} ms")
            axes.set_yticks([])
            axes.grid(visible=False)
            axes.spines["left"].set_visible(False)
        axes.set_xlabel("frame to mask, ms")
        return svg(figure, "histogram", "Histograms of the frame to mask times")


def stage_bars(cases: Sequence[Plain]) -> str:
    """Median time of each stage, stacked: one bar per case, one panel and scale per size."""
    sizes = _sizes(cases)
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 0.5 + sum(0.75 + 0.36 * _count(cases, size) for size in sizes)))
        heights = [1.5 + _count(cases, size) for size in sizes]
        panels = figure.subplots(len(sizes), squeeze=False, height_ratios=heights)[:, 0]
        for axes, size in zip(panels, sizes):
            _stacked(axes, [case for case in cases if case["size"] == size])
            axes.set_title(size)
        panels[-1].set_xlabel("median, ms")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper right", ncols=4, columnspacing=1.2, handlelength=1.2
        )
        return svg(figure, "stages", "Median time of each stage, stacked")


def _stacked(axes: Any, cases: Sequence[Plain]) -> None:
    rows, left_ms = np.arange(len(cases)), np.zeros(len(cases))
    for stage, colour in STAGE.items():
        widths_ms = np.array([case["stages"][stage]["p50_ms"] for case in cases])
        axes.barh(rows, widths_ms, 0.62, left=left_ms, color=colour, label=stage, linewidth=0)
        left_ms += widths_ms
    for row, total_ms in zip(rows, left_ms):
        axes.annotate(f"{total_ms:.3g} ms", (total_ms, row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, [_short_name(case) for case in cases])
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.set_xlim(0, 1.22 * left_ms.max())
    axes.grid(visible=False, axis="y")


def timeline(cases: Sequence[Plain]) -> str:
    """Frame -> mask times in the order they were taken, relative to each case's median: shows drift."""
    sizes = _sizes(cases)
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 0.9 + 1.7 * len(sizes)))
        for axes, size in zip(figure.subplots(len(sizes), sharex=True, squeeze=False)[:, 0], sizes):
            shown = [case for case in cases if case["size"] == size]
            medians = np.concatenate([_tenths(_relative(case)) for case in shown])
            limits = min(TIMELINE_RANGE[0], 0.9 * medians.min()), max(TIMELINE_RANGE[1], 1.1 * medians.max())
            for case in shown:
                _relative_times(axes, case, limits)
            axes.axhline(1, color=MUTED, linewidth=0.8)
            axes.set_title(size)
            axes.set_ylim(*limits)
        axes.set_xlabel("seconds since the first sample")
        # One entry per precision, whichever panel it is in.
        entries = [panel.get_legend_handles_labels() for panel in figure.axes]
        by_label = {label: handle for handles, labels in entries for handle, label in zip(handles, labels)}
        figure.legend(by_label.values(), by_label.keys(), loc="outside upper right", ncols=3)
        return svg(figure, "timeline", "Frame to mask times over the run, relative to the median")


def _relative_times(axes: Any, case: Plain, limits: Tuple[float, float]) -> None:
    relative, start_s = _relative(case), np.asarray(case["samples"]["start_s"])
    colour = PRECISION.get(case["precision"], OTHER)
    axes.plot(start_s, np.clip(relative, *limits), ".", color=colour, markersize=3, alpha=0.45, clip_on=False)
    axes.plot(
        _tenths(start_s), _tenths(relative), color=colour, linewidth=1.8, label=case["precision"].upper()
    )


def _relative(case: Plain) -> np.ndarray:
    times_ms = frame_to_mask_ms(case)
    return np.asarray(times_ms / np.median(times_ms))


def _tenths(values: np.ndarray) -> np.ndarray:
    """Median of each tenth of the values, in order."""
    tenth = max(1, len(values) // 10)
    return np.array([np.median(values[i : i + tenth]) for i in range(0, len(values) - tenth + 1, tenth)])


def sensors(power: Plain) -> str:
    """Power, temperature and clocks over the run: one panel for each that was read; "" when none was."""
    samples = power["samples"]
    panels = [
        ("power, W", [(power["power_of"], floats(samples["power_mw"]) / 1e3, INT8)]),
        ("temperature, °C", [("", floats(samples["temperature_c"]), BAD)]),
        (
            "clock, MHz",
            [("GPU", floats(samples["gpu_mhz"]), INT8), ("CPU", floats(samples["cpu_mhz"]), OTHER)],
        ),
    ]
    known = []
    for title, lines in panels:
        told = [line for line in lines if not np.isnan(line[1]).all()]  # all() of nothing is true
        known += [(title, told)] if told else []
    if not known:
        return ""
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 0.5 + 1.25 * len(known)))
        for axes, (title, lines) in zip(figure.subplots(len(known), sharex=True, squeeze=False)[:, 0], known):
            for name, values, colour in lines:
                axes.plot(samples["at_s"], values, color=colour, linewidth=1.5, label=name or None)
            axes.set_title(title + (f" ({lines[0][0]})" if len(lines) == 1 and lines[0][0] else ""))
            axes.margins(y=0.25)
            if len(lines) > 1:
                axes.legend(loc="lower right", bbox_to_anchor=(1, 0.95), ncols=2)  # beside the title
        axes.set_xlabel("seconds since the first sample")
        return svg(figure, "sensors", "Power, temperature and clocks over the run")


def frame_to_mask_ms(case: Plain) -> np.ndarray:
    """Resize and infer of each sample, float64 [S], in milliseconds."""
    samples = case["samples"]
    return np.asarray(samples["resize_ms"], np.float64) + np.asarray(samples["infer_ms"], np.float64)


def _sizes(cases: Sequence[Plain]) -> List[str]:
    return list(dict.fromkeys(case["size"] for case in cases))


def _short_name(case: Plain) -> str:
    """Name of a case where the size is said already."""
    return str(case["name"]).replace(case["size"], "").strip() or str(case["name"])


def _count(cases: Sequence[Plain], size: str) -> int:
    return sum(case["size"] == size for case in cases)


def svg(figure: Figure, name: str, description: str) -> str:
    """The drawing as an SVG element that can stand in a page beside others."""
    buffer = io.StringIO()
    # The salt keeps the ids of two drawings in one page apart, and equal from run to run.
    with matplotlib.rc_context({"svg.hashsalt": name}):
        no_metadata: Dict[str, None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]  # an XML prolog and a DTD address have no place in HTML
    for stand_in, variable in CSS.items():
        text = text.replace(stand_in, f"var({variable})")
    # Hundredths of a point cannot be seen, and the digits after them are most of a drawing's size.
    text = re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path.group()), text)
    # Ids of groups ("line2d_3") repeat from drawing to drawing and nothing refers to them.
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"| xmlns(:xlink)?="[^"]*"', "", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1)


def floats(values: Sequence[Optional[float]]) -> np.ndarray:
    """float64 of the same length; nan for null."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
