"""The report's sections of how INT8 was made. All figures here are made up for the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from test_report import ACCURACY, CALIBRATION, MACHINE, Page, profile_section

from bisenet_edge.errors import ArtifactError
from bisenet_edge.runtime.report.html import breakable, gate, share
from bisenet_edge.runtime.report.sections import read_report, write_report

HOSTILE = "<script>alert('$x')</script>"


def step(name: str, stage: str, miou: float | None, infer_ms: float | None, passed: bool) -> dict[str, Any]:
    return {
        "name": name,
        "stage": stage,
        "miou": miou,
        "drop_points": None if miou is None else 100 * (0.6 - miou),
        "worst_class": "fence",
        "worst_class_drop_points": 1.25,
        "infer_ms": infer_ms,
        "speedup": None if infer_ms is None else 16 / infer_ms,
        "passed": passed,
    }


SEARCH: dict[str, Any] = {
    "data": "camvid:data",
    "split": "val",
    "images": 101,
    "backend": "openvino",
    "max_drop": 0.5,
    "max_class_drop": 1.5,
    "passed": True,
    "chosen": "QAT from max",
    "reason": "QAT from max: mIoU changes by -0.10 points",
    "fp32": {"miou": 0.6, "infer_ms": 16.0},
    "steps": [
        step("max", "ptq", 0.592, 6.7, False),
        step("mse", "ptq", None, None, False),
        step("max + bias correction", "correction", 0.5921, 6.7, False),
        {**step("max, ffm in float", "fallback", 0.597, 8.0, True), "note": "passes, but slowly"},
        step("QAT from max", "qat", 0.599, 6.6, True),
    ],
    "sensitivity": [
        {"block": "ffm", "convolutions": 3, "only_drop_points": 0.1, "without_drop_points": 0.4},
        {"block": "spatial", "convolutions": 1, "only_drop_points": None, "without_drop_points": -0.2},
        {"block": "head", "convolutions": 2, "only_drop_points": 0.7, "without_drop_points": None},
    ],
}
QAT: dict[str, Any] = {
    "data": "camvid:data",
    "epochs": [
        {"epoch": 1, "loss": 0.75, "miou": None},
        {"epoch": 2, "loss": 0.5, "miou": 0.597},
        {"epoch": 3, "loss": 0.25, "miou": 0.599},
    ],
    "fp32_miou": 0.6,
    "start_miou": 0.592,
    "best_miou": 0.599,
    "ranges": "learned",
    "distillation": 0.5,
    "learning_rate": 0.0001,
    "batch": 8,
}
LINT: dict[str, Any] = {
    "findings": [
        {
            "rule": "double-quantization",
            "severity": "error",
            "flavour": "int8",
            "node": "/stage/Conv",
            "message": "quantized twice",
            "fix": "remove one",
        }
    ],
    "convolutions": 74,
    "int8": 69,
    "kept_float": ["arm16.gate", "arm32.gate"],
    "rules": [{"name": "double-quantization", "what": "no tensor is quantized twice"}],
    "engine": {"name": "OpenVINO", "version": "2026.4", "convolutions": 74, "convolutions_int8": 68},
}
PAYOFF: dict[str, Any] = {
    "chosen": "int8",
    "reason": "INT8 takes 0.50 of BF16's time",
    "backend": "openvino",
    "machine": MACHINE,
    "cases": [
        {"precision": "int8", "p50_ms": 5.0, "p90_ms": 6.0},
        {"precision": "bf16", "p50_ms": 10.0, "p90_ms": None},
        {"precision": "fp32", "p50_ms": 20.0, "p90_ms": 21.0},
    ],
    "int8_over_float": 0.5,
    "ci95": [0.48, 0.52],
    "float": "bf16",
    "conclusive": True,
}
EXTENDED: dict[str, Any] = {
    **CALIBRATION,
    "method": "ptq",
    "recipe": "streets",
    "corrections": ["equalization", "bias correction"],
    "coverage": [
        {"class": "sky", "images": 60, "available": 360, "pixels": 0.2, "split_pixels": 0.18},
        {"class": "fence", "images": 0, "available": 40, "pixels": None, "split_pixels": 0.01},
    ],
    "ranges": [
        {"tensor": "quantize_fixed", "amax": 1.984},
        {
            "tensor": "quantize_stem",
            "amax": 2.0,
            "largest": 4.0,
            "saturated": 0.00002,
            "histogram": {"limit": 8.0, "counts": [1000] * 16 + [7] * 8 + [0] * 40},
        },
        {
            "tensor": "quantize_head",
            "amax": 4.0,
            "largest": 3.5,
            "saturated": 0.0,
            "histogram": {"limit": 4.0, "counts": list(range(64, 0, -1))},
        },
    ],
}
SECTIONS = {"search": SEARCH, "qat": QAT, "lint": LINT, "payoff": PAYOFF, "calibration": EXTENDED}


def read(folder: Path) -> tuple[Page, str]:
    text = (folder / "report.html").read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the report of all sections of this file; drawn once."""
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, SECTIONS)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> tuple[Page, str]:
    return read(folder)


