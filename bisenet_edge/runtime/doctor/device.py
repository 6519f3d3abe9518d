"""Which machine it is, which JetPack, what its GPU can do, CUDA."""

from __future__ import annotations

import re
from typing import List

from bisenet_edge.runtime.doctor.check import NOT_APPLICABLE, OK, PROBLEM, UNKNOWN, WARNING, Check
from bisenet_edge.runtime.doctor.here import Here
from bisenet_edge.runtime.doctor.subject import Subject, cuda_libraries
from bisenet_edge.runtime.jetson import JetsonInfo, board_mismatch, version_of, version_text
from bisenet_edge.runtime.jetson.tables import JETPACKS, OLDEST_JETPACK
from bisenet_edge.runtime.machine import INT8_FLAGS
from bisenet_edge.runtime.tensorrt.api import has_int8

NO_JETSON = "this is no Jetson"
NO_GPU = "no NVIDIA GPU"
NEWER_GPU = "use a GPU of compute capability 7.2 or newer: no software gives this one INT8"
NEWER_MODULE = "use a Jetson Orin or newer: no later JetPack runs on this module"
_REINSTALL_DRIVER = "sudo apt-get install -y --reinstall nvidia-l4t-cuda"
_DRIVERS = (
    "/usr/lib/*-linux-gnu/tegra/libcuda.so.1*",
    "/usr/lib/*-linux-gnu/nvidia/libcuda.so.1*",
    "/usr/lib/*-linux-gnu/libcuda.so.1*",
)


def device_checks(subject: Subject) -> List[Check]:
    """Device, board of the bundle, JetPack, INT8, CUDA."""
    checks = [_device(subject), _jetpack(subject), _int8(subject), _cuda(subject)]
    if subject.made_for:
        checks.insert(1, _bundle(subject))
    return checks


def _device(subject: Subject) -> Check:
    name, jetson = "device", subject.jetson
    if jetson is None:
        return Check(name, NOT_APPLICABLE, f"{NO_JETSON}: {subject.gpu[0] if subject.gpu else NO_GPU}")
    model = f" ({jetson.model})" if jetson.module and jetson.model else ""
    if jetson.module:
        return Check(name, OK, f"{jetson.module}{model}, {_board(jetson)}")
    return Check(name, UNKNOWN, f"{jetson.title}: its part number is in no table, {_board(jetson)}")


def _board(jetson: JetsonInfo) -> str:
    return f"board {jetson.board}" if jetson.board else "no board file"


def _bundle(subject: Subject) -> Check:
    differs = board_mismatch(subject.made_for, subject.jetson)
    if not differs:
        return Check("bundle", OK, f"made for this board: {subject.made_for}")
    board = subject.jetson.board if subject.jetson and subject.jetson.board else "cpu"
    return Check("bundle", WARNING, differs, f"bisenet-edge deploy jetson --board {board}")


def _jetpack(subject: Subject) -> Check:
    name, jetson = "JetPack", subject.jetson
    if jetson is None:
        return Check(name, NOT_APPLICABLE, NO_JETSON)
    if not jetson.l4t:
        return Check(
            name,
            UNKNOWN,
            "neither /etc/nv_tegra_release nor dpkg names a release",
            "cat /etc/nv_tegra_release",
        )
    l4t, release = f"L4T {version_text(jetson.l4t)}", jetson.release
    if release is None:
        return Check(name, UNKNOWN, f"{l4t} is in no table", "apt-cache show nvidia-jetpack")
    found = f"{release.name} ({l4t})"
    if version_of(release.name) < version_of(OLDEST_JETPACK):
        found += f": JetPack {OLDEST_JETPACK} is the oldest that does"
        return Check(name, PROBLEM, found, _newer_jetpack(jetson))
    if jetson.soc and jetson.soc not in release.socs:
        return Check(
            name,
            PROBLEM,
            f"{found} is not for {jetson.soc}, but for {', '.join(release.socs)}",
            "flash the module anew with SDK Manager",
        )
    return Check(name, OK, found)


def _newer_jetpack(jetson: JetsonInfo) -> str:
    """The newest JetPack for this chip, where it is new enough; else another module."""
    newest = [release.name for release in JETPACKS if jetson.soc in release.socs][-1:]
    if newest and version_of(newest[0]) >= version_of(OLDEST_JETPACK):
        return f"flash JetPack {newest[0]} with SDK Manager"
    return NEWER_MODULE


