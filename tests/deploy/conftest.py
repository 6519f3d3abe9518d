"""Bundles of the toy network, keys, and a device in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from devices import Device
from toy_artifact import toy_artifact

from bisenet_edge.boards import load_board
from bisenet_edge.toolchain.bundle import Bundle, make_bundle
from bisenet_edge.toolchain.signing import KeyPair, make_key, sign

if shutil.which("ssh-keygen") is None:
    pytest.skip("no ssh-keygen: apt-get install -y openssh-client", allow_module_level=True)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deploy")


@pytest.fixture(scope="session")
def key(made: Path) -> KeyPair:
    return make_key(made / "key", "release@example.org", passphrase=False)


@pytest.fixture(scope="session")
def foreign_key(made: Path) -> KeyPair:
    return make_key(made / "foreign", "release@example.org", passphrase=False)


def _bundle(made: Path, key: KeyPair, created: str) -> Bundle:
    artifact = toy_artifact(made / created / "toy-64x32", created)
    bundle = make_bundle(artifact, load_board("cpu"), made / created / "out")
    sign(bundle.path, key.private)
    return bundle


@pytest.fixture(scope="session")
def bundle(made: Path, key: KeyPair) -> Bundle:
    """Signed; do not change it."""
    return _bundle(made, key, "2026-01-01")


@pytest.fixture(scope="session")
def newer(made: Path, key: KeyPair) -> Bundle:
    """A later release, signed; do not change it."""
    return _bundle(made, key, "2026-02-01")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "device")


@pytest.fixture
def trusting(device: Device, key: KeyPair) -> Device:
    """A device that trusts `key`."""
    shutil.copy(key.trusted_signers, device.etc / "trusted_signers")
    return device
