"""What the tests of pages share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import INSTALL, PROGRAM, Chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """One browser for all tests; it takes a second or two to start."""
    if PROGRAM is None:
        pytest.skip(INSTALL)
    with Chromium() as browser:
        yield browser


@pytest.fixture
def chromium(browser: Chromium) -> Chromium:
    """A browser with an empty page."""
    browser.new_page()
    return browser


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where screenshots go: BISENET_EDGE_SCREENSHOTS, for people to look at, or a temporary folder."""
    folder = Path(os.environ.get("BISENET_EDGE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
