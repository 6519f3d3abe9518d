"""Python, OpenCV, and the inference engine where no NVIDIA GPU computes."""

from __future__ import annotations

from typing import Dict, List

from bisenet_edge.runtime.doctor.check import OK, PROBLEM, UNKNOWN, WARNING, Check
from bisenet_edge.runtime.doctor.here import Here, Probe
from bisenet_edge.runtime.doctor.subject import NOT_FROM_FILES, Subject
from bisenet_edge.runtime.jetson import version_of, version_text

OLDEST_PYTHON = (3, 8)
OLDEST_OPENCV = (4, 5)  # INTER_NEAREST_EXACT, with which masks are scaled
_PIP_OPENCV = "/usr/local/lib/python3*/dist-packages/opencv_*.dist-info"
_APT_OPENCV = ("python3-opencv", "libopencv-python")
# 1.21 to 1.24 compute INT8 wrongly on CPUs with AMX (microsoft/onnxruntime, issue 26324).
_WRONG_ON_AMX = ((1, 21), (1, 25))
_CPU_ENGINES = ("openvino", "onnxruntime")
_SEE_ABOVE = "as under python3-libnvinfer above"


def python_checks(subject: Subject) -> List[Check]:
    """Python, OpenCV with numpy, engine."""
    return [_python(subject), _opencv(subject), _engine(subject)]


def _python(subject: Subject) -> Check:
    name, here = "Python", subject.here
    if here is None:
        version = version_of(subject.files.path("/usr/bin/python3").name[len("python") :])
        found = f"{version_text(version)} of the system"
        if len(version) < 2:
            return Check(name, UNKNOWN, "no /usr/bin/python3 that says its version")
    else:
        version, found = here.python_version, f"{version_text(here.python_version)}, {here.python}"
        if here.venv:
            found += (
                ", a virtual environment " + ("with" if here.sees_system else "without") + " system packages"
            )
    if version < OLDEST_PYTHON:
        remedy = "flash JetPack 5.1 or newer" if subject.jetson else "install Python 3.10 or newer"
        return Check(name, PROBLEM, f"{found}: {version_text(OLDEST_PYTHON)} is the oldest that does", remedy)
    return Check(name, OK, found)


def _opencv(subject: Subject) -> Check:
    name, here = "OpenCV", subject.here
    if here is None:
        return _opencv_files(subject)
    install = "sudo apt-get install -y python3-opencv python3-numpy"
    if not subject.jetson:
        install = subject.pip("install opencv-python-headless")
    for module in ("numpy", "cv2"):
        probe = here.modules.get(module, Probe("not tried"))
        if not probe.works:
            if "multiarray" in probe.error or "NumPy 1" in probe.error:
                # apt's OpenCV is built for numpy 1, and pip has put numpy 2 before it.
                install = subject.pip("install 'numpy<2'")
            return Check(name, PROBLEM, f"{module}: {probe.error}", install)
    cv2 = here.modules["cv2"]
    gstreamer = str(cv2.told.get("gstreamer", "")) or "not said"
    found = f"{cv2.version}, GStreamer: {gstreamer}"
    if version_of(cv2.version) < OLDEST_OPENCV:
        return Check(
            name, PROBLEM, f"{found}; {version_text(OLDEST_OPENCV)} is the oldest that does", install
        )
    if subject.jetson and not gstreamer.upper().startswith("YES"):
        return Check(name, WARNING, f"{found} (pip's has none)", _apt_opencv(subject))
    return Check(name, OK, found)


def _apt_opencv(subject: Subject) -> str:
    pip = subject.pip("uninstall -y opencv-python opencv-python-headless opencv-contrib-python")
    return f"{pip}; sudo apt-get install -y python3-opencv"


def _opencv_files(subject: Subject) -> Check:
    name = "OpenCV"
    version = next((subject.packages[p] for p in _APT_OPENCV if p in subject.packages), "")
    pip = subject.files.glob(_PIP_OPENCV)
    if pip and subject.jetson:
        found = f"pip's ({pip[0].rpartition('/')[2]}), without GStreamer"
        return Check(name, WARNING, found + (", hides apt's" if version else ""), _apt_opencv(subject))
    if version or pip:
        return Check(name, OK, f"{version or pip[0]} (whether it has GStreamer: on the machine itself)")
    return Check(name, PROBLEM, "not installed", "sudo apt-get install -y python3-opencv python3-numpy")


def _engine(subject: Subject) -> Check:
    name, here = "engine", subject.here
    if here is None:
        return Check(name, UNKNOWN, NOT_FROM_FILES)
    working = {module: probe.version for module, probe in here.modules.items() if probe.works}
    nvidia = subject.jetson is not None or subject.gpu is not None
    engines = ("tensorrt", *_CPU_ENGINES) if nvidia else _CPU_ENGINES  # without a GPU it computes nothing
    found = ", ".join(f"{engine} {working[engine]}" for engine in engines if engine in working)
    if not found:
        remedy = _SEE_ABOVE if subject.jetson else subject.pip("install openvino")
        return Check(name, PROBLEM, f"no inference engine can be imported{_why(here)}", remedy)
    if subject.jetson and "tensorrt" not in working:
        return Check(name, WARNING, f"{found}: the CPU computes, the GPU is idle", _SEE_ABOVE)
    if found.startswith("onnxruntime"):
        return _onnxruntime_alone(subject, working)
    return Check(name, OK, found)


def _onnxruntime_alone(subject: Subject, working: Dict[str, str]) -> Check:
    """ONNX Runtime is the one engine: it needs `onnx`, and some versions are wrong on some CPUs."""
    version = working["onnxruntime"]
    found = f"onnxruntime {version}"
    if "onnx" not in working:
        found += " without onnx: only --backend reference runs, slowly"
        return Check("engine", WARNING, found, subject.pip("install onnx"))
    wrong = _WRONG_ON_AMX[0] <= version_of(version)[:2] < _WRONG_ON_AMX[1]
    if wrong and "amx_int8" in subject.files.text("/proc/cpuinfo"):
        found += " computes INT8 wrongly on CPUs with AMX"
        return Check("engine", PROBLEM, found, subject.pip("install 'onnxruntime>=1.25'"))
    return Check("engine", OK, found)


def _why(here: Here) -> str:
    """What a broken engine says; an absent one says nothing worth telling."""
    broken = [
        f"{engine}: {here.modules[engine].error}"
        for engine in _CPU_ENGINES
        if engine in here.modules and not here.modules[engine].error.startswith("ModuleNotFoundError")
    ]
    return f" ({'; '.join(broken)})" if broken else ""
