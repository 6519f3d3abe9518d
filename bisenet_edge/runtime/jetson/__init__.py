"""Which Jetson this is, read from its files: no tool is started, and nothing but the files is needed.

    jetson.detect()                   this machine: a JetsonInfo, or None where it is no Jetson
    jetson.detect(Path("/mnt/sd"))    the system in a folder
    jetson.board_mismatch("orin-nano", found)   "" or a sentence: made for another board than this

What the files do not tell, or what stands in no table of `jetson_tables`, is "" or (); never guessed.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from bisenet_edge.runtime.jetson.tables import (
    FAMILIES,
    JETPACKS,
    MODULES,
    SOCS,
    JetPack,
    Module,
    Soc,
    Version,
)
from bisenet_edge.runtime.sysroot import Sysroot

# The kernel's own place second: a container may hide /proc/device-tree.
_DEVICE_TREES = ("/proc/device-tree", "/sys/firmware/devicetree/base")
# "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, ..."
_RELEASE = re.compile(r"#\s*R(\d+)\s*\(release\)\s*,\s*REVISION:\s*(\d+(?:\.\d+)*)")
# "nvidia,p3768-0000+p3767-0005-super": carrier board, then module; "nvidia,p3767-0005": the module.
_PART = re.compile(r"^nvidia,(?:p\d{4}-\d{4}[^+]*\+)?(p\d{4}-\d{4})")
_L4T_PACKAGE = re.compile(r"^Package: nvidia-l4t-core\n(?:.+\n)*?Version: (\d+(?:\.\d+)*)", re.MULTILINE)


@dataclass(frozen=True)
class JetsonInfo:
    """What a Jetson is.

    Attributes:
        model: as its device tree names it ("NVIDIA Jetson Orin Nano Developer Kit").
        module: which module by part number ("Jetson Orin Nano 8GB"); "" = not in the table.
        board: name of its file in `deploy/boards` ("orin-nano"); "" = there is none, or not known.
        l4t: Jetson Linux release ((36, 4, 3)); () = not known.
        jetpack: "6.2"; "" = the release is not in the table.
        soc: "tegra234"; "" = not known.
        compute_capability: of the GPU, "8.7"; "" = not known.
    """

    model: str
    module: str
    board: str
    l4t: Version
    jetpack: str
    soc: str
    compute_capability: str

    @property
    def title(self) -> str:
        """The best name there is."""
        return self.module or self.model or "a Jetson"

    @property
    def has_int8(self) -> Optional[bool]:
        """Whether the GPU computes INT8 convolutions faster than FP16 ones; None = not known."""
        found = soc_named(self.soc)
        return found.has_int8 if found else None

    @property
    def release(self) -> Optional[JetPack]:
        """What this JetPack brings along; None = not in the table."""
        return jetpack_of(self.l4t)

    def to_json(self) -> Dict[str, Any]:
        """As JSON; `l4t` becomes text ("36.4.3")."""
        return {**dataclasses.asdict(self), "l4t": version_text(self.l4t), "has_int8": self.has_int8}


def detect(root: Path = Path("/")) -> Optional[JetsonInfo]:
    """Say which Jetson the system below `root` runs on; None where nothing there speaks of one.

    A system without a device tree (an image, a container) still tells its release.
    """
    files = Sysroot(root)
    compatible = _compatible(files)
    soc = next((name for name in compatible if name.startswith("tegra")), "")
    l4t = _l4t(files)
    if not soc and not l4t:
        return None
    model = _tree_text(files, "model")
    module = _module(compatible)
    known, release = soc_named(soc), jetpack_of(l4t)
    return JetsonInfo(
        model=model,
        module=module.name if module else "",
        board=module.board if module else next((board for text, board in FAMILIES if text in model), ""),
        l4t=l4t,
        jetpack=release.name if release else "",
        soc=soc,
        compute_capability=known.compute_capability if known else "",
    )


def board_mismatch(wanted: str, found: Optional[JetsonInfo]) -> str:
    """Say how this machine differs from the board that something was made for; "" where it does not.

    Args:
        wanted: name in `deploy/boards`; "cpu" fits every machine without an NVIDIA GPU.
        found: what `detect` gave.
    """
    if found is None:
        return "" if wanted == "cpu" else f"made for {wanted}, and this is no Jetson"
    if found.board == wanted:
        return ""
    if wanted == "cpu":
        return f"made for a CPU, and this is {found.title}: its GPU would be idle"
    if found.board:
        return f"made for {wanted}, and this is {found.title} ({found.board})"
    return f"made for {wanted}, and this is {found.title}, which has no board file"


def jetpack_of(l4t: Version) -> Optional[JetPack]:
    """What is known of a Jetson Linux release; (36, 3) is (36, 3, 0)."""
    full = (*l4t, 0, 0)[:3] if l4t else ()
    return next((release for release in JETPACKS if release.l4t == full), None)


def soc_named(name: str) -> Optional[Soc]:
    """What is known of a chip."""
    return next((soc for soc in SOCS if soc.name == name), None)


def version_of(text: str) -> Version:
    """Numbers at the start of a version: "10.3.0.30-1+cuda12.5" -> (10, 3, 0, 30); () if it has none."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match.group().split("."))) if match else ()


def version_text(version: Version) -> str:
    """(10, 3, 0) -> "10.3.0"."""
    return ".".join(map(str, version))


def _l4t(files: Sysroot) -> Version:
    match = _RELEASE.search(files.text("/etc/nv_tegra_release"))
    if match:
        return (int(match.group(1)), *version_of(match.group(2)))
    # Containers come without that file; the package is there.
    match = _L4T_PACKAGE.search(files.text("/var/lib/dpkg/status"))
    return version_of(match.group(1)) if match else ()


def _compatible(files: Sysroot) -> Tuple[str, ...]:
    """Entries of the device tree's `compatible`, a chip's without the vendor ("tegra234")."""
    entries: List[str] = _tree_text(files, "compatible").split("\0")
    vendor = "nvidia,"
    return tuple(e[len(vendor) :] if e.startswith(f"{vendor}tegra") else e for e in entries if e)


def _module(compatible: Tuple[str, ...]) -> Optional[Module]:
    parts = [match.group(1) for match in map(_PART.match, compatible) if match]
    # Xavier NX lists the part numbers of several carriers, all with the same module.
    return next((module for part in parts for module in MODULES if module.part == part), None)


def _tree_text(files: Sysroot, name: str) -> str:
    return next((text for text in (files.text(f"{tree}/{name}") for tree in _DEVICE_TREES) if text), "")
