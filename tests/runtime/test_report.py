"""The report: JSON that several commands share, and a page that stands alone."""

from __future__ import annotations

import importlib.util
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bisenet_edge.errors import ArtifactError, SinkError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.power.trace import CaseEnergy, PowerTrace
from bisenet_edge.runtime.profile.compare import compare
from bisenet_edge.runtime.profile.result import CaseResult, ProfileResult, precision_ratios
from bisenet_edge.runtime.report.html import number, points
from bisenet_edge.runtime.report.sections import plain, read_report, update_report, write_report

VOID = {"meta", "br", "img", "link", "input", "hr", "wbr"}
MACHINE = {
    "board": "",
    "cpu": "Toy CPU",
    "architecture": "x86_64",
    "cores": 2,
    "memory_mb": 4096,
    "int8_instructions": ["avx512_vnni"],
    "system": "Linux 6",
    "python": "3.11",
    "packages": {"numpy": "2.0"},
}
ACCURACY = {
    "data": "camvid:<CamVid>",
    "split": "val",
    "images": 101,
    "classes": ["sky", "road", "fence"],
    "fp32": {"miou": 0.6, "iou": [0.9, 0.3, None]},
    "int8": {"miou": 0.595, "iou": [0.897, 0.293, None]},
    "drop_points": 0.5,
    "class_drop_points": [0.3, 0.7, None],
    "pixel_agreement": 0.9876,
    "max_drop": 1.0,
    "passed": True,
}
EXPORT = {
    "model": "bisenet-xception39",
    "size": "640x360",
    "classes": 3,
    "created": "2026-01-01T00:00:00Z",
    "files": [{"file": "model.int8.onnx", "what": "FP32 + Q/DQ, opset 17", "bytes": 6_320_000}],
    "verification": [
        {
            "engine": "ONNX Runtime 1.25",
            "precision": "int8",
            "against": "torch",
            "frames": 4,
            "pixel_agreement": 0.9998,
            "passed": False,
        }
    ],
    "convolutions": {"int8": 73, "all": 74, "engine": "OpenVINO"},
}
CALIBRATION = {
    "observer": "entropy",
    "data": "synthetic:",
    "images": 64,
    "seed": 1,
    "ranges": [{"tensor": "stem", "amax": 1.5}, {"tensor": "head", "amax": 20.0}],
}
LATENCY = {
    "samples": 12,
    "mean_ms": 5,
    "p50_ms": 4.321,
    "p90_ms": 6,
    "p99_ms": None,
    "min_ms": 4,
    "max_ms": 7,
}
RUN = {
    "source": "clip.mp4",
    "sinks": ["overlay.mp4"],
    "frames": 12,
    "dropped": 0,
    "wall_s": 1.0,
    "fps": 12.0,
    "frame_age": LATENCY,
}


