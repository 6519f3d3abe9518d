"""What is deployed in these tests: the shipped network, small, packed as a user would pack it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from street import write_street

SIZE = "320x180"


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped checkpoint as an INT8 artifact; do not change it."""
    from bisenet_edge.cli.app import run

    folder = tmp_path_factory.mktemp("exported") / f"bisenet-xception39-{SIZE}-int8"
    few = ["--data", f"synthetic:?count=8&size={SIZE}", "--count", "4"]
    assert run(["export", "--int8", "--res", SIZE, *few, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def release(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked bundle for a machine without a GPU; do not change it."""
    from bisenet_edge.cli.app import run

    out = tmp_path_factory.mktemp("bundles")
    assert run(["deploy", "jetson", str(artifact), "--board", "cpu", "--out", str(out)]) == 0
    (packed,) = out.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(out, filter="data")
    return out / packed.name[: -len(".tar.gz")]


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few frames of a synthetic street: `frames/` and `street.mp4`."""
    folder = tmp_path_factory.mktemp("street")
    write_street(folder, SIZE)
    folder.chmod(0o755)  # a service reads it as another user
    return folder
