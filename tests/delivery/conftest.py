"""Devices for the tests: a real sshd on loopback, a cable to it, a stand-in for the installer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from standin_device import StandIn
from throwaway_sshd import Proxy, Sshd


@pytest.fixture(scope="session")
def one_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None or shutil.which("ssh") is None:
        pytest.skip("needs sshd: sudo apt-get install -y openssh-server openssh-client")
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def sshd(one_sshd: Sshd) -> Sshd:
    """The sshd of all tests, with nothing left of the test before."""
    one_sshd.renew()
    return one_sshd


@pytest.fixture
def proxy(sshd: Sshd) -> Iterator[Proxy]:
    """The device "cable" behind a proxy."""
    made = Proxy(sshd.port)
    sshd.add("cable", made.port)
    yield made
    made.close()


@pytest.fixture
def device(sshd: Sshd, tmp_path: Path) -> StandIn:
    prefix = tmp_path / "opt" / "bisenet-edge"
    (prefix / "releases" / "old").mkdir(parents=True)
    (prefix / "current").symlink_to("releases/old")
    (sshd.folder / "state" / "bisenet-edge.service").write_text("old\n")
    gates = tmp_path / "gates"
    gates.mkdir()
    bundle = tmp_path / "bisenet-edge-orin-nano-toy.tar.gz"
    bundle.write_bytes(os.urandom(3_000_000))
    # Where the fake systemctl looks which release is current.
    (sshd.folder / "state" / "prefix").symlink_to(prefix)
    return StandIn(sshd, prefix, gates, bundle)
