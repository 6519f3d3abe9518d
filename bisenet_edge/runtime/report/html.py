"""The page of a report: one HTML file that asks nothing of the network.

Needs jinja2 and matplotlib; `runtime.report.sections` imports it when both are there.
"""

from __future__ import annotations

import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import jinja2
from markupsafe import Markup, escape

import bisenet_edge
from bisenet_edge.errors import ArtifactError
from bisenet_edge.runtime.profile.text import power_lines
from bisenet_edge.runtime.report import masks as report_masks
from bisenet_edge.runtime.report import plots as report_plots
from bisenet_edge.runtime.report import plots_calibration as report_plots_calibration
from bisenet_edge.runtime.report import plots_int8 as report_plots_int8

TEMPLATE = "report.html.j2"
NONE = "-"
SHOWN_SATURATED = 8
SHOWN = (
    "export", "accuracy", "evaluation", "payoff", "tensorrt", "profile", "search", "qat", "calibration",
    "lint", "run",
)  # fmt: skip

PLOTS = (
    "iou",
    "histograms",
    "stages",
    "timeline",
    "sensors",
    "search",
    "sensitivity",
    "qat",
    "ranges",
    "range_histograms",
)


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page; `state` is "good", "bad" or "" (no verdict)."""

    label: str
    value: str
    note: str
    state: str = ""


def render(folder: Path, sections: Mapping[str, Any]) -> str:
    """The page for a report's sections, whose shapes `runtime.report.sections` gives.

    Args:
        folder: the report's folder: its name is the title, pictures are relative to it.
        sections: section -> data, in plain JSON types.

    Raises:
        ArtifactError: a section lacks something that the page shows.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        loader=jinja2.FunctionLoader(_template),
    )
    environment.filters.update(FILTERS)
    environment.filters["embed"] = lambda file: report_masks.data_uri(folder / file)
    try:
        return environment.get_template(TEMPLATE).render(
            title=folder.resolve().name,
            version=bisenet_edge.__version__,
            tiles=_tiles(sections),
            plots=_plots(sections),
            images=[_picture(folder, picture) for picture in sections.get("pictures") or []],
            machine=_machine(sections),
            **{name: sections.get(name) for name in SHOWN},
        )
    except (KeyError, TypeError, ValueError, AttributeError, jinja2.UndefinedError) as error:
        raise ArtifactError(
            "a section of a report is not of the shape that the page shows",
            got=f"{type(error).__name__}: {error}",
            expected="the shapes that bisenet_edge.runtime.report.sections describes",
            fix="was it written by another version? remove report.json and run the commands again",
        ) from error


def _template(name: str) -> str:
    # From the package's loader: the files may lie inside a zip.
    return (pkgutil.get_data(__package__, f"templates/{name}") or b"").decode("utf-8")


def _machine(sections: Mapping[str, Any]) -> Any:
    """The machine of the report, or the one that a measurement in it names."""
    named = (sections, sections.get("profile") or {}, sections.get("payoff") or {})
    return next((section["machine"] for section in named if section.get("machine")), None)


def _plots(sections: Mapping[str, Any]) -> Dict[str, Markup]:
    """Name -> SVG, "" where there is nothing to draw. matplotlib escapes the text inside, so it goes into
    the page as it is.
    """
    drawn = dict.fromkeys(PLOTS, "")
    if sections.get("accuracy"):
        drawn["iou"] = report_plots.class_iou(sections["accuracy"])
    cases = (sections.get("profile") or {}).get("cases")
    if cases:
        drawn["histograms"] = report_plots.histograms(cases)
        drawn["stages"] = report_plots.stage_bars(cases)
        drawn["timeline"] = report_plots.timeline(cases)
    power = (sections.get("profile") or {}).get("power")
    if power:
        drawn["sensors"] = report_plots.sensors(power)
    search, qat, calibration = (sections.get(s) or {} for s in ("search", "qat", "calibration"))
    if search.get("steps"):
        drawn["search"] = report_plots_int8.search(search)
    if search.get("sensitivity"):
        drawn["sensitivity"] = report_plots_int8.sensitivity(search)
    if qat.get("epochs"):
        drawn["qat"] = report_plots_int8.fine_tuning(qat)
    if calibration.get("ranges"):
        drawn["ranges"] = report_plots_calibration.ranges(calibration)
        if any(entry.get("histogram") for entry in calibration["ranges"]):
            drawn["range_histograms"] = report_plots_calibration.range_histograms(calibration)
    return {name: Markup(svg) for name, svg in drawn.items()}


def _tiles(sections: Mapping[str, Any]) -> List[Tile]:
    """The figures that a reader looks for first."""
    tiles: List[Tile] = []
    accuracy, profile, export = (sections.get(s) for s in ("accuracy", "profile", "export"))
    if accuracy:
        tiles.append(
            Tile("mIoU, INT8", percent(accuracy["int8"]["miou"]), f"FP32 {percent(accuracy['fp32']['miou'])}")
        )
        tiles.append(_drop(accuracy))
    evaluation = sections.get("evaluation")
    if evaluation:
        note = f"{evaluation['precision'].upper()}, {evaluation['method']['text']}"
        tiles.append(Tile("mIoU, evaluated", percent(evaluation["miou"]), note))
    payoff = sections.get("payoff")
    if payoff:
        tiles.append(_payoff(payoff))
    if sections.get("tensorrt"):
        tiles.append(_tensorrt(sections["tensorrt"]))
    if profile and profile["cases"]:
        shown = _chosen(profile["cases"], sections)
        p50_ms = shown["frame_to_mask"]["p50_ms"]
        note = f"{shown['name']}, p50" + ("" if profile["conclusive"] else "; inconclusive")
        tiles.append(
            Tile("frame to mask", f"{number(p50_ms)} ms", note, "" if profile["conclusive"] else "bad")
        )
        for ratio in profile["ratios"][:1]:
            low, high = (1 / bound for bound in reversed(ratio["ci95"]))
            against = ratio.get("against", "fp32").upper()
            note = f"as {against} at {ratio['size']}; 95 %: {number(low)} to {number(high)}"
            state = "good" if low > 1 else "bad"
            state = state if profile["conclusive"] else ""
            tiles.append(Tile("INT8, times as fast", number(ratio["speedup"]), note, state))
    if export and export.get("convolutions"):
        found = export["convolutions"]
        tiles.append(Tile("convolutions in INT8", f"{found['int8']} of {found['all']}", found["engine"]))
    return tiles


