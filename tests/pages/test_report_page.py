"""The report of an artifact in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import pytest
from chromium import Chromium

PLOT_TEXT = (
    "Math.min(...[...document.querySelectorAll('svg text')].map((t) => t.getBoundingClientRect().height))"
)


@pytest.fixture
def report(with_artifact: Path, bisenet_edge: Callable[..., tuple[int, str, str]]) -> Path:
    """report.html after `export`, `check` and `profile`."""
    code, _, told = bisenet_edge("check", "--data", "synthetic:?count=8&size=96x64")
    assert code in (0, 3), told  # on eight small pictures the gate may fail; the report says so
    code, _, told = bisenet_edge("profile", "--samples", "100", "--precision", "int8", "--precision", "fp32")
    assert code in (0, 4), told  # on a busy machine the figures may not be steady; the report says so
    return with_artifact / "report.html"


def test_the_report_is_legible_and_asks_nobody(chromium: Chromium, screenshots: Path, report: Path) -> None:
    for name, width, height in (("desktop", 1280, 800), ("dark", 1280, 800), ("phone", 390, 844)):
        chromium.size(width, height, mobile=name == "phone")
        chromium.prefer("dark" if name == "dark" else "light")
        chromium.open(report.as_uri())
        chromium.wait_for("document.readyState === 'complete' && document.body.innerText.length > 500")
        path = chromium.screenshot(screenshots / f"report-{name}.png", whole=True)
        texts = chromium.legibility()
        assert [t for t in texts if t["px"] < 11.5 or t["contrast"] < 4.5] == [], name
        assert chromium.ask("document.documentElement.scrollWidth - innerWidth") <= 0, name
        assert chromium.ask("[...document.images].every((i) => i.naturalWidth > 0)"), name
        assert chromium.ask(PLOT_TEXT) >= 7, name
        assert cv2.imread(str(path)).std() > 20, name
    words = chromium.ask("document.body.innerText")
    assert "mIoU" in words
    assert "FPS" in words
    assert chromium.refused == []
    assert {urlsplit(url).scheme for url in chromium.requested} <= {"file", "data"}
    assert [url for url in chromium.requested if url.startswith("file:")] == [report.as_uri()] * 3