def test_all_sections_are_shown_once_well_formed_and_in_the_order_of_decisions(page) -> None:
    parsed, text = page
    assert parsed.open == []
    order = ["payoff", "search", "qat", "calibration", "lint", "machine"]
    assert [name for name in parsed.ids if name in order] == order
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "#0101" not in text
    assert "http" not in text


def test_the_sections_survive_as_json(folder) -> None:
    assert read_report(folder) == SECTIONS


def test_the_search_says_its_verdict_and_marks_the_chosen_step(page) -> None:
    parsed, text = page
    rows = {row[1]: row for row in parsed.rows if len(row) == 10}
    assert rows["FP32"][3] == "60.00 %"
    assert rows["max"][:2] == ["1", "max"]
    assert rows["max"][3:] == ["59.20 %", "+0.80", "fence", "+1.25", "6.70", "2.39", "failed"]
    assert rows["mse"][3:9] == ["-", "-", "fence", "+1.25", "-", "-"]
    assert "max, ffm in floatpasses, but slowly" in rows
    assert text.count('<tr class="chosen"') == 2  # one in the search, one in the payoff
    assert "QAT from maxchosen" in rows
    for words in (
        "Passed: QAT from max: mIoU changes by -0.10 points.",
        "at most 0.5 points of mIoU and at most 1.5 points in any class below FP32",
    ):
        assert words in " ".join(parsed.text.split())


def test_a_search_that_found_nothing_says_so(tmp_path) -> None:
    failed = {**SEARCH, "passed": False, "chosen": None, "reason": "none of 5 keeps the promise"}
    write_report(tmp_path, {"search": failed})
    parsed, text = read(tmp_path)
    assert "Failed: none of 5 keeps the promise." in " ".join(parsed.text.split())
    assert '<tr class="chosen"' not in text


def test_blocks_are_sorted_by_what_they_cost_alone(page) -> None:
    parsed, _ = page
    rows = [row for row in parsed.rows if row[0] in ("ffm", "spatial", "head")]
    assert rows == [
        ["head", "2", "+0.70", "-"],
        ["ffm", "3", "+0.10", "+0.40"],
        ["spatial", "1", "-", "-0.20"],
    ]


def test_training_shows_its_epochs_and_what_it_gained(page) -> None:
    parsed, _ = page
    assert ["1", "0.75", "-"] in parsed.rows
    assert ["3", "0.25", "59.90 %"] in parsed.rows
    words = " ".join(parsed.text.split())
    assert "3 epochs took INT8 from 59.20 % mIoU (PTQ, before training) to 59.90 % (the best epoch)" in words
    assert "batches of 8, learning rate 0.0001, ranges learned" in words


def test_calibration_shows_coverage_and_saturation(page) -> None:
    parsed, text = page
    assert ["sky", "60", "360", "20.00 %", "18.00 %"] in parsed.rows
    assert ["fence", "0", "40", "-", "1.00 %"] in parsed.rows
    assert parsed.rows.count(["quantize_stem", "2", "4", "0.0020 %"]) == 2  # among the worst, and among all
    assert parsed.rows.count(["quantize_head", "4", "3.5", "0.00 %"]) == 1
    assert ["quantize_fixed", "1.984", "-", "-"] in parsed.rows
    assert "corrections: equalization, bias correction; method: PTQ" in " ".join(parsed.text.split())
    assert "largest magnitude seen" in text


def test_a_calibration_of_an_older_version_still_renders(tmp_path) -> None:
    write_report(tmp_path, {"calibration": CALIBRATION})
    parsed, text = read(tmp_path)
    assert ["stem", "1.5", "-", "-"] in parsed.rows
    assert "largest magnitude seen" not in text
    assert "Magnitudes" not in parsed.text
    assert "saturation" not in parsed.text


def test_lint_lists_findings_and_what_stayed_in_float(page) -> None:
    parsed, _ = page
    assert ["errordouble-quantization", "int8/stage/Conv", "quantized twice", "remove one"] in parsed.rows
    words = " ".join(parsed.text.split())
    assert "69 of 74 convolutions are in INT8; OpenVINO 2026.4 runs 68 of 74 in INT8." in words
    assert "arm16.gate, arm32.gate" in words
    assert "no tensor is quantized twice" in words


def test_a_clean_graph_is_said_to_be_clean(tmp_path) -> None:
    write_report(tmp_path, {"lint": {**LINT, "findings": [], "engine": None}})
    words = " ".join(read(tmp_path)[0].text.split())
    assert "69 of 74 convolutions are in INT8. The 1 rule found nothing to change." in words


def test_many_findings_are_folded(tmp_path) -> None:
    write_report(tmp_path, {"lint": {**LINT, "findings": LINT["findings"] * 15}})
    parsed, _ = read(tmp_path)
    assert "3 more" in parsed.text
    assert sum(row[0] == "errordouble-quantization" for row in parsed.rows) == 15