def _chosen(cases: Sequence[Mapping[str, Any]], sections: Mapping[str, Any]) -> Mapping[str, Any]:
    """The case of the precision that runs by default; the first one (INT8) where none was chosen."""
    decided = sections.get("tensorrt") or sections.get("payoff") or {}
    return next((case for case in cases if case["precision"] == decided.get("chosen")), cases[0])


def _drop(accuracy: Mapping[str, Any]) -> Tile:
    limits = [
        f"at most {limit:g}{of}"
        for limit, of in ((accuracy["max_drop"], ""), (accuracy.get("max_class_drop"), " in a class"))
        if limit is not None
    ]
    state = "" if not limits else ("good" if accuracy["passed"] else "bad")
    note = f"gate: {', '.join(limits)}" if limits else "no gate"
    return Tile("drop", f"{points(accuracy['drop_points'])} points", note, state)


def _payoff(payoff: Mapping[str, Any]) -> Tile:
    note = f"INT8 takes {percent(payoff['int8_over_float'])} of the time of {payoff['float'].upper()}"
    if not payoff["conclusive"]:
        return Tile("precision chosen", payoff["chosen"].upper(), f"inconclusive; {note}", "bad")
    return Tile("precision chosen", payoff["chosen"].upper(), note)


def _tensorrt(tensorrt: Mapping[str, Any]) -> Tile:
    device = tensorrt["device"]
    note = f"{device['gpu']}, TensorRT {device['tensorrt']}"
    if not tensorrt["passed"]:
        return Tile(
            "engine on the device", tensorrt["chosen"].upper() or "none", f"a self-test failed; {note}", "bad"
        )
    return Tile("engine on the device", tensorrt["chosen"].upper(), note, "good")


def _picture(folder: Path, picture: Mapping[str, Any]) -> Dict[str, str]:
    """Caption and data URI; without the URI where the file has gone since, which the page says."""
    path = folder / picture["file"]  # an absolute path replaces the folder
    uri = report_masks.data_uri(path)
    return {"caption": picture["caption"], "uri": uri, "file": path.name if uri else str(picture["file"])}


def number(value: Optional[float]) -> str:
    """Three significant digits, never in exponent form: 4.67, 21.3, 0.052, 1234."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    digits = 2 if 1 <= abs(value) < 10 else 1 if 10 <= abs(value) < 100 else 0 if abs(value) >= 100 else 3
    return f"{value:.{digits}f}"


def percent(fraction: Optional[float]) -> str:
    """A fraction in percent, two decimals."""
    return NONE if fraction is None else f"{100 * fraction:.2f} %"


def points(value: Optional[float]) -> str:
    """A drop in points, with its sign."""
    # -0.001 must not become "-0.00".
    return NONE if value is None else f"{round(value, 2) + 0.0:+.2f}"


def megabytes(size_bytes: int) -> str:
    """A file size in MB (10^6 bytes)."""
    return f"{size_bytes / 1e6:.2f} MB"


def share(fraction: Optional[float]) -> str:
    """A fraction in percent, of which small ones matter too: 2.94 %, 0.0031 %."""
    if fraction is None or not 0 < fraction < 1e-4:
        return percent(fraction)
    return "< 0.0001 %" if fraction < 1e-6 else f"{100 * fraction:.4f} %"


def magnitude(value: Optional[float]) -> str:
    """Four significant digits: 1.984, 12.31, 0.0004."""
    return NONE if value is None else f"{value:.4g}"


def sentence(text: str) -> str:
    """Text that others wrote, with a full stop."""
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def breakable(name: str) -> Markup:
    """A long name of a tensor or node, which may be broken where its parts meet."""
    return Markup(re.sub("([_/])", r"\1<wbr>", str(escape(name))))


def gate(section: Mapping[str, Any]) -> str:
    """The gate of an accuracy or search section in words; "" when there is none."""
    limits = ((section["max_drop"], "of mIoU"), (section.get("max_class_drop"), "in any class"))
    return " and ".join(
        f"at most {limit:g} point{'' if limit == 1 else 's'} {of}"
        for limit, of in limits
        if limit is not None
    )


def saturated(ranges: Sequence[Mapping[str, Any]]) -> List[Mapping[str, Any]]:
    """The tensors of a calibration with most values beyond their range, the worst first."""
    found = [entry for entry in ranges if entry.get("saturated")]
    return sorted(found, key=lambda entry: -float(entry["saturated"]))[:SHOWN_SATURATED]


FILTERS: Mapping[str, Callable[..., Any]] = {
    **report_masks.FILTERS,
    "number": number,
    "percent": percent,
    "points": points,
    "megabytes": megabytes,
    "share": share,
    "magnitude": magnitude,
    "sentence": sentence,
    "power_lines": lambda profile: power_lines(profile["power"], profile["cases"]),
    "breakable": breakable,
    "gate": gate,
    "saturated": saturated,
    "by_drop": report_plots_int8.by_drop,
}
