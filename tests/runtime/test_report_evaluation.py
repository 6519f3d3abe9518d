"""The page about masks: IoU, confusion, best and worst pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from test_report import ACCURACY, Page

from bisenet_edge.errors import ArtifactError
from bisenet_edge.runtime.report.masks import MOST_CLASSES, heat
from bisenet_edge.runtime.report.sections import write_report

METHOD = {"scales": [0.5, 1.0], "flip": True, "slide": None, "text": "scales 0.5, 1 + flip"}
PALETTE = ["#808080", "#804080", "#404080"]
CONFUSION = [[900, 100, 0], [2, 998, 0], [0, 0, 0]]
EVALUATION: dict[str, Any] = {
    "model": "bisenet-xception39",
    "precision": "int8",
    "engine": "openvino",
    "size": "640x360",
    "data": "camvid:<CamVid>",
    "split": "val",
    "images": 101,
    "classes": ["sky", "road", "fence & wall"],
    "palette": PALETTE,
    "method": METHOD,
    "miou": 0.9035,
    "pixel_accuracy": 0.949,
    "iou": [0.8982, 0.9073, None],
    "class_recall": [0.9, 0.998, None],
    "class_precision": [0.9978, 0.9089, None],
    "class_share": [0.5, 0.5, 0.0],
    "confusion": CONFUSION,
}


def page_of(folder: Path, **sections: Any) -> tuple[Page, str]:
    written = write_report(folder, sections)
    assert written.reason == ""
    text = (folder / "report.html").read_text(encoding="utf-8")
    return Page(text), text


def frames(folder: Path) -> dict[str, list[dict[str, Any]]]:
    (folder / "pictures").mkdir()
    cv2.imwrite(str(folder / "pictures" / "w.jpg"), np.full((8, 8, 3), 90, np.uint8))
    return {
        "worst": [{"name": "the <worst>", "miou": 0.25, "file": "pictures/w.jpg"}],
        "best": [{"name": "the best", "miou": 0.75, "file": "pictures/gone.jpg"}],
    }


def test_the_figures_are_shown(tmp_path: Path) -> None:
    page, text = page_of(tmp_path, evaluation=EVALUATION)
    assert page.open == []
    assert ["sky", "89.82 %", "", "90.00 %", "99.78 %", "50.00 %"] in page.rows
    assert next(row for row in page.rows if row[0] == "fence & wall")[1:] == [
        "-",
        "absent",
        "-",
        "-",
        "0.00 %",
    ]
    words = " ".join(page.text.split())
    assert "on openvino, 640x360; scales 0.5, 1 + flip. 101 images of camvid:<CamVid>, val." in words
    assert "Pixels that are right: 94.90 %." in words
    assert "mIoU, evaluated 90.35 %INT8, scales 0.5, 1 + flip" in words
    assert 'class="swatch" style="background: #404080"' in text


def test_the_confusion_matrix_is_coloured_by_share(tmp_path: Path) -> None:
    page, text = page_of(tmp_path, evaluation=EVALUATION)
    assert ["", "90", "10", ""] in page.rows  # the name of the row is a heading
    assert ["", "", "100", ""] in page.rows  # 0.2 % is not worth a figure
    assert ["sky", "road", "10.00 %", "98.04 %"] in page.rows
    cells = re.findall(r'<td class="(hit|miss)" style="--share: ([\d.]+)" title="([^"]+)"', text)
    assert ("hit", "0.900", "sky, taken for sky: 90.00 %") in cells
    assert ("miss", "0.002", "road, taken for sky: 0.20 %") in cells
    assert len(cells) == 6
    assert text.count('title="no pixel is labelled fence &amp; wall"') == 3


def test_many_classes_have_the_pairs_alone() -> None:
    count = MOST_CLASSES + 1
    assert heat(np.eye(count, dtype=int).tolist()) == []
    assert len(heat(np.eye(MOST_CLASSES, dtype=int).tolist())) == MOST_CLASSES


def test_pictures_are_in_the_page_and_one_that_is_gone_is_named(tmp_path: Path) -> None:
    page, _ = page_of(tmp_path, evaluation={**EVALUATION, "frames": frames(tmp_path)})
    assert [link[:23] for link in page.links] == ["data:image/jpeg;base64,"]
    words = " ".join(page.text.split())
    assert "the <worst>: mIoU 25.00 %" in words
    assert "the best: mIoU 75.00 % (the file is gone: pictures/gone.jpg)" in words


def test_the_same_stands_in_the_section_of_check(tmp_path: Path) -> None:
    accuracy = {**ACCURACY, "method": METHOD, "palette": PALETTE, "confusion": CONFUSION}
    page, text = page_of(tmp_path, accuracy={**accuracy, "frames": frames(tmp_path)})
    assert "camvid:<CamVid>, val; scales 0.5, 1 + flip." in " ".join(page.text.split())
    assert ["", "90", "10", ""] in page.rows
    assert sum(link.startswith("data:") for link in page.links) == 1
    assert ["sky", "90.00 %", "89.70 %", "+0.30"] in page.rows
    assert text.count('swatch"') == 3


def test_a_perfect_mask_has_no_pairs(tmp_path: Path) -> None:
    page, _ = page_of(tmp_path, evaluation={**EVALUATION, "confusion": np.diag([5, 5, 5]).tolist()})
    assert "The mistakes that cost most" not in page.text


def test_a_section_that_lacks_something_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="class_recall"):
        write_report(tmp_path, {"evaluation": {k: v for k, v in EVALUATION.items() if k != "class_recall"}})
