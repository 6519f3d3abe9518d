"""The plots of how INT8 was made: the search for a network that passes, fine-tuning."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bisenet_edge.runtime.report.plots import (
    BAD,
    CARD,
    CORRECTION,
    FALLBACK,
    FP32,
    INK,
    INT8,
    MUTED,
    PTQ,
    QAT,
    STYLE,
    WIDTH_IN,
    Plain,
    floats,
    svg,
)

# Stage of a step -> colour, marker, name; the page's table shows the same ones.
STAGES = {
    "ptq": (PTQ, "o", "PTQ"),
    "correction": (CORRECTION, "s", "correction"),
    "fallback": (FALLBACK, "^", "fallback"),
    "qat": (QAT, "D", "QAT"),
}
# A step that lost more, in gates and in points of mIoU, stands at the bottom.
SHOWN_GATES, SHOWN_POINTS = 4, 2
MARK, NEAR = 7, 8  # points: size of a step's mark; from its middle to its number

Box = Tuple[float, float, float, float]


def search(section: Plain) -> str:
    """Plot mIoU against latency of FP32 and of every step, numbered as in the page's table, with the gate."""
    fp32, steps = section["fp32"], section["steps"]
    shown = max(SHOWN_POINTS, SHOWN_GATES * (section["max_drop"] or 0))
    floor = -np.inf if fp32["miou"] is None else 100 * fp32["miou"] - shown
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 4.4))
        axes = figure.subplots()
        if None not in (fp32["miou"], fp32["infer_ms"]):
            axes.plot(fp32["infer_ms"], 100 * fp32["miou"], "P", color=FP32, markersize=10, label="FP32")
        if None not in (fp32["miou"], section["max_drop"]):
            gate = 100 * fp32["miou"] - section["max_drop"]
            axes.axhline(gate, color=BAD, linewidth=1, dashes=(4, 2), label="gate")
        numbered = []
        for number, step in enumerate(steps, 1):
            colour, marker, stage = STAGES[step["stage"]]
            if None in (step["miou"], step["infer_ms"]):
                continue
            place = (step["infer_ms"], max(100 * step["miou"], floor))
            axes.plot(
                *place, marker, color=colour, markersize=MARK, markeredgecolor=CARD, markeredgewidth=0.8,
                linestyle="", label=stage,
            )  # fmt: skip
            numbered.append((str(number), place))
            if step["name"] == section["chosen"]:
                axes.plot(
                    *place, "o", markersize=12.5, markerfacecolor="none", markeredgecolor=INK, label="chosen"
                )
        if any(step["miou"] is not None and 100 * step["miou"] < floor for step in steps):
            note = f"A step more than {shown:g} points below FP32 stands at the bottom."
            axes.set_title(note, fontsize=9, fontweight="normal", color=MUTED)
        axes.margins(0.12, 0.14)
        axes.set_xlabel("one inference, ms")
        axes.set_ylabel("mIoU, %")
        _legend(figure, axes)
        _number(figure, axes, numbered)
        return svg(figure, "search", "mIoU against latency of FP32 and of every step of the search")


def _legend(figure: Figure, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles))  # one for each stage
    if entries:
        figure.legend(
            entries.values(), entries.keys(), loc="outside upper right", ncols=4, columnspacing=1.2,
            handlelength=1.6, numpoints=1,
        )  # fmt: skip


def _number(figure: Figure, axes: Any, numbered: Sequence[Tuple[str, Tuple[float, float]]]) -> None:
    """Write the steps' numbers beside their marks, where nothing else is; one text for marks that overlap."""
    if not numbered:
        return
    # Texts are measured in points, and the layout decides how many of them a millisecond is.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    to_points = 72 / figure.dpi
    within = to_points * np.asarray(axes.bbox.extents)
    places = to_points * axes.transData.transform([place for _, place in numbered])
    taken: List[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    for group in _overlapping(places):
        text = ", ".join(numbered[index][0] for index in group)
        centre, half = places[group].mean(0), np.array([2.9 * len(text.replace(" ", "")), 5])
        offset, far = next(
            ((o, far) for o, far in _offsets(half) if _free(centre + o, half, taken, within)),
            (np.array([0.0, 11.0]), False),
        )
        taken.append((*(centre + offset - half), *(centre + offset + half)))
        line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0.5, "shrinkB": 3}
        axes.annotate(
            text, np.mean([numbered[index][1] for index in group], axis=0), offset,
            textcoords="offset points", ha="center", va="center", fontsize=9, color=INK,
            arrowprops=line if far else None,
        )  # fmt: skip


