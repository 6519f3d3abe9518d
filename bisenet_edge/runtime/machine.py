"""The machine a measurement was made on: a latency without it means nothing."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List

PACKAGES = ("numpy", "opencv-python-headless", "opencv-python", "openvino", "onnxruntime", "tensorrt")
INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
"""CPU flags of INT8 dot products, x86 and ARM: they decide what INT8 is worth (AVX2 has none)."""


def describe_machine() -> Dict[str, Any]:
    """Describe this machine, in plain JSON values.

    Returns:
        board (a Jetson's model name, else ""), cpu, architecture, cores (that this process may use),
        memory_mb (2^20 bytes), int8_instructions, system, python, packages (name -> version, installed
        engines and array packages only). What the system does not tell is "" or 0.
    """
    cpu = _read("/proc/cpuinfo")
    return {
        # Only boards (a Jetson, a Raspberry Pi) have a device tree.
        "board": _read("/proc/device-tree/model").rstrip("\0\n"),
        "cpu": _field(cpu, "model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": usable_cores(),
        "memory_mb": _memory_mb(),
        "int8_instructions": int8_instructions(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": _versions(),
    }


def int8_instructions() -> List[str]:
    """Those of `INT8_FLAGS` that this CPU has."""
    cpu = _read("/proc/cpuinfo")
    flags = set((_field(cpu, "flags") or _field(cpu, "Features")).split())
    return [flag for flag in INT8_FLAGS if flag in flags]


def usable_cores() -> int:
    """CPU cores that this process may run on: a container or taskset may leave fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> Dict[str, str]:
    found: Dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _memory_mb() -> int:
    words: List[str] = _field(_read("/proc/meminfo"), "MemTotal").split()
    return int(words[0]) // 1024 if words else 0


def _field(text: str, name: str) -> str:
    """Value of the first line "name : value"."""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""


def _read(path: str) -> str:
    """Text of a file of the system, "" where this system has none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
