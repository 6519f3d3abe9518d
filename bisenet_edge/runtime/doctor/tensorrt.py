"""TensorRT: its libraries, its Python bindings, and whether this Python can see them."""

from __future__ import annotations

import re
from typing import List, Optional

from bisenet_edge.runtime.doctor.check import NOT_APPLICABLE, OK, PROBLEM, UNKNOWN, WARNING, Check
from bisenet_edge.runtime.doctor.device import NO_GPU
from bisenet_edge.runtime.doctor.here import Here
from bisenet_edge.runtime.doctor.subject import Subject
from bisenet_edge.runtime.jetson import JetsonInfo, Version, version_of, version_text
from bisenet_edge.runtime.tensorrt.api import OLDEST

BINDINGS = "python3-libnvinfer"
_INSTALL = "sudo apt-get update && sudo apt-get install -y {}"
_LIBRARY = re.compile(r"libnvinfer\d+$")


def tensorrt_checks(subject: Subject) -> List[Check]:
    """Libraries and bindings. On a machine without an NVIDIA GPU neither is needed."""
    names = ("TensorRT", BINDINGS)
    if subject.jetson is not None:
        return [_libraries(subject, subject.jetson), _bindings(subject, subject.jetson)]
    if subject.gpu is None:
        return [Check(name, NOT_APPLICABLE, NO_GPU) for name in names]
    assert subject.here is not None
    probe = subject.here.modules.get("tensorrt")
    if probe is not None and probe.works:
        return [
            Check(names[0], OK, probe.version),
            Check(names[1], NOT_APPLICABLE, "no Jetson: pip brings it"),
        ]
    install = subject.pip("install tensorrt")
    missing = Check(names[0], WARNING, "not installed: the CPU would compute", install)
    return [missing, Check(names[1], NOT_APPLICABLE, "no Jetson: pip brings it")]


def cuda_of(version: str) -> Version:
    """CUDA that a package was built for: "8.5.2-1+cuda11.4" -> (11, 4); () if it does not say."""
    return version_of(version.partition("+cuda")[2])


def library_version(subject: Subject) -> str:
    """Version of the newest TensorRT library; "" where there is none."""
    versions = [version for name, version in subject.packages.items() if _LIBRARY.match(name)]
    # A system without apt (Yocto) has the file only.
    versions += [
        name.rpartition(".so.")[2] for name in subject.files.glob("/usr/lib/*-linux-gnu/libnvinfer.so.*")
    ]
    return max(versions, key=version_of, default="")


def _libraries(subject: Subject, jetson: JetsonInfo) -> Check:
    name, found, release = "TensorRT", library_version(subject), jetson.release
    if not found:
        return Check(name, PROBLEM, "no libnvinfer is installed", _INSTALL.format("nvidia-jetpack"))
    if version_of(found) < OLDEST:
        return Check(
            name,
            PROBLEM,
            f"{found}: {version_text(OLDEST)} is the oldest that does",
            "flash JetPack 5.1 or newer with SDK Manager",
        )
    if release is None:
        return Check(name, UNKNOWN, f"{found}; which one belongs to this release is not known")
    expected = version_text(release.tensorrt)
    if version_of(found)[: len(release.tensorrt)] == release.tensorrt:
        return Check(name, OK, found)
    built_for = cuda_of(found)
    names = " ".join(sorted(package for package in subject.packages if _LIBRARY.match(package)))
    # The second command says which source offers the other version, and at which priority.
    remedy = f"{_INSTALL.format('--reinstall nvidia-jetpack')}; apt-cache policy {names}".rstrip()
    if built_for and built_for[:1] != release.cuda[:1]:
        why = f"{found} is for CUDA {version_text(built_for)}; JetPack {release.name} has {expected}"
        return Check(name, PROBLEM, f"{why} and CUDA {version_text(release.cuda)}", remedy)
    return Check(name, WARNING, f"{found}; JetPack {release.name} has {expected}", remedy)


def _bindings(subject: Subject, jetson: JetsonInfo) -> Check:
    here = subject.here
    package = subject.packages.get(BINDINGS, "")
    library = version_of(library_version(subject))[:3]
    if here is not None:
        probe = here.modules.get("tensorrt")
        if probe is not None and probe.works:
            return _imported(subject, probe.version, library)
        return _not_imported(subject, jetson, here, probe.error if probe else "not tried")
    if not package and not _system_bindings(subject):
        return Check(BINDINGS, PROBLEM, "not installed", _INSTALL.format(BINDINGS))
    if package and library and version_of(package)[:3] != library:
        return _two_versions(subject, package, library)
    return Check(BINDINGS, OK, f"{package or 'present'} (whether it can be imported: on the machine itself)")


def _imported(subject: Subject, version: str, library: Version) -> Check:
    if version_of(version) < OLDEST:
        remedy = "flash JetPack 5.1 or newer with SDK Manager"
        return Check(BINDINGS, PROBLEM, f"{version}: {version_text(OLDEST)} is the oldest that does", remedy)
    if library and version_of(version)[:3] != library:
        return _two_versions(subject, version, library)
    return Check(BINDINGS, OK, f"tensorrt {version} can be imported")


def _two_versions(subject: Subject, bindings: str, library: Version) -> Check:
    return Check(
        BINDINGS,
        PROBLEM,
        f"bindings {bindings} beside libraries {version_text(library)}: two TensorRTs are mixed",
        f"{subject.pip('uninstall -y tensorrt')}; {_INSTALL.format(f'--reinstall {BINDINGS}')}",
    )


def _not_imported(subject: Subject, jetson: JetsonInfo, here: Here, error: str) -> Check:
    """Say why this Python has no `tensorrt`: hidden, of another Python, not there, or broken."""
    absent = error.startswith("ModuleNotFoundError: No module named 'tensorrt'")
    if not absent:
        # It is there, and loading it failed: a library is missing or of another version.
        return Check(BINDINGS, PROBLEM, error, _INSTALL.format(f"--reinstall {BINDINGS} nvidia-jetpack"))
    if not subject.packages.get(BINDINGS) and not _system_bindings(subject):
        return Check(BINDINGS, PROBLEM, "not installed", _INSTALL.format(BINDINGS))
    if here.venv and not here.sees_system:
        option = "include-system-site-packages"
        return Check(
            BINDINGS,
            PROBLEM,
            f"installed, but the virtual environment {here.venv} hides the system's packages",
            f"sed -i 's/^{option} *=.*/{option} = true/' {here.venv}/pyvenv.cfg",
        )
    system = _system_python(subject, jetson)
    if system and here.python_version != system:
        return Check(
            BINDINGS,
            PROBLEM,
            f"for Python {version_text(system)}; {here.python} is {version_text(here.python_version)}",
            f"/usr/bin/python{version_text(system)} -m venv --system-site-packages venv",
        )
    return Check(
        BINDINGS,
        PROBLEM,
        f"installed, but {here.python} does not find it",
        "/usr/bin/python3 -c 'import tensorrt; print(tensorrt.__file__)'",
    )


def _system_python(subject: Subject, jetson: JetsonInfo) -> Optional[Version]:
    """Version of the system's Python: by what /usr/bin/python3 points to, else by the JetPack."""
    pointed = version_of(subject.files.path("/usr/bin/python3").name[len("python") :])
    return pointed if len(pointed) > 1 else (jetson.release.python if jetson.release else None)


def _system_bindings(subject: Subject) -> List[str]:
    return subject.files.glob("/usr/lib/python3*/dist-packages/tensorrt/__init__.py")
