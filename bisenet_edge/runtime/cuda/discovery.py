"""Which libcudart to use: found in the process, in CUDA's folders, by the loader, or in pip's wheels."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from ctypes import byref, c_int
from pathlib import Path
from typing import Iterator, List, Optional

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import symbols
from bisenet_edge.runtime.cuda.library import Cudart

LIBRARY_VARIABLE = "BISENET_EDGE_CUDART"
"""Environment variable: path of the one libcudart to use, nothing else is tried."""

SONAMES = {13: "libcudart.so.13", 12: "libcudart.so.12", 11: "libcudart.so.11.0"}
"""Major -> file, the first choice first."""

WHEEL_FOLDERS = ("cu13/lib", "cuda_runtime/lib")
"""Where the wheels nvidia-cuda-runtime and nvidia-cuda-runtime-cu11, -cu12 put it, under `nvidia/`."""

FIX = "on a Jetson: sudo apt install nvidia-jetpack; on a PC: pip install nvidia-cuda-runtime-cu12"


def find_cudart() -> Cudart:
    """The newest libcudart that the driver serves; one that the process has loaded comes first.

    Raises:
        BackendError: none is found, or none that can be loaded; the one that `BISENET_EDGE_CUDART` names
            cannot be used.
        CudaError: the driver is missing, or older than every libcudart found.
    """
    refusal: Optional[BackendError] = None
    unloadable: List[str] = []
    for path in _candidates():
        try:
            library = _load(path)
        except OSError as error:
            if Path(path).is_file():
                unloadable.append(f"{path} ({error})")
            continue
        try:
            cudart = Cudart(library, path)
            code = cudart.code("cudaGetDeviceCount", byref(c_int()))
            if code != symbols.INSUFFICIENT_DRIVER:
                return cudart
            # pip may have brought a newer library than the driver serves, beside JetPack's own.
            refusal = refusal or cudart.failure("cudaGetDeviceCount", code)
        except BackendError as error:
            refusal = refusal or error
    raise refusal or _not_found(unloadable)


def _load(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)


def _candidates() -> Iterator[str]:
    told = os.environ.get(LIBRARY_VARIABLE)
    if told:
        yield told
        return
    yield from loaded_libraries()
    for soname in SONAMES.values():
        yield from _files(_cuda_folders(), soname)
        yield soname  # wherever the loader finds it
        yield from _files(wheel_folders(), soname)


def _files(folders: List[Path], name: str) -> List[str]:
    return [str(folder / name) for folder in folders if (folder / name).is_file()]


def loaded_libraries(maps: Path = Path("/proc/self/maps")) -> List[str]:
    """Paths of the libcudart that this process has loaded (torch does), newest major first.

    Args:
        maps: the kernel's list of mapped files.
    """
    try:
        text = maps.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # Some wheels of torch carry libcudart-d0da41ae.so.11.0.
    found = set(re.findall(r"(/\S*/libcudart(?:-\w+)?\.so\.(\d+)\S*)$", text, re.MULTILINE))
    known = [(int(major), path) for path, major in found if int(major) in SONAMES]
    return [path for _, path in sorted(known, reverse=True)]


def _cuda_folders() -> List[Path]:
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    return [Path(home) / "lib64" for home in homes if home]


def wheel_folders() -> List[Path]:
    """Folders where NVIDIA's wheels have put libcudart, as far as they are installed."""
    spec = importlib.util.find_spec("nvidia")  # a folder of many wheels; nothing is imported
    roots = list(spec.submodule_search_locations or ()) if spec is not None else []
    return [Path(root) / folder for root in roots for folder in WHEEL_FOLDERS]


def _not_found(unloadable: List[str]) -> BackendError:
    told = os.environ.get(LIBRARY_VARIABLE)
    if told:
        return BackendError(
            f"the CUDA runtime library that {LIBRARY_VARIABLE} names cannot be loaded",
            got=", ".join(unloadable) or f"{told} (no such file)",
            expected=" or ".join(SONAMES.values()),
            fix=f"unset {LIBRARY_VARIABLE}",
        )
    folders = [str(folder) for folder in (*_cuda_folders(), *wheel_folders())]
    return BackendError(
        "no CUDA runtime library",
        got="found but not loadable: " + ", ".join(unloadable) if unloadable else "none",
        expected=f"{' or '.join(SONAMES.values())} in the loader's path or in {', '.join(folders)}",
        fix=FIX,
    )
