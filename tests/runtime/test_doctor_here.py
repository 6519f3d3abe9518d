"""The parts of the doctor that really look: at this process, at a virtual environment, at a CUDA library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cudart_double import CudartDouble
from sysroots import make_jetson
from test_doctor import ABSENT, checks_of, here_of

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime import doctor
from bisenet_edge.runtime.cuda import CudaRuntime
from bisenet_edge.runtime.cuda.library import Cudart
from bisenet_edge.runtime.doctor import here
from bisenet_edge.runtime.doctor.here import MODULES, Probe, look_here, probe_module
from bisenet_edge.runtime.sysroot import Sysroot

PACKAGE = Path(doctor.__file__).parents[3]


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
        "here.MODULES = (); found = here.look_here(Sysroot()); print(found.venv, found.sees_system)"
    )

    def look():
        # The package is imported from where this test has it; it needs nothing that the environment lacks.
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
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
    here = look_here(files)
    assert set(here.modules) == set(MODULES)
    assert here.modules["numpy"].works
    assert here.python == sys.executable
    assert here.disk_free_mb > 0
    assert here.user


def test_the_gpu_is_opened_as_the_engine_opens_it(tmp_path):
    """Without one, what CUDA refuses comes with its reason and its remedy."""
    cuda = look_here(Sysroot()).cuda
    assert cuda.error == ""
    try:
        with CudaRuntime.open() as opened:
            assert cuda.told["name"] == opened.device.name
    except BackendError as refused:
        # Not the path of the library: which of several is found may differ between two processes.
        assert cuda.told["refusal"].partition(":")[0] == refused.what
        assert cuda.told["fix"] == refused.fix


@pytest.mark.parametrize("capability", [(8, 7), (5, 3)])
def test_an_open_gpu_tells_what_it_is_double(monkeypatch, capsys, tmp_path, capability):
    double = CudartDouble(12, integrated=True, compute_capability=capability, name="Orin", driver=(13, 0))
    monkeypatch.setattr(CudaRuntime, "open", classmethod(lambda cls: cls(Cudart(double))))
    monkeypatch.setattr(sys, "argv", ["-c", str(PACKAGE)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(here._PROBE_CUDA, {})
    told = json.loads(capsys.readouterr().out)
    tree = make_jetson(tmp_path, "orin-nano-8gb", "36.4.3")
    checks = checks_of(tree, here_of("36.4.3", cuda=Probe(told=told)))
    assert checks["CUDA"].found == "Orin: runtime 12.6, driver for 13.0"
    assert checks["INT8"].status == ("ok" if capability == (8, 7) else "problem")
