"""What only a running system tells: this Python, this user, what can be imported, what tools answer.

Imports are tried in processes of their own: a broken engine or an OpenCV for another CPU ends a process
with a signal, and a doctor must not die of what it looks for.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple

import bisenet_edge
from bisenet_edge.runtime.jetson import Version
from bisenet_edge.runtime.sysroot import Sysroot

MODULES = ("numpy", "cv2", "tensorrt", "openvino", "onnxruntime", "onnx", "gi")
ELEMENTS = ("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder", "nvv4l2camerasrc")
_TIMEOUT_S = 60  # the first import on an SD card; GStreamer's first scan of its plugins

# Run by the Python that runs this: says what an import gives, as JSON on the last line.
_PROBE = """
import importlib, json, sys
sys.path[:] = [p for p in sys.path if p not in ("", ".")]
name, told = sys.argv[1], {}
module = importlib.import_module(name)
told["version"] = str(getattr(module, "__version__", ""))
told["file"] = str(getattr(module, "__file__", ""))
if name == "cv2":
    lines = [line.strip() for line in module.getBuildInformation().splitlines()]
    told["gstreamer"] = next((line[10:].strip() for line in lines if line.startswith("GStreamer:")), "")
if name == "gi":
    module.require_version("Gst", "1.0")
    from gi.repository import Gst
    told["version"] = Gst.version_string()
print(json.dumps(told))
"""

# Opens the GPU as the engine does. The argument is where the package lies: a folder, or the bundle's zip.
_PROBE_CUDA = """
import json, sys
sys.path.insert(0, sys.argv[1])
from bisenet_edge.errors import BisenetEdgeError
from bisenet_edge.runtime.cuda import CudaRuntime
try:
    with CudaRuntime.open() as cuda:
        told = {"name": cuda.device.name, "capability": cuda.device.compute_capability}
        told.update(library=cuda.library, runtime=cuda.versions[0], driver=cuda.versions[1])
except BisenetEdgeError as error:
    told = {"refusal": f"{error.what}: {error.got}", "fix": error.fix}
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Probe:
    """What trying something gave: `error` is "" when it worked; `told` is what it said."""

    error: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def works(self) -> bool:
        return not self.error

    @property
    def version(self) -> str:
        """Without what a build adds: "2026.4.1-22982-e213a147257" is "2026.4.1"."""
        return str(self.told.get("version", "")).partition("-")[0]


@dataclass(frozen=True)
class Here:
    """A running system, as this process sees it.

    Attributes:
        python: path of the interpreter.
        python_version: (3, 10).
        venv: folder of the virtual environment that it belongs to; "" = it belongs to the system.
        sees_system: packages of the system's Python can be imported.
        user: name; "root" may open everything.
        groups: names of the user's groups.
        can_open: camera nodes ("/dev/video0") that the user may read and write.
        modules: name -> what importing it gave, for each of `MODULES`.
        elements: GStreamer elements of `ELEMENTS` that load; None = there is no gst-inspect-1.0.
        cuda: what opening the GPU gave: "name", "capability", "library", "runtime" and "driver"; or "refusal"
            and "fix" where CUDA refuses.
        tools: what "nvpmodel" (-q) and "nvidia-smi" (name, compute capability, driver) print; absent = no
            such tool.
        disk_free_mb: where this process stands (2^20 bytes).
    """

    python: str
    python_version: Version
    venv: str = ""
    sees_system: bool = True
    user: str = ""
    groups: FrozenSet[str] = frozenset()
    can_open: FrozenSet[str] = frozenset()
    modules: Mapping[str, Probe] = field(default_factory=dict)
    elements: Optional[FrozenSet[str]] = None
    cuda: Probe = field(default_factory=Probe)
    tools: Mapping[str, str] = field(default_factory=dict)
    disk_free_mb: int = 0


def look_here(files: Sysroot) -> Here:
    """Look at this process and its system. Takes a few seconds: eight trials, each in a process of its own.

    Args:
        files: this machine's.
    """
    venv = sys.prefix if sys.prefix != sys.base_prefix else ""
    settings = files.text(f"{venv}/pyvenv.cfg").lower().replace(" ", "") if venv else ""
    return Here(
        python=sys.executable,
        python_version=tuple(sys.version_info[:2]),
        venv=venv,
        sees_system=not venv or "include-system-site-packages=true" in settings,
        user=_user(),
        groups=frozenset(_groups()),
        can_open=frozenset(node for node in files.glob("/dev/video*") if os.access(node, os.R_OK | os.W_OK)),
        modules={name: probe_module(name) for name in MODULES},
        elements=_elements(),
        cuda=_probe([*_python(), _PROBE_CUDA, str(Path(bisenet_edge.__file__).parents[1])]),
        tools=dict(_tools()),
        disk_free_mb=shutil.disk_usage(str(Path.cwd())).free // 2**20,
    )


def probe_module(name: str) -> Probe:
    """Import a module in a process of its own."""
    return _probe([*_python(), _PROBE, name])


def _python() -> List[str]:
    """The interpreter, as this process was started: a service's ignores what is in somebody's home (-s)."""
    return [sys.executable, *(["-s"] if sys.flags.no_user_site else []), "-c"]


def _probe(command: List[str]) -> Probe:
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return Probe(error=f"no answer within {_TIMEOUT_S} s")
    if done.returncode < 0:
        return Probe(error=f"the process was ended by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        return Probe(error=(done.stderr.strip().splitlines() or ["it failed without a word"])[-1])
    return Probe(told=json.loads(done.stdout.strip().splitlines()[-1]))


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number without a name
        return str(os.getuid())


def _groups() -> List[str]:
    names = []
    for number in {*os.getgroups(), os.getegid()}:
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            names.append(str(number))
    return names


def _elements() -> Optional[FrozenSet[str]]:
    inspect = shutil.which("gst-inspect-1.0")
    if inspect is None:
        return None
    return frozenset(name for name in ELEMENTS if _output([inspect, "--exists", name]) is not None)


def _tools() -> List[Tuple[str, str]]:
    questions = {
        "nvpmodel": ["-q"],
        "nvidia-smi": ["--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"],
    }
    answers: Dict[str, Optional[str]] = {}
    for name, arguments in questions.items():
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        answers[name] = _output([path, *arguments]) if path else None
    return [(name, text) for name, text in answers.items() if text is not None]


def _output(command: List[str]) -> Optional[str]:
    """What a tool prints; None when it fails."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
