"""The device program under the Pythons of JetPack 5, 6 and 7, with the oldest packages that fit each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from street import FRAMES, read_masks

from bisenet_edge.metrics import agreement

pytestmark = pytest.mark.emulated
MIN_AGREEMENT = 0.99


@dataclass(frozen=True)
class Level:
    """A Python and what is installed for it.

    Attributes:
        version: as in the name of its executable.
        packages: ONNX Runtime 1.21 to 1.24 compute INT8 wrongly on CPUs with AMX, and newer ones are not
            made for Python 3.8 and 3.10: hence the old ones.
    """

    jetpack: int
    version: str
    packages: tuple[str, ...]


LEVELS = (
    Level(
        5, "3.8", ("numpy==1.24.4", "opencv-python-headless==4.8.1.78", "onnxruntime==1.19.2", "onnx==1.16.2")
    ),
    Level(6, "3.10", ("numpy==1.26.4", "opencv-python-headless==4.11.0.86", "onnxruntime==1.20.1", "onnx<2")),
    Level(7, "3.12", ("numpy<3", "opencv-python-headless<6", "onnxruntime>=1.25,<2", "onnx<2")),
)


def find_python(version: str) -> str:
    """An executable of this version: on the path or one of pyenv's."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (shutil.which(f"python{version}"), *versions.glob(f"{version}.*/bin/python")):
        # pyenv puts a name on the path that refuses to run unless its version is chosen.
        if (
            candidate
            and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            return str(candidate)
    pytest.skip(f"Python {version} is not here: pyenv install {version}   (or uv python install {version})")


@pytest.fixture(
    scope="module", params=LEVELS, ids=lambda level: f"jetpack{level.jetpack}-python{level.version}"
)
def device(request, tmp_path_factory, release):
    """Runs the device program with that Python: words -> completed process."""
    level = request.param
    folder = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([find_python(level.version), "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"]
    subprocess.run([*pip, *level.packages], check=True, timeout=600)
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": ""}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(python), "-s", str(release / "bisenet-edge.pyz"), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=folder, timeout=600
        )

    yield run
    shutil.rmtree(folder)


def test_the_selftest_passes(device):
    for precision in ("int8", "fp32"):
        for backend in ("onnxruntime", "reference"):
            words = ("selftest", "--json", "--backend", backend, "--precision", precision)
            done = device(*words)
            assert done.returncode == 0, done.stdout + done.stderr
            result = json.loads(done.stdout)
            print(backend, precision, result["agreements"])
            assert result["passed"]
            if precision == "fp32":
                assert min(result["agreements"]) >= MIN_AGREEMENT


def test_pictures_become_the_masks_of_this_python(device, release, street, tmp_path):
    """FP32 masks of an old ONNX Runtime and of the newest."""
    words = ("run", "--backend", "onnxruntime", "--precision", "fp32", str(street / "frames"))
    done = device(*words, f"{tmp_path / 'there'}/")
    assert done.returncode == 0, done.stdout + done.stderr
    program = [sys.executable, str(release / "bisenet-edge.pyz")]
    subprocess.run([*program, *words, f"{tmp_path / 'here'}/"], check=True)
    there, here = read_masks(tmp_path / "there", FRAMES), read_masks(tmp_path / "here", FRAMES)
    assert min(agreement(a, b) for a, b in zip(there, here)) >= MIN_AGREEMENT


def test_a_video_becomes_a_video(device, street, tmp_path):
    overlay = tmp_path / "overlay.mp4"
    done = device("run", "--backend", "onnxruntime", str(street / "street.mp4"), str(overlay))
    assert done.returncode == 0, done.stdout + done.stderr
    assert overlay.stat().st_size > 1000


def test_doctor_and_info_tell_what_is_there(device):
    done = device("doctor")
    print(done.stdout)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Python" in done.stdout
    info = json.loads(device("info", "--json").stdout)
    assert info["engines"]["onnxruntime"]
