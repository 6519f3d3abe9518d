"""Which Torch-TensorRT goes with which torch, TensorRT and JetPack; checked before anything is imported.

A wrong pair fails while `torch_tensorrt` is imported, with a message about a missing symbol or library. The
ranges are what the wheels themselves require (`tests/data/torch-tensorrt-api/`, a test compares).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
from dataclasses import dataclass
from typing import Any

import torch

from bisenet_edge.errors import BackendError, MissingDependencyError

Version = tuple[int, ...]

ON_DEVICE = "bisenet-edge deploy jetson  (the device builds its engine from the ONNX file, without torch)"


@dataclass(frozen=True)
class Range:
    """Versions from `least` on, before `below`."""

    least: Version
    below: Version

    def __contains__(self, version: Version) -> bool:
        return self.least <= version < self.below

    def __str__(self) -> str:
        return f">={dotted(self.least)},<{dotted(self.below)}"


@dataclass(frozen=True)
class Release:
    """One minor release of Torch-TensorRT.

    Attributes:
        version: the patch whose interface was read; the whole minor release is taken to be like it.
        torch, tensorrt: what it requires.
        jetson_tensorrt: what it requires on a Jetson, from JetPack; None where it does not run on one.
        jetson: JetPack and boards, in words.
        weakly_typed: TensorRT picks FP16 by itself for a float32 network that allows it; from 2.10 on, a
            network runs in the types it is written in.
    """

    version: Version
    torch: Range
    tensorrt: Range
    jetson_tensorrt: Range | None = None
    jetson: str = ""
    weakly_typed: bool = False


RELEASES = (
    # The maintainers' last release for Jetson Orin.
    Release(
        (2, 8, 0),
        Range((2, 8), (2, 9)),
        Range((10, 12), (10, 13)),
        Range((10, 3), (10, 4)),
        "JetPack 6.1 and 6.2",
        weakly_typed=True,
    ),
    Release((2, 9, 0), Range((2, 9), (2, 10)), Range((10, 13), (10, 14)), weakly_typed=True),
    Release((2, 10, 0), Range((2, 10), (2, 11)), Range((10, 14, 1), (10, 15))),
    Release((2, 11, 0), Range((2, 11), (2, 12)), Range((10, 15, 1), (10, 16))),
    # Released for Thor. JetPack 7.2's TensorRT 10.16.2 is in its range on Orin too, where it is not verified.
    Release(
        (2, 12, 1),
        Range((2, 12), (2, 13)),
        Range((10, 16, 1), (10, 17)),
        Range((10, 16, 1), (10, 17)),
        "JetPack 7.2, Thor",
    ),
    # TensorRT 11.0 to 11.3 are not made for JetPack.
    Release((2, 13, 0), Range((2, 13), (2, 14)), Range((11, 0), (11, 1))),
    Release((2, 14, 0), Range((2, 14), (2, 15)), Range((11, 1), (11, 2))),
)


@dataclass(frozen=True)
class Installed:
    """What this machine has.

    Attributes:
        torch: version, as the package says it.
        torch_tensorrt, tensorrt: likewise; "" when it is not installed.
        jetson: whether this is a Jetson.
        architecture: "x86_64", "aarch64".
    """

    torch: str
    torch_tensorrt: str
    tensorrt: str
    jetson: bool
    architecture: str

    @classmethod
    def here(cls) -> Installed:
        """Look around; Torch-TensorRT is not imported."""
        return cls(
            torch=str(torch.__version__),
            torch_tensorrt=_version_of("torch-tensorrt"),
            tensorrt=_tensorrt_version(),
            # As the wheels decide it.
            jetson=platform.machine() == "aarch64" and "tegra" in platform.release(),
            architecture=platform.machine(),
        )


def parse(version: str) -> Version:
    """Turn "2.13.0+cu130" into (2, 13, 0): the numbers before anything else."""
    return tuple(int(n) for n in re.findall(r"\d+", re.split(r"[^0-9.]", version, maxsplit=1)[0]))


def dotted(version: Version) -> str:
    return ".".join(map(str, version))


def release_for(installed: Installed) -> Release:
    """The release that is installed, when everything fits it.

    Raises:
        MissingDependencyError: no Torch-TensorRT, or one that does not go with this torch or TensorRT.
        BackendError: none runs on this machine.
    """
    if installed.jetson and installed.tensorrt:
        _refuse_jetpack_without(installed)
    fix = _install(installed)
    if not installed.torch_tensorrt:
        raise MissingDependencyError("Torch-TensorRT is not installed", got=_summary(installed), fix=fix)
    found = [r for r in RELEASES if parse(installed.torch_tensorrt)[:2] == r.version[:2]]
    if not found:
        raise MissingDependencyError(
            "this version of Torch-TensorRT is not known",
            got=f"torch-tensorrt {installed.torch_tensorrt}",
            expected=", ".join(dotted(r.version[:2]) for r in RELEASES),
            fix=fix,
        )
    (release,) = found
    tensorrt = release.jetson_tensorrt if installed.jetson else release.tensorrt
    fits = tensorrt is not None and parse(installed.tensorrt) in tensorrt
    if parse(installed.torch) not in release.torch or not fits:
        raise MissingDependencyError(
            "torch, Torch-TensorRT and TensorRT do not go together",
            got=_summary(installed),
            expected=f"with torch-tensorrt {installed.torch_tensorrt}: torch {release.torch}, TensorRT "
            f"{tensorrt or 'of no JetPack'}",
            fix=fix,
        )
    return release


def plan_note(installed: Installed) -> str:
    """What to say when a plan is made on a machine that is no Jetson; "" on one."""
    if installed.jetson:
        return ""
    return (
        f"this plan runs on this kind of GPU with TensorRT {installed.tensorrt} ({installed.architecture}), "
        f"and never on a Jetson. For a Jetson: {ON_DEVICE}"
    )


def _refuse_jetpack_without(installed: Installed) -> None:
    version = parse(installed.tensorrt)
    if any(r.jetson_tensorrt and version in r.jetson_tensorrt for r in RELEASES):
        return
    supported = "; ".join(
        f"TensorRT {r.jetson_tensorrt} ({r.jetson}) with torch-tensorrt {dotted(r.version)}"
        for r in RELEASES
        if r.jetson_tensorrt
    )
    raise BackendError(
        "there is no Torch-TensorRT for this JetPack" + (" (5 or older)" if version < (8, 6) else ""),
        got=_summary(installed),
        expected=supported,
        fix=ON_DEVICE,
    )


def _install(installed: Installed) -> str:
    """The pip line for the release that fits what cannot be changed: JetPack's TensorRT, else torch."""
    if installed.jetson:
        # _refuse_jetpack_without has let through only what a release fits.
        version = parse(installed.tensorrt)
        fits = [r for r in RELEASES if r.jetson_tensorrt and (not version or version in r.jetson_tensorrt)]
        pins = f"'torch{fits[0].torch}' 'torch-tensorrt=={dotted(fits[0].version[:2])}.*'"
        return f"pip install {pins}  (from NVIDIA's package index for Jetson)"
    fits = [r for r in RELEASES if parse(installed.torch) in r.torch]
    release = fits[0] if fits else RELEASES[-1]
    pins = f"'torch-tensorrt=={dotted(release.version[:2])}.*'"
    return f"pip install {pins}" if fits else f"pip install 'torch{release.torch}' {pins}"


def _summary(installed: Installed) -> str:
    parts = [
        f"torch {installed.torch}",
        f"torch-tensorrt {installed.torch_tensorrt or 'absent'}",
        f"TensorRT {installed.tensorrt or 'absent'}",
        f"{installed.architecture}{', a Jetson' if installed.jetson else ''}",
    ]
    return ", ".join(parts)


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _tensorrt_version() -> str:
    # The module: JetPack's comes by apt, where the name of the distribution differs between releases.
    try:
        module: Any = importlib.import_module("tensorrt")
    except ImportError:
        return ""
    return str(getattr(module, "__version__", ""))
