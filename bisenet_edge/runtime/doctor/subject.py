"""What the checks read: the files of a system, and, where it is running, what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Mapping, Optional, Tuple

from bisenet_edge.runtime.doctor.here import Here, look_here
from bisenet_edge.runtime.doctor.packages import installed_packages
from bisenet_edge.runtime.jetson import JetsonInfo, detect, version_of
from bisenet_edge.runtime.sysroot import Sysroot

NOT_FROM_FILES = "only the running machine tells"
_CUDA_FOLDERS = (
    "/usr/local/cuda/targets/*-linux/lib",  # the one that /etc/alternatives chose, before all others
    "/usr/local/cuda/lib64",
    "/usr/local/cuda-*/targets/*-linux/lib",
    "/usr/lib/*-linux-gnu",
)


@dataclass(frozen=True)
class Subject:
    """One machine.

    Attributes:
        files: its files.
        jetson: which Jetson it is; None = none.
        packages: Debian packages that are installed, name -> version.
        here: what the running system says; None for a folder.
        made_for: board that the bundle beside the program was made for; "" = there is none.
    """

    files: Sysroot
    jetson: Optional[JetsonInfo]
    packages: Mapping[str, str] = field(default_factory=dict)
    here: Optional[Here] = None
    made_for: str = ""

    @property
    def gpu(self) -> Optional[Tuple[str, Tuple[int, int]]]:
        """Name and compute capability of the GPU that CUDA opens, else that nvidia-smi shows, if any."""
        if self.here is not None and "name" in self.here.cuda.told:
            major, minor = self.here.cuda.told["capability"]
            return str(self.here.cuda.told["name"]), (int(major), int(minor))
        if self.nvidia_smi:
            version = version_of(self.nvidia_smi[1])
            return self.nvidia_smi[0], (version[0], version[1]) if len(version) > 1 else (0, 0)
        return None

    @property
    def nvidia_smi(self) -> List[str]:
        """Name, compute capability and driver of a discrete NVIDIA GPU; empty without one."""
        answer = self.here.tools.get("nvidia-smi", "") if self.here and not self.jetson else ""
        words = [word.strip() for word in answer.splitlines()[0].split(",")] if answer.strip() else []
        return words if len(words) == 3 else []

    @property
    def python(self) -> str:
        """The interpreter, as a command."""
        return self.here.python if self.here else "python3"

    def pip(self, arguments: str) -> str:
        """The interpreter's pip, as a command: "install openvino". Ubuntu 24.04's wants to be told twice."""
        managed = self.files.glob("/usr/lib/python3*/EXTERNALLY-MANAGED")
        own = self.here is not None and (self.here.venv or not self.here.python.startswith("/usr/bin/"))
        force = " --break-system-packages" if managed and not own else ""
        return f"{self.python} -m pip {arguments}{force}"


def subject_of(root: Path, made_for: str = "") -> Subject:
    """Gather what there is to read of the system below `root`; "/" is this running machine."""
    files = Sysroot(root)
    here = look_here(files) if files.live else None
    return Subject(files, detect(root), installed_packages(files), here, made_for)


def cuda_libraries(files: Sysroot) -> List[str]:
    """CUDA runtime libraries of a system, the default one first."""
    found = [name for folder in _CUDA_FOLDERS for name in files.glob(f"{folder}/libcudart.so.*")]
    return list(dict.fromkeys(found))