def _int8(subject: Subject) -> Check:
    name, jetson, gpu = "INT8", subject.jetson, subject.gpu
    if gpu is not None:
        capability, fast, what = version_text(gpu[1]), has_int8(gpu[1]), gpu[0]
    elif jetson is None:
        return _int8_of_a_cpu(subject)
    elif jetson.has_int8 is None:
        return Check(name, UNKNOWN, "the chip is in no table, and no GPU could be asked")
    else:
        capability, fast, what = jetson.compute_capability, jetson.has_int8, jetson.soc
    found = f"compute capability {capability} ({what})"
    return Check(name, OK, found) if fast else Check(name, PROBLEM, f"{found} has no fast INT8", NEWER_GPU)


def _int8_of_a_cpu(subject: Subject) -> Check:
    text = subject.files.text("/proc/cpuinfo")
    flags = [flag for flag in INT8_FLAGS if re.search(rf"\b{flag}\b", text)]
    if flags:
        return Check("INT8", OK, f"CPU with {', '.join(flags)}")
    if not text:
        return Check("INT8", UNKNOWN, "no CPU is described here")
    found = "this CPU has no INT8 dot products: INT8 may be no faster"
    return Check("INT8", WARNING, found, "bisenet-edge profile --res 640x360")


def _cuda(subject: Subject) -> Check:
    """What opening the GPU gives; where it fails, what the files say of the cause comes first."""
    here, jetson = subject.here, subject.jetson
    if here is not None and "name" in here.cuda.told:
        told = here.cuda.told
        versions = f"runtime {version_text(told['runtime'])}, driver for {version_text(told['driver'])}"
        return Check("CUDA", OK, f"{told['name']}: {versions}")
    if jetson is not None:
        by_files = _cuda_by_files(subject, jetson)
        if here is None or by_files.status == PROBLEM:
            return by_files
        return _cuda_refused(here, by_files)
    if not subject.nvidia_smi:
        return Check("CUDA", NOT_APPLICABLE, NO_GPU)
    assert here is not None
    driver = f"driver {subject.nvidia_smi[2]}"
    return Check("CUDA", WARNING, f"{driver}, but {_refusal(here)}", here.cuda.told.get("fix", "nvidia-smi"))


def _cuda_by_files(subject: Subject, jetson: JetsonInfo) -> Check:
    name, libraries = "CUDA", cuda_libraries(subject.files)
    wanted = jetson.release.cuda if jetson.release else ()
    package = "cuda-cudart-{}-{}".format(*wanted) if wanted else "nvidia-jetpack"
    install = f"sudo apt-get update && sudo apt-get install -y {package}"
    if not libraries:
        return Check(name, PROBLEM, "the CUDA runtime library is missing", install)
    versions = [version_of(library.rpartition("libcudart.so.")[2]) for library in libraries]
    found = f"runtime {version_text(max(versions))}"
    if wanted and all(version[:1] != wanted[:1] for version in versions):
        found += f", but JetPack {jetson.jetpack} has {version_text(wanted)}"
        return Check(name, PROBLEM, found, install)
    if not any(subject.files.glob(pattern) for pattern in _DRIVERS):
        return Check(name, PROBLEM, f"{found}, but the driver is missing (libcuda.so.1)", _REINSTALL_DRIVER)
    return Check(name, OK, f"{found}, driver present")


def _cuda_refused(here: Here, by_files: Check) -> Check:
    if "No module named 'numpy'" in here.cuda.error:
        return by_files  # told under OpenCV; CUDA itself was not asked
    found = f"{by_files.found}, but {_refusal(here)}"
    if here.user != "root" and "video" not in here.groups:
        remedy = f"sudo usermod -aG video {here.user} && exec su - {here.user}"
        return Check("CUDA", PROBLEM, f"{found}; {here.user} is not in group video", remedy)
    return Check("CUDA", PROBLEM, found, _REINSTALL_DRIVER)


def _refusal(here: Here) -> str:
    return str(here.cuda.told.get("refusal", "")) or here.cuda.error or "it was not asked"
