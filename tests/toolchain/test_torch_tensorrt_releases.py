"""The table of releases is what the wheels say, and a wrong set of versions gets one clear message."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from torch_tensorrt_double import VERSIONS, installed, listing

from bisenet_edge.errors import BackendError, MissingDependencyError
from bisenet_edge.toolchain.torch_tensorrt.releases import (
    RELEASES,
    Installed,
    Range,
    dotted,
    parse,
    plan_note,
    release_for,
)


def required(version: str, package: str, *, on_jetson: bool = False) -> Range | None:
    """What the wheel's metadata require; None when nothing does, for this kind of machine."""
    for line in listing(version)["requires"]:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[a-z0-9-]+", requirement)[0]
        for_jetson = bool(re.search(r'"tegra" in', marker)) and "not in" not in marker
        if name != package or (marker and for_jetson != on_jetson):
            continue
        least = re.search(r">=([\d.]+)", requirement)[1]
        below = re.search(r"<([\d.]+)", requirement)[1]
        return Range(parse(least), parse(below))
    return None


def padded(limits: Range | None) -> tuple:
    assert limits is not None
    return tuple((*v, 0, 0)[:3] for v in (limits.least, limits.below))


def test_every_release_of_the_table_was_read_and_no_other():
    assert [dotted(r.version) for r in RELEASES] == VERSIONS


@pytest.mark.parametrize("release", RELEASES, ids=lambda r: dotted(r.version))
def test_ranges_are_those_of_the_wheels(release):
    version = dotted(release.version)
    assert padded(release.torch) == padded(required(version, "torch"))
    tensorrt = required(version, "tensorrt") or required(version, "tensorrt-cu13")
    assert padded(release.tensorrt) == padded(tensorrt)
    assert release.weakly_typed == (listing(version)["explicit_typing_by_default"] == "False")


def test_only_the_release_for_jetpack_6_has_requirements_of_its_own_on_a_jetson():
    of_their_own = {}
    for version in VERSIONS:
        lines = [line for line in listing(version)["requires"] if '"tegra" in' in line]
        if any("not in" not in line for line in lines):
            of_their_own[version] = padded(required(version, "tensorrt", on_jetson=True))
    assert of_their_own == {"2.8.0": padded(RELEASES[0].jetson_tensorrt)}
    assert padded(required("2.8.0", "torch", on_jetson=True)) == padded(RELEASES[0].torch)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_goes_together_is_taken(version):
    assert dotted(release_for(installed(version)).version) == version
    newer_patch = f"{version.rsplit('.', 1)[0]}.9"
    assert dotted(release_for(installed(version, torch_tensorrt=newer_patch)).version) == version


def test_versions_are_compared_as_numbers():
    assert parse("2.13.0+cu130") == (2, 13, 0)
    assert parse("10.3.0") == parse("10.3.0.30-1")[:3]
    assert parse("2.9.0") < parse("2.13.0")
    assert parse("") == ()
    assert (10, 12, 0, 36) in Range((10, 12), (10, 13))
    assert (10, 13) not in Range((10, 12), (10, 13))
    assert (10, 2, 9) not in Range((10, 12), (10, 13))


def refused(given: Installed, error: type[Exception] = MissingDependencyError) -> Exception:
    with pytest.raises(error) as caught:
        release_for(given)
    return caught.value


def test_nothing_installed():
    error = refused(installed("2.13.0", torch_tensorrt="", tensorrt=""))
    assert error.fix == "pip install 'torch-tensorrt==2.13.*'"


def test_torch_of_another_release():
    error = refused(installed("2.8.0", torch="2.13.0+cpu"))
    assert "torch 2.13.0+cpu, torch-tensorrt 2.8.0" in error.got
    assert "torch >=2.8,<2.9, TensorRT >=10.12,<10.13" in error.expected
    assert error.fix == "pip install 'torch-tensorrt==2.13.*'"


def test_torch_that_no_release_goes_with():
    error = refused(installed("2.13.0", torch="2.6.0", torch_tensorrt=""))
    assert error.fix == "pip install 'torch>=2.14,<2.15' 'torch-tensorrt==2.14.*'"


def test_a_release_that_was_not_read():
    error = refused(installed("2.14.0", torch_tensorrt="2.15.0"))
    assert error.got == "torch-tensorrt 2.15.0"
    assert "2.14" in error.expected


def test_tensorrt_of_another_release():
    error = refused(installed("2.13.0", tensorrt="10.16.2"))
    assert "TensorRT 10.16.2" in error.got
    assert "TensorRT >=11.0,<11.1" in error.expected


JETSON = {"jetson": True, "architecture": "aarch64"}


def test_jetpack_6_takes_2_8_and_nothing_newer():
    assert release_for(installed("2.8.0", tensorrt="10.3.0", **JETSON)).version == (2, 8, 0)
    error = refused(installed("2.13.0", tensorrt="10.3.0", **JETSON))
    assert "torch-tensorrt 2.13.0, TensorRT 10.3.0, aarch64, a Jetson" in error.got
    assert "TensorRT of no JetPack" in error.expected
    assert "'torch>=2.8,<2.9' 'torch-tensorrt==2.8.*'" in error.fix


def test_jetpack_7_2_takes_2_12():
    assert release_for(installed("2.12.1", tensorrt="10.16.2", **JETSON)).version == (2, 12, 1)


@pytest.mark.parametrize("tensorrt", ["8.5.2.2", "8.6.2", "10.13.3.9", "11.4.1"])
def test_a_jetpack_without_torch_tensorrt(tensorrt):
    error = refused(installed("2.8.0", tensorrt=tensorrt, **JETSON), BackendError)
    assert "bisenet-edge deploy jetson" in error.fix
    assert ("(5 or older)" in error.what) == (tensorrt == "8.5.2.2")


def test_a_plan_made_elsewhere_is_never_for_a_jetson():
    note = plan_note(installed("2.13.0"))
    assert "never on a Jetson" in note
    assert "bisenet-edge deploy jetson" in note
    assert plan_note(installed("2.8.0", tensorrt="10.3.0", **JETSON)) == ""


def test_looking_around_imports_no_compiler(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    found = Installed.here()
    assert found.torch == torch.__version__
    assert found.architecture
