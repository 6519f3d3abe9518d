"""The parts of the doctor that really look: at this process, at a virtual environment, at a CUDA library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sysroots import make_jetson
from test_doctor import ABSENT, checks_of, here_of

from bisenet_edge.runtime import doctor
from bisenet_edge.runtime.doctor.here import MODULES, look_here, probe_module
from bisenet_edge.runtime.sysroot import Sysroot


def write_module(folder, name, text):
    (folder / f"{name}.py").write_text(text)


def test_a_module_is_tried_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_module(tmp_path, "fine", "__version__ = '10.3.0'\nprint('a banner')\n")
    write_module(tmp_path, "crashes", "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    write_module(
        tmp_path, "broken", "raise ImportError('libnvinfer.so.10: cannot open shared object file')\n"
    )
    write_module(tmp_path, "silent", "raise SystemExit(3)\n")
    assert (probe_module("fine").works, probe_module("fine").version) == (True, "10.3.0")
    assert probe_module("crashes").error == "the process was ended by SIGILL"
    assert probe_module("broken").error == "ImportError: libnvinfer.so.10: cannot open shared object file"
    assert probe_module("silent").error == "it failed without a word"
    assert (
        probe_module("nowhere_to_be_found").error
        == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    )


def test_pips_opencv_here_has_no_gstreamer():
    probe = probe_module("cv2")
    assert probe.works
    # The same build information that OpenCV gives in this process.
    import cv2

    line = next(
        line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GStreamer:")
    )
    assert probe.told["gstreamer"] == line.partition(":")[2].strip()
    assert probe.version == cv2.__version__


def test_a_virtual_environment_is_seen_and_its_remedy_mends_it(tmp_path):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    code = (
        "from bisenet_edge.runtime.doctor import here\n"
        "from bisenet_edge.runtime.sysroot import Sysroot\n"
        "here.MODULES = (); found = here.look_here(Sysroot(), []); print(found.venv, found.sees_system)"
    )

    def look():
        # The package is imported from where this test has it; it needs nothing that the environment lacks.
        environment = {**os.environ, "PYTHONPATH": str(Path(doctor.__file__).parents[3])}
        command = [str(venv / "bin" / "python"), "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stdout.split()

    assert look() == [str(venv), "False"]
    here = here_of("36.4.3", venv=str(venv), sees_system=False, modules={"tensorrt": ABSENT["tensorrt"]})
    tree = make_jetson(tmp_path / "root", "orin-nano-8gb", "36.4.3")
    subprocess.run(checks_of(tree, here)["python3-libnvinfer"].remedy, shell=True, check=True)
    assert look() == [str(venv), "True"]


def test_this_machine_is_looked_at():
    files = Sysroot()
    here = look_here(files, [])
    assert set(here.modules) == set(MODULES)
    assert here.modules["numpy"].works
    assert here.python == sys.executable
    assert (here.disk_free_mb > 0, here.cuda) == (True, None)
    assert here.user


@pytest.fixture
def cuda_library_double(tmp_path):
    """A library with libcudart's four functions, compiled here: no CUDA is on this machine."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for a double of libcudart: sudo apt-get install -y gcc")

    def build(error: int):
        source = tmp_path / f"cudart{error}.c"
        source.write_text(
            "int cudaRuntimeGetVersion(int *v) { *v = 12060; return 0; }\n"
            "int cudaDriverGetVersion(int *v) { *v = 12040; return 0; }\n"
            f"int cudaGetDeviceCount(int *v) {{ *v = {0 if error else 1}; return {error}; }}\n"
            "int cudaDeviceGetAttribute(int *v, int which, int device)"
            " { *v = which == 75 ? 8 : which == 76 ? 7 : -1; return 0; }\n"
        )
        library = source.with_suffix(".so")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        return str(library)

    return build


def test_the_cuda_library_is_asked_double(cuda_library_double, monkeypatch, tmp_path):
    monkeypatch.setattr("bisenet_edge.runtime.doctor.here.MODULES", ())
    tree = make_jetson(tmp_path / "root", "orin-nano-8gb", "36.4.3")
    cuda = look_here(Sysroot(), [cuda_library_double(0), "/never/asked.so"]).cuda
    assert cuda.told["capability"] == "8.7"
    assert "driver for CUDA 12.4" in checks_of(tree, here_of("36.4.3", cuda=cuda))["CUDA"].found
    cuda = look_here(Sysroot(), [cuda_library_double(35)]).cuda
    assert "CUDA error 35" in checks_of(tree, here_of("36.4.3", cuda=cuda))["CUDA"].found
    missing = look_here(Sysroot(), ["/nowhere/libcudart.so.12"]).cuda
    assert "libcudart.so.12" in missing.error
