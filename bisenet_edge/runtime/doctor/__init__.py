"""Is this machine fit for the job, and if not, which command mends it?

    device    which Jetson, which JetPack, INT8, CUDA      tensorrt  libraries and Python bindings
    python    Python, OpenCV, inference engine             camera    GStreamer, cameras, permission
    speed     power mode, clocks, heat                     room      memory, swap, disk

Each check is a function of a `Subject` (files below a root, and what the running system says), so that every
board can be looked at from a folder of its files. Nothing is changed, and nothing needs root.
"""

from __future__ import annotations

from pathlib import Path

from bisenet_edge.errors import UsageError
from bisenet_edge.runtime.doctor.camera import camera_checks
from bisenet_edge.runtime.doctor.check import Check, Diagnosis, as_text
from bisenet_edge.runtime.doctor.device import device_checks
from bisenet_edge.runtime.doctor.python import python_checks
from bisenet_edge.runtime.doctor.room import room_checks
from bisenet_edge.runtime.doctor.speed import speed_checks
from bisenet_edge.runtime.doctor.subject import Subject, subject_of
from bisenet_edge.runtime.doctor.tensorrt import tensorrt_checks

__all__ = ["Check", "Diagnosis", "as_text", "diagnose", "examine", "next_step"]


def examine(root: Path = Path("/"), made_for: str = "") -> Diagnosis:
    """Check the system below `root`; "/" is this running machine.

    Args:
        root: folder that holds a system's files.
        made_for: board that the bundle beside the program was made for; "" = there is none.

    Raises:
        UsageError: `root` is no folder.
    """
    if not root.is_dir():
        raise UsageError(
            "no such folder", got=str(root), expected="a folder that holds etc, proc, sys and usr"
        )
    return diagnose(subject_of(root, made_for))


def diagnose(subject: Subject) -> Diagnosis:
    """Run every check."""
    groups = (device_checks, tensorrt_checks, python_checks, camera_checks, speed_checks, room_checks)
    checks = tuple(check for group in groups for check in group(subject))
    return Diagnosis(str(subject.files.root), subject.jetson, checks)


def next_step(diagnosis: Diagnosis, healthy: str) -> str:
    """The command to paste next: what mends the first problem, else `healthy`."""
    return diagnosis.problems[0].remedy if diagnosis.problems else healthy