def test_the_payoff_is_one_sentence_and_a_bar_per_precision(page) -> None:
    parsed, text = page
    assert "INT8 takes 0.50 of BF16's time." in parsed.text
    assert ["BF16", "10.0", "-", ""] in parsed.rows
    assert re.findall(r'class="(\w+)" style="width: ([\d.]+)%"', text) == [
        ("int8", "25.0"),
        ("bf16", "50.0"),
        ("fp32", "100.0"),
    ]
    assert "Inconclusive" not in parsed.text


def test_a_payoff_within_the_noise_says_so(tmp_path) -> None:
    write_report(tmp_path, {"payoff": {**PAYOFF, "conclusive": False}})
    assert "Inconclusive." in read(tmp_path)[0].text


def test_a_gate_per_class_is_part_of_the_verdict(tmp_path) -> None:
    write_report(tmp_path, {"accuracy": {**ACCURACY, "max_class_drop": 0.5, "passed": False}})
    parsed, text = read(tmp_path)
    words = " ".join(parsed.text.split())
    assert "Gate: a drop of at most 1 point of mIoU and at most 0.5 points in any class: failed." in words
    assert text.count('class="bad">+0.70') == 1
    assert 'class="bad">+0.30' not in text


def test_a_ratio_names_what_int8_was_timed_against(tmp_path) -> None:
    profile = profile_section()
    profile["ratios"][0]["against"] = "bf16"
    profile["ratios"][1].pop("against", None)
    profile["cases"] = []  # nothing to draw
    write_report(tmp_path, {"profile": profile})
    words = " ".join(read(tmp_path)[0].text.split())
    assert "of the time of BF16" in words
    assert "of the time of FP32" in words


def with_every_text(value: Any, text: str) -> Any:
    """The same data with every free text replaced; words that the page understands stay."""
    if isinstance(value, dict):
        kept = ("stage", "precision", "chosen", "float", "method", "ranges", "machine")
        return {
            k: v if k in kept and not isinstance(v, list) else with_every_text(v, text)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [with_every_text(item, text) for item in value]
    return text if isinstance(value, str) else value


def test_text_of_others_is_escaped_everywhere(tmp_path) -> None:
    write_report(tmp_path, with_every_text(SECTIONS, HOSTILE))
    parsed, text = read(tmp_path)
    assert parsed.open == []
    assert "<script" not in text
    assert parsed.text.count(HOSTILE) > 30


def with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: with_nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_nulls(item) for item in value]
    return float("nan") if isinstance(value, float) else value


def test_numbers_that_are_missing_are_dashes(tmp_path) -> None:
    sections = {name: with_nulls(data) for name, data in SECTIONS.items()}
    write_report(tmp_path, sections)
    parsed, _ = read(tmp_path)
    assert not re.search(r"\bnan\b", parsed.text)
    assert "None" not in parsed.text
    assert ["quantize_stem", "-", "-", "-"] in parsed.rows
    assert ["BF16", "-", "-", ""] in parsed.rows
    assert "null" in (tmp_path / "report.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("search", "reason"),
        ("search", "steps"),
        ("search", "max_drop"),
        ("qat", "best_miou"),
        ("qat", "batch"),
        ("calibration", "observer"),
        ("calibration", "ranges"),
        ("lint", "kept_float"),
        ("lint", "findings"),
        ("payoff", "cases"),
        ("payoff", "conclusive"),
    ],
)
def test_a_section_that_lacks_what_the_page_shows_is_named(tmp_path, section: str, key: str) -> None:
    data = {name: value for name, value in SECTIONS[section].items() if name != key}
    with pytest.raises(ArtifactError, match=key):
        write_report(tmp_path, {section: data})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data", [["a list"], {**SEARCH, "steps": [{**SEARCH["steps"][0], "stage": "guess"}]}]
)
def test_a_search_of_another_shape_is_refused(tmp_path, data: Any) -> None:
    with pytest.raises(ArtifactError, match="not of the shape"):
        write_report(tmp_path, {"search": data})


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (None, "-"),
        (0, "0.00 %"),
        (0.0294, "2.94 %"),
        (3.1e-5, "0.0031 %"),
        (1e-9, "< 0.0001 %"),
        (1, "100.00 %"),
    ],
)
def test_small_shares_keep_their_digits(fraction: float | None, text: str) -> None:
    assert share(fraction) == text


def test_a_gate_is_told_in_words() -> None:
    assert gate({"max_drop": None}) == ""
    assert gate({"max_drop": 1.0}) == "at most 1 point of mIoU"
    assert gate({"max_drop": None, "max_class_drop": 2.5}) == "at most 2.5 points in any class"


def test_long_names_break_at_their_parts_and_stay_escaped() -> None:
    assert breakable("a_b/<c>") == "a_<wbr>b/<wbr>&lt;c&gt;"
