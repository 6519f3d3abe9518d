"""Dockerfile.jetson, really built on a stand-in for NVIDIA's base image and really run, on a CPU."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from images import Store
from needs import need_programs, need_root
from street import read_masks
from trees import BASE_IMAGE, debian_tree

pytestmark = pytest.mark.emulated
DOCKER = Path(__file__).resolve().parents[2] / "docker"
START_LIMIT_S = 120.0


@pytest.fixture(scope="module")
def image(tmp_path_factory, release):
    """The image with ONNX Runtime in TensorRT's place."""
    need_root("building images without a container engine")
    need_programs("buildah", "mmdebstrap", "setpriv")
    store = Store(tmp_path_factory.mktemp("images") / "store")
    try:
        base = store.take_tree("base:amd64", debian_tree("amd64", BASE_IMAGE, "apt"))
        began = time.monotonic()
        arguments = {"BASE": base, "ENGINE": "onnxruntime"}
        image = store.build("bisenet-edge:amd64", DOCKER / "Dockerfile.jetson", release, arguments)
        print(f"built in {time.monotonic() - began:.0f} s")
        yield image
    finally:
        store.remove()


@pytest.fixture(scope="module")
def container(image):
    return image.start()


def test_the_image_says_what_it_is(image):
    config = image.config()
    assert config["User"] == "900"
    assert config["Entrypoint"] == ["/opt/venv/bin/python", "/opt/bisenet-edge/bisenet-edge.pyz"]
    assert config["Cmd"] == ["serve", "--backend", "tensorrt"]
    assert config["Healthcheck"]["Retries"] == 3
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert set(config["Volumes"]) == {"/data", "/var/cache/bisenet-edge"}


def test_nothing_in_it_is_root_or_torch(container):
    assert container.run("id", "-u").stdout.strip() == "900"
    python = container.config["Entrypoint"][0]
    assert "No module named 'torch'" in container.run(python, "-c", "import torch").stderr
    listed = json.loads(container.run(python, "-m", "pip", "list", "--format=json").stdout)
    names = {package["name"].lower() for package in listed}
    assert {"numpy", "opencv-python-headless", "onnxruntime", "onnx"} <= names
    assert not [name for name in names if "torch" in name]


def test_it_can_write_where_volumes_are_and_nowhere_else(container):
    script = (
        "find / -xdev -writable ! -type l ! -path '/proc/*' ! -path '/dev/*' ! -path '/sys/*' 2>/dev/null"
    )
    places = set(container.run("sh", "-c", script).stdout.split())
    places -= {place for place in places if place.startswith(("/tmp", "/var/tmp", "/run"))}
    assert places == {"/data", "/var/cache/bisenet-edge"}


def test_gstreamer_is_at_hand_for_cameras(container):
    script = "import gi; gi.require_version('GstApp', '1.0'); from gi.repository import Gst; Gst.init(None);"
    script += "assert Gst.ElementFactory.find('v4l2src') and Gst.ElementFactory.find('appsink')"
    done = container.run(container.config["Entrypoint"][0], "-c", script)
    assert done.returncode == 0, done.stderr


def test_frames_become_masks(container, street, tmp_path):
    assert container.program("selftest").returncode == 0
    # What a user binds to /data must belong to the service's user.
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, int(container.config["User"]), -1)
    binds = [f"{street}:/street:ro", f"{data}:/data"]
    done = container.program("run", "/street/frames", "/data/masks/", binds=binds)
    assert done.returncode == 0, done.stdout + done.stderr
    read_masks(data / "masks")


def test_without_tensorrt_it_ends_and_says_why(container):
    done = container.program(*container.config["Cmd"], environment={"SOURCE": "synthetic://"})
    print(done.stderr)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert "TensorRT" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_source_it_ends_and_says_why(container):
    done = container.program(*container.config["Cmd"])
    assert done.returncode == 2
    assert "SOURCE is empty" in done.stderr


def test_healthy_means_that_masks_come_out(container):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kind, *check = container.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    environment = {
        "SOURCE": "synthetic://?size=320x180&seconds=100000",
        "SINKS": f"http://127.0.0.1:{port}",
        "HEALTH_URL": f"http://127.0.0.1:{port}/healthz",
    }
    assert container.run(*check, environment=environment).returncode == 1
    service = container.popen(
        *container.config["Entrypoint"], "serve", "--backend", "cpu", environment=environment
    )
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while container.run(*check, environment=environment).returncode:
            assert service.poll() is None, service.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.5)
        # The program itself is stopped: it lives, and delivers nothing.
        _signal_service(port, "STOP")
        _wait_until_sick(container, check, environment)
        _signal_service(port, "CONT")
    finally:
        _signal_service(port, "TERM")
        service.communicate(timeout=60)


def _signal_service(port: int, name: str) -> None:
    # Its arguments do not tell the port; its environment does. Only processes of this test have it.
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"SINKS=http://127.0.0.1:{port}".encode() in environment and command.startswith(b"/opt/venv/"):
            subprocess.run(["kill", f"-{name}", folder.name], check=False)


def _wait_until_sick(container, check, environment) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while container.run(*check, environment=environment).returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)
