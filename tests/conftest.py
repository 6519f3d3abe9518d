"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

# Before anything imports torch: spinning OpenMP threads starve every other process on a small machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker ignores Ctrl-C, which some tests send themselves.
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import pytest
from gpu_bench import bench  # noqa: F401 (a fixture)

SMALL = "96x64"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BISENET_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def small_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real INT8 artifact of the shipped checkpoint at 96x64, made once; do not change it."""
    from bisenet_edge.cli.app import run

    folder = tmp_path_factory.mktemp("exported") / f"bisenet-xception39-{SMALL}-int8"
    few = ["--data", f"synthetic:?count=8&size={SMALL}", "--count", "4"]
    assert run(["export", "--int8", "--res", SMALL, *few, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    folder = tmp_path / "workplace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def with_artifact(workplace: Path, small_artifact: Path) -> Path:
    """A copy of `small_artifact` under the current folder, where `export` would have put it."""
    folder = workplace / "artifacts" / small_artifact.name
    shutil.copytree(small_artifact, folder)
    return folder


@pytest.fixture
def bisenet_edge(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run one command in this process: words -> (exit code, stdout, stderr)."""
    from bisenet_edge.cli.app import run

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call
