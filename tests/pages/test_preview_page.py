"""The preview page in a real browser, while frames flow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from chromium import Chromium

from bisenet_edge.frame import Frame, Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.sinks.preview import HttpSink
from bisenet_edge.runtime.status import RunStatus
from bisenet_edge.runtime.streets import Scene

FULL = RunStatus(12.0, 24.93, 31.25, 44.0, 1023, 1000, 20, 1, 51.52, 7423.0)
BARE = RunStatus(2.0, 24.93, 31.25, None, 23, 20, 0)
LIVE = "byId('state').dataset.state === 'live' && view.naturalWidth === 640 && !view.hidden"
WORDS = "document.body.innerText"
RECTANGLES = "[...document.querySelectorAll('#legend rect')]"
ITEMS = "[...document.querySelectorAll('#legend li')]"
FIGURES = "Object.fromEntries([...document.querySelectorAll('dd')].map((d) => [d.id, d.innerText]))"
PIXEL = """
(() => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [640, 360];
  const drawing = canvas.getContext("2d");
  drawing.drawImage(view, 0, 0);
  return [...drawing.getImageData(320, 340, 1, 1).data];
})()
"""


@contextmanager
def flowing(uri: str, status: Optional[RunStatus] = FULL) -> Iterator[HttpSink]:
    """A preview with about 20 frames a second of a street."""
    sink = open_sink(uri, CAMVID, 20)
    assert isinstance(sink, HttpSink)
    image, mask = Scene(0, Size(640, 360)).render(0)
    stop = threading.Event()

    def feed() -> None:
        index = 0
        while not stop.wait(0.05):
            sink.write(Frame(image, index, time.monotonic_ns()), mask)
            if status is not None:
                sink.tell(status)
            index += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield sink
    finally:
        stop.set()
        feeder.join()
        sink.close()


@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1280, 800), ("phone", 390, 844)])
def test_the_page_is_legible_and_asks_nobody_else(
    chromium: Chromium, screenshots: Path, name: str, width: int, height: int
) -> None:
    with flowing("http://:0") as sink:
        chromium.size(width, height, mobile=name == "phone")
        chromium.open(sink.address)
        chromium.wait_for(LIVE)
        chromium.wait_for("byId('caption').textContent.includes('640×360')")
        path = chromium.screenshot(screenshots / f"preview-{name}.png", whole=name == "phone")
        texts = chromium.legibility()
        overflow = chromium.ask("document.documentElement.scrollWidth - innerWidth")
        words = chromium.ask(WORDS)
    assert cv2.imread(str(path)).std() > 20  # there is a picture
    assert [t for t in texts if t["px"] < 12.5 or t["contrast"] < 4.5] == []
    assert {t["text"] for t in texts} >= {*CAMVID.names, "FPS", "Temperature", "Power"}
    assert overflow <= 0
    for word in ("24.9", "31.3 ms", "44.0 ms", "1,000", "once", "51.5 °C", "7.42 W", "Live"):
        assert word in words
    assert chromium.refused == []
    assert {urlsplit(url).netloc for url in chromium.requested} - {""} == {urlsplit(sink.address).netloc}
    assert {urlsplit(url).scheme for url in chromium.requested} <= {"http", "data"}


def test_the_legend_has_the_colours_of_the_classes(chromium: Chromium) -> None:
    with flowing("http://:0") as sink:
        chromium.open(sink.address)
        chromium.wait_for(LIVE)
        chromium.wait_for(f"{ITEMS}[0].lastChild.textContent !== ''")
        fills = chromium.ask(f"{RECTANGLES}.map((r) => getComputedStyle(r).fill)")
        shares = chromium.ask(f"{ITEMS}.map((i) => i.lastChild.textContent)")
        pixel = chromium.ask(PIXEL)
        image, mask = Scene(0, Size(640, 360)).render(0)
    assert fills == [f"rgb({r}, {g}, {b})" for r, g, b in CAMVID.palette]
    road = CAMVID.names.index("road")
    assert shares[road] == f"{100 * (mask == road).mean():.1f} %"
    blended = (image[340, 320].astype(int)[::-1] + CAMVID.palette[mask[340, 320]]) / 2
    np.testing.assert_allclose(pixel[:3], blended, atol=16)  # JPEG


def test_what_is_unknown_is_told_as_such(chromium: Chromium, screenshots: Path) -> None:
    with flowing("http://:0", BARE) as sink:
        chromium.size(1280, 800)
        chromium.open(sink.address)
        chromium.wait_for(LIVE)
        chromium.wait_for("byId('fps').textContent === '24.9'")
        figures = chromium.ask(FIGURES)
        chromium.screenshot(screenshots / "preview-unknown.png")
        texts = chromium.legibility()
    assert [figures[key] for key in ("temperature", "power", "age99")] == ["not available"] * 3
    assert figures["dropped"] == "0"
    assert [t for t in texts if t["contrast"] < 4.5] == []


def test_it_reconnects_by_itself_when_the_service_is_restarted(chromium: Chromium, screenshots: Path) -> None:
    with flowing("http://:0") as sink:
        address = sink.address
        chromium.open(address)
        chromium.wait_for(LIVE)
    chromium.wait_for(f"{WORDS}.includes('Connection lost')")
    chromium.screenshot(screenshots / "preview-lost.png")
    with flowing(f"http://:{urlsplit(address).port}"):
        chromium.wait_for(LIVE)
        chromium.wait_for("byId('caption').textContent.startsWith('Frame ')")
        first = chromium.ask("byId('caption').textContent")
        chromium.wait_for(f"byId('caption').textContent !== {first!r}")


def test_frames_that_stop_are_told(chromium: Chromium) -> None:
    with flowing("http://:0") as sink:
        chromium.open(sink.address)
        chromium.wait_for(LIVE)
        sink.write = lambda frame, mask: None  # type: ignore[method-assign]
        chromium.wait_for(f"{WORDS}.includes('No frame for')")


def test_the_token_leaves_the_address_and_lets_in(chromium: Chromium) -> None:
    with flowing("http://0.0.0.0:0") as sink:
        parts = urlsplit(sink.address)
        assert parts.query.startswith("token=")
        here = f"http://127.0.0.1:{parts.port}/"
        chromium.open(here)
        chromium.wait_for(f"{WORDS}.includes('needs its token')")
        chromium.open(f"{here}?{parts.query}")
        chromium.wait_for(f"location.href === {here!r} && document.title !== ''")
        chromium.wait_for(LIVE)
        assert chromium.ask("document.cookie") == ""  # no script can read it
