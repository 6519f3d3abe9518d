"""A whole emulated aarch64 machine with a virtual camera, for the V4L2 source.

A host without a camera cannot fake /dev/video0: the kernel must have a driver for it. So a Debian kernel
for arm64 is booted under software emulation, with `vivid` (the kernel's own virtual camera) and this
package on it, and told what to run. Nothing is installed on the host and nothing listens.

    python v4l2_vm.py [WORK_FOLDER]      prints what the guest found; the folder keeps the downloads
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "bisenet_edge"
APT_LINE = "sudo apt-get install -y --no-install-recommends qemu-system-arm ipxe-qemu cpio kmod mmdebstrap"
PROGRAMS = ("qemu-system-aarch64", "cpio", "depmod", "mmdebstrap", "apt-get", "dpkg-deb")
RELEASE = "bookworm"
BOOT_TIMEOUT_S = 400
MODULES = (
    "drivers/media/rc/rc-core.ko",
    *(
        f"drivers/media/{d}/*"
        for d in (
            "cec/core",
            "mc",
            "v4l2-core",
            "common/videobuf2",
            "common/v4l2-tpg",
            "test-drivers/vivid",
        )
    ),
)
PACKAGES = (
    "bash,coreutils,mount,kmod,base-files,libstdc++6,python3,python3-minimal,python3-gi,python3-gst-1.0,"
    "gir1.2-gstreamer-1.0,gir1.2-gst-plugins-base-1.0,gstreamer1.0-tools,gstreamer1.0-plugins-base,"
    "gstreamer1.0-plugins-good"
)
# Loading a plugin takes a second here; only these are needed.
GST_PLUGINS = ("coreelements", "app", "videoconvertscale", "videofilter", "video4linux2")
RESULT = "RESULT "


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]


def run(*words: object, **how: object) -> str:
    path = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(
        [str(word) for word in words], env=path, check=True, capture_output=True, text=True, **how
    )  # type: ignore[call-overload]
    return done.stdout


def debian_mirror() -> str:
    """The mirror that this machine uses already."""
    given = os.environ.get("DEBIAN_URI")
    if given:
        return given
    lines = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").split()
    return next((line for line in lines if "/debian/" in line), "http://deb.debian.org/debian/")


def fetch_kernel(folder: Path) -> str:
    """Debian's kernel for arm64 with only vivid and what it needs; its version."""
    modules = folder / "lib" / "modules"
    if not modules.is_dir():
        apt = folder / "apt"
        for part in ("lists/partial", "cache/archives/partial"):
            (apt / part).mkdir(parents=True, exist_ok=True)
        (apt / "status").touch()
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (apt / "sources.list").write_text(
            f"deb [signed-by={keyring} arch=arm64] {debian_mirror()} {RELEASE} main\n"
        )
        options = {
            "Dir::State": apt,
            "Dir::State::status": apt / "status",
            "Dir::State::lists": apt / "lists",
            "Dir::Cache": apt / "cache",
            "Dir::Etc::sourcelist": apt / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Architecture": "arm64",
            "APT::Architectures::": "arm64",
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "1",
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        run("apt-get", "-qq", *words, "update")
        depends = run("apt-cache", *words, "depends", "linux-image-arm64").split()
        name = next(word for word in depends[1:] if word.startswith("linux-image-"))
        run("apt-get", "-qq", *words, "download", name, cwd=folder)
        (archive,) = folder.glob("linux-image-*.deb")
        unpacked = folder / "unpacked"
        run("dpkg-deb", "-x", archive, unpacked)
        version = next((unpacked / "lib" / "modules").iterdir()).name
        shutil.copy(unpacked / "boot" / f"vmlinuz-{version}", folder / "vmlinuz")
        all_modules = unpacked / "lib" / "modules" / version
        few = folder / "few" / "lib" / "modules" / version
        for pattern in ("modules.*", *(f"kernel/{pattern}" for pattern in MODULES)):
            for path in all_modules.glob(pattern):
                target = few / path.relative_to(all_modules)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        run("depmod", "-b", folder / "few", version)
        shutil.rmtree(unpacked)
        shutil.rmtree(apt)
        archive.unlink()
        (folder / "few" / "lib").rename(folder / "lib")
    return next(modules.iterdir()).name


def make_root(folder: Path) -> None:
    """A Debian tree for arm64, unpacked without running anything of it, and the wheels from PyPI."""
    if folder.is_dir():
        return
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    run(
        "mmdebstrap", "--mode=root", "--arch=arm64", "--variant=extract", f"--include={PACKAGES}",
        RELEASE, part, debian_mirror(),
    )  # fmt: skip
    run(
        sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", "311",
        "--platform", "manylinux_2_28_aarch64", "--platform", "manylinux_2_17_aarch64",
        "--platform", "manylinux2014_aarch64", "--target", part / "opt" / "site",
        "numpy", "opencv-python-headless",
    )  # fmt: skip
    for waste in ("var/cache", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/icons"):
        shutil.rmtree(part / waste, ignore_errors=True)
    for plugin in (part / "usr/lib/aarch64-linux-gnu/gstreamer-1.0").glob("libgst*.so"):
        if plugin.stem[len("libgst") :] not in GST_PLUGINS:
            plugin.unlink()
    part.rename(folder)


def pack(root: Path, kernel: Path, guest: Path, target: Path) -> None:
    """The tree, the modules, this package and what is to be run, as an initial RAM disk."""
    shutil.copytree(kernel / "lib" / "modules", root / "lib" / "modules", dirs_exist_ok=True)
    shutil.rmtree(root / "opt" / "app", ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors", "_data")
    shutil.copytree(PACKAGE, root / "opt" / "app" / "bisenet_edge", ignore=ignore)
    shutil.copy(guest, root / "opt" / "guest.py")
    shutil.copy(HERE / "init.sh", root / "init")
    (root / "init").chmod(0o755)
    for name in ("proc", "sys", "dev", "tmp"):
        (root / name).mkdir(exist_ok=True)
    with target.open("wb") as out:
        names = subprocess.run(["find", ".", "-print0"], cwd=root, check=True, capture_output=True).stdout
        words = ["cpio", "--null", "-o", "-H", "newc", "--quiet"]
        subprocess.run(words, cwd=root, input=names, stdout=out, check=True)


def boot(folder: Path) -> str:
    """Run the machine until it switches itself off; its console."""
    console = folder / "console.txt"
    command = [
        "qemu-system-aarch64", "-M", "virt,gic-version=3", "-accel", "tcg,thread=multi",
        "-cpu", "cortex-a72", "-smp", "2", "-m", "3072", "-nodefaults", "-no-reboot", "-nographic",
        "-serial", f"file:{console}", "-net", "none",
        "-kernel", str(folder / "kernel" / "vmlinuz"), "-initrd", str(folder / "initrd.cpio"),
        "-append", "console=ttyAMA0 panic=-1 quiet",
    ]  # fmt: skip
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=BOOT_TIMEOUT_S, check=True)
    return console.read_text(errors="replace")


def results_of_guest(guest: Path, folder: Path) -> list[dict[str, object]]:
    """Boot the machine with a program and collect the lines of JSON that it prints after "RESULT "."""
    (folder / "kernel").mkdir(parents=True, exist_ok=True)
    fetch_kernel(folder / "kernel")
    make_root(folder / "root")
    pack(folder / "root", folder / "kernel", guest, folder / "initrd.cpio")
    console = boot(folder)
    found = [line.partition(RESULT)[2] for line in console.splitlines() if RESULT in line]
    if not found:
        raise AssertionError(f"the guest printed no result:\n{console[-4000:]}")
    return [json.loads(line) for line in found]


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "v4l2-vm").resolve()
    for result in results_of_guest(HERE / "v4l2_guest.py", place):
        print(json.dumps(result))
