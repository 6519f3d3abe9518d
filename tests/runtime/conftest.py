"""GStreamer for tests: the system's, which a virtual environment does not see by itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

from bisenet_edge.runtime.gstreamer.binding import APT_LINE, find_gst
from bisenet_edge.runtime.gstreamer.registry import has_element

SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")


@pytest.fixture(scope="session")
def gi_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for PYTHONPATH that holds the system's PyGObject and nothing else; "" if none is needed."""
    if importlib.util.find_spec("gi") is not None:
        return ""
    folder = tmp_path_factory.mktemp("system-gi")
    if (SYSTEM_PACKAGES / "gi").is_dir():
        (folder / "gi").symlink_to(SYSTEM_PACKAGES / "gi")
    return str(folder)


@pytest.fixture(scope="session")
def gst(gi_path: str) -> object:
    """The module Gst, in this process."""
    if gi_path:
        sys.path.append(gi_path)
    find_gst.cache_clear()
    has_element.cache_clear()
    found = find_gst()
    if found is None:
        pytest.skip(f"GStreamer's Python binding is missing for this Python: {APT_LINE}")
    return found


@pytest.fixture(scope="session")
def gst_launch() -> str:
    """The program gst-launch-1.0."""
    found = shutil.which("gst-launch-1.0")
    if found is None:
        pytest.skip(f"gst-launch-1.0 is missing: {APT_LINE}")
    return found


@pytest.fixture(scope="session")
def gst_environment(gst: object, gi_path: str) -> dict[str, str]:
    """The environment of a Python process that imports gi and this checkout."""
    root = str(Path(__file__).resolve().parents[2])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, gi_path, os.environ.get("PYTHONPATH")])),
    }