def _overlapping(places: np.ndarray) -> List[List[int]]:
    """Indices of places [S, 2] in groups, each linked by distances below the size of a mark."""
    groups: List[List[int]] = []
    for index, place in enumerate(places):
        near = [group for group in groups if np.hypot(*(places[group] - place).T).min() < MARK]
        groups = [group for group in groups if group not in near]
        groups.append(sorted([index, *(member for group in near for member in group)]))
    return groups


def _offsets(half: np.ndarray) -> List[Tuple[np.ndarray, bool]]:
    """Where a text may stand around its mark, in points, the best first, and whether that is far off."""
    sides = (
        (1, 0),
        (1, 0.8),
        (-1, 0),
        (0, 1),
        (0, -1),
        (1, -0.8),
        (-1, 0.8),
        (-1, -0.8),
        (1, 1.6),
        (1, -1.6),
    )
    return [(side * (half + gap), gap > NEAR) for gap in (NEAR, 15, 24, 36, 50) for side in np.array(sides)]


def _free(centre: np.ndarray, half: np.ndarray, taken: Sequence[Box], within: np.ndarray) -> bool:
    """Whether a text lies inside the axes and on nothing else."""
    (left, low), (right, high) = centre - half, centre + half
    inside = within[0] <= left and within[1] <= low and right <= within[2] and high <= within[3]
    return inside and not any(
        left < box[2] and box[0] < right and low < box[3] and box[1] < high for box in taken
    )


def sensitivity(section: Plain) -> str:
    """What each block costs in INT8, the dearest first: alone, and what the others cost without it."""
    blocks = by_drop(section["sensitivity"])
    rows = np.arange(len(blocks))
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 0.9 + 0.36 * len(blocks)))
        axes = figure.subplots()
        for key, offset, colour, label in (
            ("only_drop_points", -0.19, INT8, "only this block in INT8"),
            ("without_drop_points", 0.19, FP32, "all but this block in INT8"),
        ):
            drops = np.nan_to_num(floats([block[key] for block in blocks]))
            axes.barh(rows + offset, drops, 0.34, color=colour, label=label, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(rows, [str(block["block"]) for block in blocks])
        axes.set_ylim(len(blocks) - 0.45, -0.55)
        axes.set_xlabel("drop in mIoU, points")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper right", ncols=2, columnspacing=1.2, handlelength=1.2)
        return svg(figure, "sensitivity", "Drop in mIoU by block")


def by_drop(blocks: Sequence[Plain]) -> List[Plain]:
    """Blocks of a sensitivity analysis, the one that costs most on its own first, unmeasured ones last."""
    return sorted(
        blocks,
        key=lambda block: -np.inf if block["only_drop_points"] is None else block["only_drop_points"],
        reverse=True,
    )


def fine_tuning(section: Plain) -> str:
    """Plot mIoU and loss of each epoch of quantization-aware training; FP32 and PTQ as lines."""
    epochs = [entry["epoch"] for entry in section["epochs"]]
    with matplotlib.rc_context(STYLE):
        figure = Figure((2 * WIDTH_IN, 2.9))
        left, right = figure.subplots(1, 2, sharex=True)
        for key, colour, label in (("fp32_miou", FP32, "FP32"), ("start_miou", PTQ, "PTQ, before training")):
            if section[key] is not None:
                left.axhline(100 * section[key], color=colour, linewidth=1.4, dashes=(4, 2), label=label)
        measured = [(e["epoch"], 100 * e["miou"]) for e in section["epochs"] if e["miou"] is not None]
        if measured:
            left.plot(*zip(*measured), "o-", color=QAT, markersize=4, linewidth=1.6, label="QAT")
            best = max(measured, key=lambda place: place[1])
            left.plot(
                *best, "o", markersize=10, markerfacecolor="none", markeredgecolor=INK, linestyle="",
                label="best epoch",
            )  # fmt: skip
        right.plot(epochs, floats([entry["loss"] for entry in section["epochs"]]), color=INK, linewidth=1.6)
        for axes, title in ((left, "mIoU, %"), (right, "loss")):
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(figure, left)
        return svg(figure, "qat", "mIoU and loss of each epoch")


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)