class Page(HTMLParser):
    """Tags must close in order; keeps table rows, text and everything that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action", "srcset")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and "td" in self.open:
            self.rows[-1][-1] += " ".join(data.split())


def profile_section(conclusive: bool = True) -> dict[str, Any]:
    noise = np.random.default_rng(0)
    cases = []
    for size in (Size(640, 360), Size(1280, 720)):
        for precision, cost_ms in (("int8", 5.0), ("fp32", 20.0)):
            stage_ms = np.abs(noise.normal([5, 0.4, cost_ms, 0.5], 0.05, (100, 4)))
            start_s = np.arange(100) / 50
            name = f"{size} {precision}"
            cases.append(
                CaseResult(name, "bisenet-xception39", size, "openvino", precision, {}, stage_ms, start_s)
            )
    reasons = () if conclusive else ("640x360 int8: drifted",)
    result = ProfileResult(
        tuple(cases), precision_ratios(cases, 10), reasons, Size(1280, 720), 10, 300.0, MACHINE
    )
    return result.to_json()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report of all sections; drawn once, because drawing takes most of a second."""
    folder = tmp_path_factory.mktemp("report")
    write_full_report(folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def write_full_report(folder: Path) -> None:
    cv2.imwrite(str(folder / "overlay.png"), np.full((8, 8, 3), 90, np.uint8))
    pictures = [{"caption": "a <frame>", "file": "overlay.png"}, {"caption": "lost", "file": "lost.png"}]
    sections = {
        "export": EXPORT,
        "accuracy": ACCURACY,
        "profile": profile_section(),
        "calibration": CALIBRATION,
        "run": RUN,
        "pictures": pictures,
    }
    written = write_report(folder, sections)
    assert [file.name for file in written.files] == ["report.json", "report.html"]
    assert written.reason == ""


def test_the_page_is_well_formed_and_loads_nothing(page: Page, written: Path) -> None:
    assert page.open == []
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert any(link.startswith("data:") for link in page.links)
    text = written.read_text(encoding="utf-8")
    assert "http" not in text
    assert "url(" not in text.replace("url(#", "")


def test_ids_are_unique_and_references_resolve(page: Page, written: Path) -> None:
    """Several drawings in one page: the clip paths of one must not cut another."""
    assert len(page.ids) == len(set(page.ids))
    text = written.read_text(encoding="utf-8")
    used = {link[1:] for link in page.links if link.startswith("#")}
    used |= {part.split(")")[0] for part in text.split("url(#")[1:]}
    assert used <= set(page.ids)


def test_colours_follow_the_page(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    assert "fill: var(--int8)" in text
    assert "#0101" not in text


def test_figures_are_shown(page: Page) -> None:
    assert ["sky", "90.00 %", "89.70 %", "+0.30"] in page.rows
    assert ["mean", "60.00 %", "59.50 %", "+0.50"] in page.rows
    assert ["model.int8.onnx", "FP32 + Q/DQ, opset 17", "6.32 MB"] in page.rows
    speed = next(row for row in page.rows if row[0] == "640x360 int8")
    assert speed[1] == "openvino"
    assert speed[-1] == "5 (203.5)"
    assert ["age of a mask when delivered", "4.32", "6.00", "-"] in page.rows
    for words in ("73 of 74", "Toy CPU", "lost (the file is gone: lost.png)", "times as fast", "failed"):
        assert words in page.text


def test_an_absent_class_is_a_dash(page: Page) -> None:
    assert ["fence", "-", "-", "-"] in page.rows
    assert "absent" in page.text


def test_text_is_escaped(page: Page) -> None:
    assert "a <frame>" in page.text
    assert "camvid:<CamVid>" in page.text


def test_only_present_sections_are_shown(tmp_path: Path) -> None:
    write_report(tmp_path, {"accuracy": ACCURACY})
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.ids.count("accuracy") == 1
    assert not {"profile", "export", "calibration", "run", "machine", "pictures"} & set(page.ids)


def test_an_inconclusive_profile_says_so(tmp_path: Path) -> None:
    write_report(tmp_path, {"profile": profile_section(conclusive=False)})
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Inconclusive." in page.text
    assert "640x360 int8: drifted" in page.text


def test_update_replaces_one_section(tmp_path: Path) -> None:
    update_report(tmp_path, "accuracy", ACCURACY)
    update_report(tmp_path, "calibration", CALIBRATION)
    update_report(tmp_path, "accuracy", {**ACCURACY, "images": 7})
    report = read_report(tmp_path)
    assert set(report) == {"accuracy", "calibration"}
    assert report["accuracy"]["images"] == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_the_same_report_is_the_same_page(tmp_path: Path) -> None:
    for folder in ("a/report", "b/report"):
        (tmp_path / folder).mkdir(parents=True)
        write_full_report(tmp_path / folder)
    pages = [(tmp_path / folder / "report.html").read_bytes() for folder in ("a/report", "b/report")]
    assert pages[0] == pages[1]


def test_without_jinja2_the_json_is_written_and_the_old_page_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_report(tmp_path, "accuracy", ACCURACY)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "jinja2" else found(name, *rest)
    )
    written = update_report(tmp_path, "calibration", CALIBRATION)
    assert written.files == (tmp_path / "report.json",)
    assert "jinja2 not installed" in written.reason
    assert not (tmp_path / "report.html").exists()
    assert set(read_report(tmp_path)) == {"accuracy", "calibration"}


def test_missing_numbers_become_null(tmp_path: Path) -> None:
    value = plain({"a": float("nan"), "b": (np.float32(1.5), np.int64(2)), "c": Path("x"), "d": True})
    assert value == {"a": None, "b": [1.5, 2], "c": "x", "d": True}
    assert json.loads(json.dumps(value, allow_nan=False)) == value


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_report_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"report\.json"):
        update_report(tmp_path, "accuracy", ACCURACY)
    assert (tmp_path / "report.json").read_text(encoding="utf-8") == text


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="accuracy"):
        update_report(tmp_path, "acuracy", ACCURACY)
    assert not list(tmp_path.iterdir())


