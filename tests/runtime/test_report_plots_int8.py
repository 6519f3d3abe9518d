"""The plots of how INT8 was made: as many marks as there is data, and none that overlap."""

from __future__ import annotations

import re

import numpy as np
from test_report_int8 import EXTENDED, QAT, SEARCH, step

from bisenet_edge.runtime.report import plots_calibration as report_plots_calibration
from bisenet_edge.runtime.report import plots_int8 as report_plots_int8


def drawn(svg: str, variable: str) -> int:
    """Filled paths of one colour."""
    return len(re.findall(rf'<path d="[^"]*"[^>]*style="fill: var\({variable}\)', svg))


def marks(svg: str, stage: str) -> list[tuple[float, float]]:
    """Centres of the marks of one stage, in points."""
    found = re.findall(rf'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="fill: var\(--{stage}\)', svg)
    return [(float(x), float(y)) for x, y in found]


def labels(svg: str) -> list[tuple[float, float, str]]:
    """Centre of the base line, in points, and text of the steps' numbers."""
    found = re.findall(r'font-size: 9px[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>([\d, ]+)<', svg)
    return [(float(x), float(y), text) for x, y, text in found]


def test_every_measured_step_is_a_mark_with_its_number() -> None:
    svg = report_plots_int8.search(SEARCH)
    # Each stage once more in the legend; the second PTQ step was not measured.
    for stage in ("ptq", "correction", "fallback", "qat"):
        assert len(marks(svg, stage)) == 1 + 1
    assert (
        len(re.findall(r'<use [^>]*style="fill-opacity: 0', svg)) == 1 + 1
    )  # the ring around the chosen one
    assert len(marks(svg, "fp32")) == 1 + 1
    numbers = [number for _, _, text in labels(svg) for number in text.split(", ")]
    assert sorted(numbers) == ["1", "3", "4", "5"]
    assert svg.count("stroke: var(--bad)") == 1 + 1  # the gate


def test_numbers_of_many_steps_overlap_neither_each_other_nor_marks() -> None:
    noise = np.random.default_rng(0)
    steps = [
        step(f"step {i}", "ptq", 0.59 + noise.normal(0, 0.002), 6.7 + noise.normal(0, 0.5), True)
        for i in range(30)
    ]
    svg = report_plots_int8.search({**SEARCH, "steps": steps, "chosen": None})
    found = labels(svg)
    assert sum(len(text.split(", ")) for _, _, text in found) == 30
    # A digit is 7 points high above the base line; a step's mark reaches 3.5 points to each side.
    boxes = [(x, y - 3.5, 2.5 * len(text.replace(" ", "")), 3.5) for x, y, text in found]
    others = boxes + [(x, y, 3.5, 3.5) for x, y in marks(svg, "ptq")]
    for index, (x, y, half_width, half_height) in enumerate(boxes):
        for other_x, other_y, other_width, other_height in others[index + 1 :]:
            apart = (
                abs(x - other_x) - half_width - other_width,
                abs(y - other_y) - half_height - other_height,
            )
            assert max(apart) >= 0


def test_a_step_that_lost_far_more_than_the_gate_stands_at_the_bottom() -> None:
    collapsed = [*SEARCH["steps"], step("percentile", "ptq", 0.1, 6.7, False)]
    svg = report_plots_int8.search({**SEARCH, "steps": collapsed})
    assert "more than 2 points below FP32 stands at the bottom" in svg
    assert "stands at the bottom" not in report_plots_int8.search(SEARCH)


def test_every_block_is_a_pair_of_bars() -> None:
    svg = report_plots_int8.sensitivity(SEARCH)
    assert drawn(svg, "--int8") == drawn(svg, "--fp32") == 3 + 1  # and the legend


def test_only_epochs_that_were_measured_are_marks() -> None:
    svg = report_plots_int8.fine_tuning(QAT)
    assert len(marks(svg, "qat")) == 2 + 1  # and the legend
    assert "best epoch" in svg


def test_each_histogram_is_one_path_and_its_saturated_part_another() -> None:
    svg = report_plots_calibration.range_histograms(EXTENDED)
    assert drawn(svg, "--int8") == 2
    assert drawn(svg, "--other") == 1
    assert svg.count("stroke: var(--ink)") == 2
    assert ">stem</text>" in svg
    assert "fixed" not in svg


def test_a_histogram_without_a_range_is_drawn_whole() -> None:
    unknown = [{**entry, "amax": None} for entry in EXTENDED["ranges"]]
    svg = report_plots_calibration.range_histograms({"ranges": unknown})
    assert drawn(svg, "--int8") == 2
    assert drawn(svg, "--other") == 0
    assert "stroke: var(--ink)" not in svg


def test_eighty_histograms_stay_small() -> None:
    noise = np.random.default_rng(0)
    entries = [
        {
            "tensor": f"tensor {i}",
            "amax": 3.0,
            "histogram": {"limit": 4.0, "counts": noise.integers(0, 999, 64)},
        }
        for i in range(80)
    ]
    assert len(report_plots_calibration.range_histograms({"ranges": entries})) < 300_000
