"""The page of a report: one HTML file that asks nothing of the network.

Needs jinja2 and matplotlib; `runtime.report` imports it when both are there.
"""

from __future__ import annotations

import base64
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

import jinja2
from markupsafe import Markup

import bisenet_edge
from bisenet_edge.errors import ArtifactError
from bisenet_edge.runtime import report_plots

TEMPLATE = "templates/report.html.j2"
NONE = "-"


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page; `state` is "good", "bad" or "" (no verdict)."""

    label: str
    value: str
    note: str
    state: str = ""


def render(folder: Path, sections: Mapping[str, Any]) -> str:
    """The page for a report's sections, whose shapes `runtime.report` gives.

    Args:
        folder: the report's folder: its name is the title, pictures are relative to it.
        sections: section -> data, in plain JSON types.

    Raises:
        ArtifactError: a section lacks something that the page shows.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(FILTERS)
    # From the package's loader: the files may lie inside a zip.
    source = pkgutil.get_data(__package__, TEMPLATE) or b""
    try:
        return environment.from_string(source.decode("utf-8")).render(
            title=folder.resolve().name,
            version=bisenet_edge.__version__,
            tiles=_tiles(sections),
            plots=_plots(sections),
            images=[_picture(folder, picture) for picture in sections.get("pictures") or []],
            **{name: sections.get(name) for name in ("export", "accuracy", "profile", "calibration", "run")},
            machine=sections.get("machine") or (sections.get("profile") or {}).get("machine"),
        )
    except (KeyError, TypeError, jinja2.UndefinedError) as error:
        raise ArtifactError(
            "a section of a report is not of the shape that the page shows",
            got=f"{type(error).__name__}: {error}",
            expected="the shapes that bisenet_edge.runtime.report describes",
            fix="was it written by another version? remove report.json and run the commands again",
        ) from error


def _plots(sections: Mapping[str, Any]) -> Dict[str, Markup]:
    """Name -> SVG. matplotlib escapes the text inside, so it goes into the page as it is."""
    drawn: Dict[str, str] = {}
    if sections.get("accuracy"):
        drawn["iou"] = report_plots.class_iou(sections["accuracy"])
    cases = (sections.get("profile") or {}).get("cases")
    if cases:
        drawn["histograms"] = report_plots.histograms(cases)
        drawn["stages"] = report_plots.stage_bars(cases)
        drawn["timeline"] = report_plots.timeline(cases)
    if (sections.get("calibration") or {}).get("ranges"):
        drawn["ranges"] = report_plots.ranges(sections["calibration"])
    return {name: Markup(svg) for name, svg in drawn.items()}


def _tiles(sections: Mapping[str, Any]) -> List[Tile]:
    """The figures that a reader looks for first."""
    tiles: List[Tile] = []
    accuracy, profile, export = (sections.get(s) for s in ("accuracy", "profile", "export"))
    if accuracy:
        limit = accuracy["max_drop"]
        gate = "no gate" if limit is None else f"gate: at most {limit:g}"
        state = "" if limit is None else ("good" if accuracy["passed"] else "bad")
        tiles.append(
            Tile("mIoU, INT8", percent(accuracy["int8"]["miou"]), f"FP32 {percent(accuracy['fp32']['miou'])}")
        )
        tiles.append(Tile("drop", f"{points(accuracy['drop_points'])} points", gate, state))
    if profile and profile["cases"]:
        fastest = min(profile["cases"], key=lambda case: case["frame_to_mask"]["p50_ms"])
        p50_ms = fastest["frame_to_mask"]["p50_ms"]
        note = f"{fastest['name']}, p50" + ("" if profile["conclusive"] else "; inconclusive")
        tiles.append(
            Tile("frame to mask", f"{number(p50_ms)} ms", note, "" if profile["conclusive"] else "bad")
        )
        for ratio in profile["ratios"][:1]:
            low, high = (1 / bound for bound in reversed(ratio["ci95"]))
            note = f"{ratio['size']}, 95 %: {number(low)} to {number(high)}"
            state = "good" if low > 1 else "bad"
            tiles.append(Tile("INT8 over FP32", f"{number(ratio['speedup'])} x as fast", note, state))
    if export and export.get("convolutions"):
        found = export["convolutions"]
        tiles.append(Tile("convolutions in INT8", f"{found['int8']} of {found['all']}", found["engine"]))
    return tiles


def _picture(folder: Path, picture: Mapping[str, Any]) -> Dict[str, str]:
    """Caption and data URI; without the URI where the file has gone since, which the page says."""
    path = folder / picture["file"]  # an absolute path replaces the folder
    if not path.is_file():
        return {"caption": picture["caption"], "uri": "", "file": str(picture["file"])}
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return {"caption": picture["caption"], "uri": f"data:image/png;base64,{encoded}", "file": path.name}


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


FILTERS: Mapping[str, Callable[..., str]] = {
    "number": number,
    "percent": percent,
    "points": points,
    "megabytes": megabytes,
}
