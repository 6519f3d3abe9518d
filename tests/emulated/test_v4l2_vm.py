"""The V4L2 source on an aarch64 machine with a camera; both are emulated (see v4l2_vm.py)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from v4l2_vm import APT_LINE, HERE, missing_programs, results_of_guest

pytestmark = pytest.mark.emulated


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    missing = missing_programs()
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}: {APT_LINE}")
    if os.geteuid() != 0:
        pytest.skip("unpacking a Debian tree needs root: sudo -E .venv/bin/python -m pytest -m emulated")
    # Set it to keep the downloads (250 MB) between runs.
    kept = os.environ.get("BISENET_EDGE_VM")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("v4l2-vm")
    return {str(found["name"]): found for found in results_of_guest(HERE / "v4l2_guest.py", folder)}


def test_it_is_another_machine_with_a_camera(results: dict[str, dict[str, object]]) -> None:
    assert results["machine"]["arch"] == "aarch64"
    assert "YUYV" in results["machine"]["formats"]
    assert results["machine"]["chosen"] == "nv12"


@pytest.mark.parametrize("backend", ["opencv", "gi", "gst-launch"])
def test_frames(backend: str, results: dict[str, dict[str, object]]) -> None:
    assert f"read {backend} failed" not in results, results[f"read {backend} failed"]["error"]
    found = results[backend]
    assert found["shapes"] == [[360, 640, 3]]
    assert found["indices"] == list(range(8))
    assert found["clock"] == ("arrival" if backend == "gst-launch" else "camera")
    assert found["in_order"]
    assert found["newest_age_ms"] >= 0
    assert found["spread"] > 150, "vivid shows colour bars"


@pytest.mark.parametrize("backend", ["opencv", "gi", "gst-launch"])
def test_unplugged_and_back(backend: str, results: dict[str, dict[str, object]]) -> None:
    assert f"unplug {backend} failed" not in results, results[f"unplug {backend} failed"]["error"]
    found = results[f"unplug {backend}"]
    assert found["gone"]
    assert found["before"] == [0, 1, 2]
    assert found["reopened"] == 1
    assert len(found["after"]) == 3
    assert any("No such file" in event for event in found["events"])
