"""Systems of Jetsons as trees of files: what /etc, /proc, /sys, /dev and /usr of each board hold.

The texts are as the devices give them (L4T's release file, device trees, nvpmodel's files, dpkg's list); the
expectations of the tests stand in the tests, not here. Nothing is read from the package.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BoardFiles:
    """What one board shows of itself."""

    model: str
    compatible: tuple[str, ...]
    gpu_node: str
    memory_kb: int
    power_modes: tuple[str, ...]  # in the order of their numbers
    sensors: tuple[str, ...] = ("CPU-therm", "GPU-therm")


ORIN_MODES = ("15W", "25W", "MAXN_SUPER", "7W")
AGX_MODES = ("MAXN", "MODE_15W", "MODE_30W", "MODE_50W")
XAVIER_MODES = ("MODE_15W_2CORE", "MODE_15W_4CORE", "MODE_20W_6CORE", "MODE_10W_2CORE")

BOARDS = {
    "nano": BoardFiles(
        "NVIDIA Jetson Nano Developer Kit",
        ("nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"),
        "57000000.gpu",
        4059320,
        ("MAXN", "5W"),
        ("CPU-therm", "PMIC-Die"),
    ),
    "tx2": BoardFiles(
        "quill",
        ("nvidia,p2597-0000+p3310-1000", "nvidia,tegra186"),
        "17000000.gp10b",
        8046888,
        ("MAXN", "MAXQ"),
    ),
    "xavier-nx": BoardFiles(
        "NVIDIA Jetson Xavier NX Developer Kit",
        ("nvidia,p3449-0000+p3668-0001", "nvidia,p3509-0000+p3668-0001", "nvidia,tegra194"),
        "17000000.gv11b",
        7961040,
        XAVIER_MODES,
    ),
    "agx-xavier": BoardFiles(
        "Jetson-AGX",
        ("nvidia,galen", "nvidia,jetson-xavier", "nvidia,p2822-0000+p2888-0004", "nvidia,tegra194"),
        "17000000.gv11b",
        32657000,
        AGX_MODES,
    ),
    "orin-nano-4gb": BoardFiles(
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit",
        ("nvidia,p3768-0000+p3767-0004", "nvidia,p3767-0004", "nvidia,tegra234"),
        "17000000.gpu",
        3540000,
        ("10W", "7W-AI", "7W-CPU"),
    ),
    "orin-nano-8gb": BoardFiles(
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        ("nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"),
        "17000000.gpu",
        7802676,
        ORIN_MODES,
    ),
    "orin-nx-8gb": BoardFiles(
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        ("nvidia,p3768-0000+p3767-0001", "nvidia,p3767-0001", "nvidia,tegra234"),
        "17000000.ga10b",
        7802676,
        ("MAXN", "10W", "15W", "20W"),
    ),
    "orin-nx-16gb": BoardFiles(
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        ("nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"),
        "17000000.gpu",
        16000000,
        ("MAXN_SUPER", "10W", "15W", "25W", "40W", "MAXN"),
    ),
    "agx-orin-32gb": BoardFiles(
        "NVIDIA Jetson AGX Orin Developer Kit",
        ("nvidia,p3737-0000+p3701-0004", "nvidia,p3701-0004", "nvidia,tegra234"),
        "17000000.gpu",
        31000000,
        AGX_MODES,
    ),
    "agx-orin-64gb": BoardFiles(
        "NVIDIA Jetson AGX Orin Developer Kit",
        ("nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"),
        "17000000.gpu",
        64000000,
        AGX_MODES,
    ),
    "thor": BoardFiles(
        "NVIDIA Jetson AGX Thor Developer Kit",
        ("nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"),
        "gpu-gpc-0",
        128825804,
        ("MAXN", "120W", "70W"),
    ),
}


@dataclass(frozen=True)
class SystemFiles:
    """What one line of JetPacks installs: TensorRT's package and CUDA's library file."""

    python: str
    cuda: str
    cudart: str
    library: str
    tensorrt: str


_JP4 = SystemFiles("3.6", "10.2", "10.2.300", "libnvinfer8", "8.2.1-1+cuda10.2")
_JP5 = SystemFiles("3.8", "11.4", "11.4.298", "libnvinfer8", "8.5.2-1+cuda11.4")
_JP60 = SystemFiles("3.10", "12.2", "12.2.140", "libnvinfer8", "8.6.2.3-1+cuda12.2")
_JP6 = SystemFiles("3.10", "12.6", "12.6.68", "libnvinfer10", "10.3.0.30-1+cuda12.5")
_JP70 = SystemFiles("3.12", "13.0", "13.0.48", "libnvinfer10", "10.13.3.9-1+cuda13.0")
_JP72 = SystemFiles("3.12", "13.2", "13.2.20", "libnvinfer10", "10.16.2.10-1+cuda13.2")
RELEASES = {
    **dict.fromkeys(("32.7.1", "32.7.6"), _JP4),
    **dict.fromkeys(
        ("35.2.1", "35.3.1", "35.4.1", "35.5.0", "35.6.0", "35.6.1", "35.6.2", "35.6.3", "35.6.4"), _JP5
    ),
    "36.3.0": _JP60,
    **dict.fromkeys(("36.4.0", "36.4.3", "36.4.4", "36.4.7", "36.5.0"), _JP6),
    **dict.fromkeys(("38.2.0", "38.4.0"), _JP70),
    **dict.fromkeys(("39.2.0", "39.2.1"), _JP72),
}

PLUGINS = (
    "libgstnvarguscamerasrc.so",
    "libgstnvvidconv.so",
    "libgstnvvideo4linux2.so",
    "libgstnvv4l2camerasrc.so",
)
CSI_CAMERA = "vi-output, imx219 9-0010"


class Tree:
    """A folder that stands for "/", and verbs to fill and to spoil it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def at(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str = "") -> None:
        path = self.at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def link(self, name: str, target: str) -> None:
        path = self.at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def remove(self, *names: str) -> None:
        for name in names:
            path = self.at(name)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def package(self, name: str, version: str, status: str = "install ok installed") -> None:
        """Add a paragraph to dpkg's list."""
        path = self.at("/var/lib/dpkg/status")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(
                f"Package: {name}\nStatus: {status}\nPriority: optional\nMaintainer: cudatools\n"
                f"Architecture: arm64\nVersion: {version}\nDescription: {name}\n of somebody: or other\n\n"
            )

    def remove_package(self, name: str) -> None:
        path = self.at("/var/lib/dpkg/status")
        paragraphs = path.read_text().split("\n\n")
        path.write_text("\n\n".join(p for p in paragraphs if not p.startswith(f"Package: {name}\n")))

    def camera(self, number: int, name: str) -> None:
        self.write(f"/dev/video{number}")
        self.write(f"/sys/class/video4linux/video{number}/name", f"{name}\n")

    def set_power_mode(self, number: int) -> None:
        self.write("/var/lib/nvpmodel/status", f"pmode:{number:04d}")

    def set_temperature(self, celsius: float, zone: int = 0) -> None:
        self.write(f"/sys/class/thermal/thermal_zone{zone}/temp", f"{celsius * 1000:.0f}\n")

    def pin_clocks(self, gpu_node: str, pinned: bool = True) -> None:
        for folder, low, high in (
            (f"/sys/class/devfreq/{gpu_node}", "min_freq", "max_freq"),
            ("/sys/devices/system/cpu/cpu0/cpufreq", "scaling_min_freq", "scaling_max_freq"),
            ("/sys/devices/system/cpu/cpu1/cpufreq", "scaling_min_freq", "scaling_max_freq"),
        ):
            self.write(f"{folder}/{low}", "918000000\n" if pinned else "306000000\n")
            self.write(f"{folder}/{high}", "918000000\n")


