"""Dockerfile.toolkit, built on a Debian stand-in for python:3.12-slim, and run from network to bundle."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from images import Store
from needs import need_programs, need_root
from trees import BASE_IMAGE, PYTHON, debian_tree

pytestmark = pytest.mark.emulated
ROOT = Path(__file__).resolve().parents[2]
TORCH = "torch==2.13.0"


def torch_index(folder: Path) -> Path:
    """A package index of this machine's own with PyTorch and what it needs, from where pip has it here."""
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", str(wheels)]
    pip += ["--python-version", PYTHON, "--implementation", "cp"]
    pip += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"]
    subprocess.run([*pip, TORCH], check=True)
    for wheel in wheels.iterdir():
        name = wheel.name.split("-", 1)[0].lower().replace("_", "-")
        page = folder / "index" / name / "index.html"
        page.parent.mkdir(parents=True)
        wheel.rename(page.parent / wheel.name)
        page.write_text(f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>')
    return folder / "index"


def test_the_toolkit_image_exports_and_packs(tmp_path):
    need_root("building images without a container engine")
    need_programs("buildah", "mmdebstrap", "setpriv")
    store = Store(tmp_path / "store")
    try:
        index = torch_index(tmp_path)
        tree = debian_tree("amd64", f"{BASE_IMAGE},python3,python3-venv", "apt")
        base = store.take_tree("python:amd64", tree)
        began = time.monotonic()
        arguments = {"BASE": base, "TORCH": TORCH, "TORCH_INDEX": "file:///torch-index"}
        dockerfile = ROOT / "docker/Dockerfile.toolkit"
        image = store.build("toolkit:amd64", dockerfile, ROOT, arguments, [f"{index}:/torch-index:ro"])
        print(f"built in {time.monotonic() - began:.0f} s")
        container = image.start()
        assert container.run("id", "-u").stdout.strip() == "1000"
        assert container.run("ls", "/src").returncode != 0
        small = ("--res", "96x64", "--data", "synthetic:?count=8&size=96x64", "--count", "4")
        for words in (("export", "--int8", *small), ("deploy", "jetson", "--board", "orin-nano")):
            done = container.program(*words)
            print(done.stdout)
            assert done.returncode == 0, done.stdout + done.stderr
        listed = container.run("sh", "-c", "ls bundles").stdout.split()
        assert [name for name in listed if name.endswith(".tar.gz")]
    finally:
        store.remove()
