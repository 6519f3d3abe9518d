"""What is known of JetPack releases, Jetson chips and modules. What is in no table is unknown, not guessed.

Sources:
- L4T release -> JetPack: NVIDIA's JetPack archive, and the table of jetson-stats (checked against readings of
  devices for 39.2.0, where another table differs).
- TensorRT: the versions of the apt packages `libnvinfer*` as users of each release list them
  (8.5.2-1+cuda11.4, 10.3.0.30-1+cuda12.5, 10.13.3.9-1+cuda13.0, 10.16.2.10-1+cuda13.2); 8.6.2 of JetPack 6.0
  from the name of its local repository; 8.2.1 of JetPack 4.6 from memory of its release notes.
- CUDA, Ubuntu and Python of each: NVIDIA's release notes.
- Compute capability of a chip: the table of jetson-stats, and NVIDIA's list of CUDA GPUs.
- Module part numbers: NVIDIA's Jetson Linux guide and the Linux kernel's device trees.
- INT8: TensorRT reports no fast INT8 on compute capability 5.3 and 6.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

Version = Tuple[int, ...]


@dataclass(frozen=True)
class JetPack:
    """One release.

    Attributes:
        l4t: Jetson Linux release (36, 4, 3).
        name: of the JetPack ("6.2").
        python: of the system, the only one that apt's TensorRT bindings are for.
        cuda: as apt installs it.
        tensorrt: likewise.
        socs: chips that it runs on.
    """

    l4t: Version
    name: str
    python: Version
    cuda: Version
    tensorrt: Version
    socs: Tuple[str, ...]


@dataclass(frozen=True)
class Soc:
    """One chip: name in the device tree, CUDA compute capability, and whether its GPU has fast INT8."""

    name: str
    compute_capability: str
    has_int8: bool


@dataclass(frozen=True)
class Module:
    """One module: part number, name, chip, and its board file in `deploy/boards` ("" = there is none)."""

    part: str
    name: str
    soc: str
    board: str


NANO, TX2, XAVIER, ORIN, THOR = "tegra210", "tegra186", "tegra194", "tegra234", "tegra264"

SOCS = (
    Soc(NANO, "5.3", has_int8=False),
    Soc(TX2, "6.2", has_int8=False),
    Soc(XAVIER, "7.2", has_int8=True),
    Soc(ORIN, "8.7", has_int8=True),
    Soc(THOR, "11.0", has_int8=True),
)


def _jetpacks(
    names: str, python: Version, cuda: Version, tensorrt: Version, *socs: str
) -> Tuple[JetPack, ...]:
    """Releases that differ in name only: "35.2.1=5.1 35.3.1=5.1.1"."""
    pairs = [pair.split("=") for pair in names.split()]
    return tuple(
        JetPack(tuple(map(int, l4t.split("."))), name, python, cuda, tensorrt, socs) for l4t, name in pairs
    )


JETPACKS = (
    *_jetpacks(
        "32.7.1=4.6.1 32.7.2=4.6.2 32.7.3=4.6.3 32.7.4=4.6.4 32.7.5=4.6.5 32.7.6=4.6.6",
        (3, 6),
        (10, 2),
        (8, 2, 1),
        *(NANO, TX2, XAVIER),
    ),
    *_jetpacks(
        "35.2.1=5.1 35.3.1=5.1.1 35.4.1=5.1.2 35.5.0=5.1.3 35.6.0=5.1.4 "
        "35.6.1=5.1.5 35.6.2=5.1.5 35.6.3=5.1.5 35.6.4=5.1.6",
        (3, 8),
        (11, 4),
        (8, 5, 2),
        *(XAVIER, ORIN),
    ),
    *_jetpacks("36.3.0=6.0", (3, 10), (12, 2), (8, 6, 2), ORIN),
    *_jetpacks(
        "36.4.0=6.1 36.4.2=6.1 36.4.3=6.2 36.4.4=6.2.1 36.4.7=6.2.1 36.5.0=6.2.2",
        (3, 10),
        (12, 6),
        (10, 3, 0),
        ORIN,
    ),
    *_jetpacks("38.2.0=7.0 38.2.1=7.0 38.2.2=7.0 38.4.0=7.1", (3, 12), (13, 0), (10, 13, 3), THOR),
    *_jetpacks("39.2.0=7.2 39.2.1=7.2.1", (3, 12), (13, 2), (10, 16, 2), ORIN, THOR),
)

OLDEST_JETPACK = "5.1"
"""The oldest with Python 3.8 and TensorRT 8.5, which the device program needs."""

MODULES = (
    Module("p3448-0000", "Jetson Nano 4GB", NANO, ""),
    Module("p3448-0002", "Jetson Nano 4GB (eMMC)", NANO, ""),
    Module("p3448-0003", "Jetson Nano 2GB", NANO, ""),
    Module("p3310-1000", "Jetson TX2", TX2, ""),
    Module("p3489-0000", "Jetson TX2i", TX2, ""),
    Module("p3489-0888", "Jetson TX2 4GB", TX2, ""),
    Module("p3636-0001", "Jetson TX2 NX", TX2, ""),
    Module("p2888-0001", "Jetson AGX Xavier 16GB", XAVIER, "agx-xavier"),
    Module("p2888-0003", "Jetson AGX Xavier 32GB", XAVIER, "agx-xavier"),
    Module("p2888-0004", "Jetson AGX Xavier 32GB", XAVIER, "agx-xavier"),
    Module("p2888-0005", "Jetson AGX Xavier 64GB", XAVIER, "agx-xavier"),
    Module("p2888-0006", "Jetson AGX Xavier 8GB", XAVIER, "agx-xavier"),
    Module("p2888-0008", "Jetson AGX Xavier Industrial", XAVIER, "agx-xavier"),
    Module("p3668-0000", "Jetson Xavier NX (developer kit)", XAVIER, "xavier-nx"),
    Module("p3668-0001", "Jetson Xavier NX", XAVIER, "xavier-nx"),
    Module("p3668-0003", "Jetson Xavier NX 16GB", XAVIER, "xavier-nx"),
    Module("p3767-0000", "Jetson Orin NX 16GB", ORIN, "orin-nx"),
    Module("p3767-0001", "Jetson Orin NX 8GB", ORIN, "orin-nx"),
    Module("p3767-0003", "Jetson Orin Nano 8GB", ORIN, "orin-nano"),
    Module("p3767-0004", "Jetson Orin Nano 4GB", ORIN, "orin-nano"),
    Module("p3767-0005", "Jetson Orin Nano 8GB (developer kit)", ORIN, "orin-nano"),
    Module("p3701-0000", "Jetson AGX Orin", ORIN, "agx-orin"),
    Module("p3701-0004", "Jetson AGX Orin 32GB", ORIN, "agx-orin"),
    Module("p3701-0005", "Jetson AGX Orin 64GB", ORIN, "agx-orin"),
    Module("p3834-0008", "Jetson AGX Thor (T5000)", THOR, "thor"),
)

# In the text of the device tree's `model`, for part numbers that are not above. "Orin Nano" before "Nano".
FAMILIES = (
    ("AGX Thor", "thor"),
    ("AGX Orin", "agx-orin"),
    ("Orin NX", "orin-nx"),
    ("Orin Nano", "orin-nano"),
    ("AGX Xavier", "agx-xavier"),
    ("Xavier NX", "xavier-nx"),
)
