"""What the wheel and the source archive contain: everything that is needed, and nothing else."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bisenet_edge import __version__

ROOT = Path(__file__).resolve().parent.parent
DATA_FOLDERS = ("calibration", "deploy", "docker")
INFO = f"bisenet_edge-{__version__}.dist-info"
NEEDED = (
    "bisenet_edge/weights/bisenet-xception39-camvid.safetensors",
    "bisenet_edge/runtime/report/templates/report.html.j2",
    "bisenet_edge/_data/calibration/streets.toml",
    "bisenet_edge/_data/deploy/boards/orin-nano.toml",
    "bisenet_edge/_data/deploy/boards/cpu.toml",
    "bisenet_edge/_data/deploy/install.sh.in",
    "bisenet_edge/_data/deploy/service.sh",
    "bisenet_edge/_data/deploy/verify-and-install.sh",
    "bisenet_edge/_data/deploy/bisenet-edge.env",
    "bisenet_edge/_data/deploy/bundle-readme.txt.in",
    "bisenet_edge/_data/deploy/bisenet-edge.service",
    "bisenet_edge/_data/deploy/remote/job.sh",
    "bisenet_edge/_data/docker/Dockerfile.jetson",
)
USE_INSTALLED = """
import bisenet_edge
from bisenet_edge import boards, resources
print(bisenet_edge.__file__)
print(resources.shipped_checkpoint().is_file(), *(resources.data_folder(n).is_dir() for n in %r))
print(boards.load_board("orin-nano").title)
"""


def files_under(folder: Path) -> set[str]:
    """Paths relative to the repository of all files that belong to it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a wheel and a source archive, built without network."""
    out = tmp_path_factory.mktemp("dist")
    for kind in ("--wheel", "--sdist"):
        command = [sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", str(out), str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    data = {f"bisenet_edge/_data/{name}" for folder in DATA_FOLDERS for name in files_under(ROOT / folder)}
    data.add("bisenet_edge/_data/LICENSE")
    info = {
        f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    assert names == files_under(ROOT / "bisenet_edge") | data | info
    assert set(NEEDED) <= names
    assert {Path(name).parts[0] for name in names} == {"bisenet_edge", INFO}
    assert {Path(name).parts[1] for name in names if name.count("/") > 1 and "info/" not in name} == {
        "_data",
        "cli",
        "delivery",
        "runtime",
        "toolchain",
        "weights",
    }


def test_the_data_folders_hold_no_code():
    assert [
        name for folder in DATA_FOLDERS for name in files_under(ROOT / folder) if name.endswith(".py")
    ] == []


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"{INFO}/METADATA"))
        entry_points = archive.read(f"{INFO}/entry_points.txt").decode()
    assert metadata["Name"] == "bisenet-edge"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert "bisenet-edge = bisenet_edge.cli:main" in entry_points
    base = {line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    # TensorRT comes from JetPack's apt, the tools of developers from [dev].
    for name in ("tensorrt", "jetson", "pytest", "tensorboard"):
        assert not [line for line in base if name in line]
    assert {"train", "tensorrt", "jetson", "mqtt", "dev", "bench"} == set(metadata.get_all("Provides-Extra"))


def test_an_installed_wheel_finds_its_data(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", USE_INSTALLED % (DATA_FOLDERS,)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    where, found, title = done.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert found == "True True True True"
    assert "Orin Nano" in title


def test_the_source_archive_can_be_tested(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    folders = {Path(name).parts[0] for name in names if "/" in name}
    assert folders == {"bisenet_edge", "calibration", "deploy", "docker", "docs", "tests"}
    files = {name for name in names if "/" not in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "PKG-INFO"} <= files
    assert files_under(ROOT / "tests") <= names
    assert not [name for name in names if name.endswith(".pyc")]