def make_jetson(folder: Path, board: str, l4t: str) -> Tree:
    """A board with everything installed, in its fastest mode, clocks pinned, a CSI camera on it."""
    tree, files, system = Tree(folder), BOARDS[board], RELEASES[l4t]
    _identity(tree, files, l4t)
    _software(tree, system)
    _state(tree, files)
    tree.camera(0, CSI_CAMERA)
    tree.write("/tmp/argus_socket")
    return tree


def make_pc(folder: Path) -> Tree:
    """An x86-64 machine without an NVIDIA GPU."""
    tree = Tree(folder)
    tree.write("/proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512_vnni\n")
    tree.write("/proc/meminfo", meminfo(24684000, 20000000, 0))
    tree.write("/usr/bin/python3.11")
    tree.link("/usr/bin/python3", "python3.11")
    tree.package("libc6", "2.36-9")
    return tree


def meminfo(total_kb: int, free_kb: int, swap_kb: int) -> str:
    return (
        f"MemTotal:       {total_kb} kB\nMemFree:        100 kB\nMemAvailable:   {free_kb} kB\n"
        f"SwapTotal:      {swap_kb} kB\nSwapFree:       {swap_kb} kB\n"
    )


def _identity(tree: Tree, files: BoardFiles, l4t: str) -> None:
    major, _, revision = l4t.partition(".")
    tree.write("/proc/device-tree/model", f"{files.model}\0")
    tree.write("/proc/device-tree/compatible", "".join(f"{entry}\0" for entry in files.compatible))
    tree.write(
        "/etc/nv_tegra_release",
        f"# R{major} (release), REVISION: {revision}, GCID: 38968081, BOARD: generic, EABI: aarch64, "
        "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
    )
    tree.package("nvidia-l4t-core", f"{l4t}-20250107174145")


