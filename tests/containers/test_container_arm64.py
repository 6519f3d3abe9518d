"""Dockerfile.jetson built and run as an ARM image, under qemu-user."""

from __future__ import annotations

from pathlib import Path

import pytest
from images import Store
from needs import need_own_binfmt, need_programs, need_root
from trees import BASE_IMAGE, debian_tree

pytestmark = pytest.mark.emulated
DOCKER = Path(__file__).resolve().parents[2] / "docker"


def test_the_arm_image_passes_the_selftest(tmp_path, release):
    need_root("building images without a container engine")
    need_programs("buildah", "mmdebstrap", "setpriv", "unshare", "qemu-aarch64-static")
    need_own_binfmt()
    store = Store(tmp_path / "store", arch="arm64", driver="vfs")
    try:
        base = store.take_tree("base:arm64", debian_tree("arm64", BASE_IMAGE, "apt"))
        # GStreamer's 200 packages under emulation take a quarter of an hour, and no camera is here.
        arguments = {"BASE": base, "ENGINE": "onnxruntime", "PACKAGES": ""}
        image = store.build("bisenet-edge:arm64", DOCKER / "Dockerfile.jetson", release, arguments)
        container = image.start()
        assert container.run("uname", "-m").stdout == "aarch64\n"
        done = container.program("selftest", "--precision", "int8")
        print(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "passed" in done.stdout
    finally:
        store.remove()