def test_a_section_of_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="max_drop"):
        write_report(tmp_path, {"accuracy": {k: v for k, v in ACCURACY.items() if k != "max_drop"}})
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SinkError, match="cannot write here"):
        write_report(tmp_path / "file", {"accuracy": ACCURACY})


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (0.0521, "0.052"), (4.666, "4.67"), (21.34, "21.3"), (1234.4, "1234")],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_drop_has_its_sign() -> None:
    assert [points(v) for v in (0.5, -0.5, -0.001, None)] == ["+0.50", "-0.50", "+0.00", "-"]


def power_section(**samples: Any) -> dict[str, Any]:
    none = np.full(20, np.nan)
    values = {"power_mw": none, "temperature_c": none, "gpu_mhz": none, "cpu_mhz": none, **samples}
    trace = PowerTrace(np.arange(20) / 10, **values, source="sysfs", power_of="VDD_IN", mode="MAXN")
    return trace.to_json()


def test_power_and_clocks_are_plotted_where_they_are_known(tmp_path: Path) -> None:
    ramp = np.linspace(40, 45, 20)
    section = profile_section()
    section["power"] = power_section(power_mw=100 * ramp, temperature_c=ramp)
    section["cases"][0]["energy"] = CaseEnergy(12, 4200.0, 33.5).to_json()
    write_report(tmp_path, {"profile": section})
    html = (tmp_path / "report.html").read_text()
    drawing = html[html.index('aria-label="Power, temperature and clocks') :]
    assert "power, W (VDD_IN)" in drawing
    assert "temperature" in drawing
    assert "clock, MHz" not in drawing  # nobody told
    text = Page(html).text
    assert "power (sysfs): 4250 mW, 8.1 J over the run (VDD_IN)" in text
    assert "energy of 640x360 int8: 4200 mW, 33.50 mJ per frame" in text


def test_a_machine_that_tells_nothing_has_no_empty_plot(tmp_path: Path) -> None:
    section = profile_section()
    section["power"] = {**power_section(), "source": "none"}
    write_report(tmp_path, {"profile": section})
    html = (tmp_path / "report.html").read_text()
    assert "power, temperature, clocks: not available on this machine" in html
    assert "Power, temperature and clocks over the run" not in html


def test_a_comparison_is_shown_with_its_verdict(tmp_path: Path) -> None:
    before, now = profile_section(), profile_section()
    for case in now["cases"]:
        case["samples"]["infer_ms"] = [1.5 * ms for ms in case["samples"]["infer_ms"]]
    now["comparison"] = compare(now, before).to_json()
    write_report(tmp_path, {"profile": now})
    page = Page((tmp_path / "report.html").read_text())
    assert "Against an older profile: slower" in " ".join(page.text.split())
    assert [row[-1] for row in page.rows if row[0].startswith("bisenet-xception39 ")] == ["slower"] * 4


def test_a_drifting_case_stays_inside_its_timeline(tmp_path: Path) -> None:
    section = profile_section()
    case = section["cases"][0]
    case["samples"]["infer_ms"] = np.linspace(5, 50, 100).tolist()
    write_report(tmp_path, {"profile": section})
    html = (tmp_path / "report.html").read_text()
    assert "Frame to mask times over the run" in html