def _software(tree: Tree, system: SystemFiles) -> None:
    tree.write(f"/usr/bin/python{system.python}")
    tree.link("/usr/bin/python3", f"python{system.python}")
    tree.package(system.library, system.tensorrt)
    tree.package("python3-libnvinfer", system.tensorrt)
    tree.write(f"/usr/lib/python{system.python}/dist-packages/tensorrt/__init__.py")
    tree.link("/usr/local/cuda", "/etc/alternatives/cuda")
    tree.link("/etc/alternatives/cuda", f"/usr/local/cuda-{system.cuda}")
    libraries = f"/usr/local/cuda-{system.cuda}/targets/aarch64-linux/lib"
    tree.write(f"{libraries}/libcudart.so.{system.cudart}")
    tree.link(f"{libraries}/libcudart.so.{system.cudart.partition('.')[0]}", f"libcudart.so.{system.cudart}")
    tree.write("/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1")
    tree.package("python3-opencv", "4.8.0-1-g6371ee1")
    tree.package("python3-gi", "3.42.1-0ubuntu1")
    tree.write("/usr/bin/gst-launch-1.0")
    for plugin in PLUGINS:
        tree.write(f"/usr/lib/aarch64-linux-gnu/gstreamer-1.0/{plugin}")


def _state(tree: Tree, files: BoardFiles) -> None:
    modes = "".join(
        f"< POWER_MODEL ID={number} NAME={name} >\nCPU_ONLINE CORE_0 1\nGPU MAX_FREQ -1\n\n"
        for number, name in enumerate(files.power_modes)
    )
    tree.write("/etc/nvpmodel/nvpmodel_board.conf", f"{modes}< PM_CONFIG DEFAULT=1 >\n")
    # As on the device: a link from the root, which on another machine leads elsewhere.
    tree.link("/etc/nvpmodel.conf", "/etc/nvpmodel/nvpmodel_board.conf")
    best = [n for n, name in enumerate(files.power_modes) if name == "MAXN_SUPER"]
    best = best or [
        n for n, name in enumerate(files.power_modes) if name in ("MAXN", "MODE_20W_6CORE", "10W")
    ]
    tree.set_power_mode(best[0])
    tree.pin_clocks(files.gpu_node)
    for zone, sensor in enumerate(files.sensors):
        folder = f"/sys/class/thermal/thermal_zone{zone}"
        tree.write(f"{folder}/type", f"{sensor}\n")
        tree.set_temperature(100.0 if sensor == "PMIC-Die" else 52.5, zone)
        for trip, (action, celsius) in enumerate((("active", 51), ("passive", 99), ("critical", 104.5))):
            tree.write(f"{folder}/trip_point_{trip}_type", f"{action}\n")
            tree.write(f"{folder}/trip_point_{trip}_temp", f"{celsius * 1000:.0f}\n")
    tree.write("/proc/meminfo", meminfo(files.memory_kb, files.memory_kb * 2 // 3, files.memory_kb // 2))
