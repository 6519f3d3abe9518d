"""The bundle as a device meets it: unpacked in an empty folder, run by a Python without torch and click."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from bisenet_edge.artifact import Artifact, Manifest, hash_files, write_manifest
from bisenet_edge.boards import load_board
from bisenet_edge.errors import ArtifactError, SinkError
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.selftest import write_golden
from bisenet_edge.toolchain.bundle import build_pyz, make_bundle

SIZE = Size(64, 32)
LABELS = LabelSet("toy", ("dark", "middle", "bright"), ((0, 0, 0), (128, 128, 128), (255, 255, 255)))
RUN_WITHOUT = """
import runpy, sys
for name in ("torch", "click", "openvino", "onnxsim", "safetensors", "tqdm", "jinja2", "matplotlib"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(sys.modules["bisenet_edge"].__file__, file=sys.stderr)
"""


def toy_onnx(path):
    """The graph contract in seven nodes: brightness of 8x8 blocks -> class."""
    height, width = SIZE.hw
    constants = {
        "weight": np.array([-1, 0, 1], np.float32).reshape(3, 1, 1, 1).repeat(3, 1) / 3,
        "bias": np.array([100, 20, -150], np.float32),
        "sizes": np.array([1, 3, height, width], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["pooled", "weight", "bias"], ["logits"]),
        helper.make_node("Resize", ["logits", "", "", "sizes"], ["full"], mode="linear"),
        helper.make_node("ArgMax", ["full"], ["ids"], axis=1, keepdims=0),
        helper.make_node("Cast", ["ids"], ["mask"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, height, width, 3])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, [1, height, width])],
        [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "toy-64x32"
    folder.mkdir()
    for precision in ("fp32", "int8"):
        toy_onnx(folder / f"model.{precision}.onnx")
    session = onnxruntime.InferenceSession(folder / "model.fp32.onnx", providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    frames = [
        np.kron(random.integers(0, 256, (4, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(2)
    ]
    masks = [session.run(["mask"], {"frame": f[None]})[0][0] for f in frames]
    assert len(np.unique(masks)) == 3
    write_golden(folder, frames, {"int8": masks, "fp32": masks})
    write_manifest(
        folder, Manifest(folder.name, "2026-01-01", "toy", LABELS, SIZE, "int8", hash_files(folder))
    )
    return Artifact.open(folder)


@pytest.fixture
def unpacked(artifact, tmp_path):
    bundle = make_bundle(artifact, load_board("orin-nano"), tmp_path / "out")
    with tarfile.open(bundle.path) as archive:
        archive.extractall(tmp_path / "device", filter="data")
    return tmp_path / "device" / bundle.name


def test_a_bundle_says_what_is_in_it(artifact, tmp_path):
    seen = []
    bundle = make_bundle(artifact, load_board(), tmp_path / "new" / "folder", lambda *step: seen.append(step))
    assert bundle.path.name == "bisenet-edge-orin-nano-toy-64x32.tar.gz"
    assert bundle.sha256 == hashlib.sha256(bundle.path.read_bytes()).hexdigest()
    with tarfile.open(bundle.path) as archive:
        assert archive.getnames() == [f"{bundle.name}/{file}" for file in bundle.files]
    assert seen[-1] == ("packing", len(bundle.files), len(bundle.files))
    assert [p.name for p in bundle.path.parent.iterdir()] == [bundle.path.name]


def test_two_builds_are_byte_identical(artifact, tmp_path):
    copy = tmp_path / "elsewhere" / artifact.path.name
    shutil.copytree(artifact.path, copy)
    for file in copy.rglob("*"):
        os.utime(file, (0, 0))
    first = make_bundle(artifact, load_board(), tmp_path / "a").path.read_bytes()
    second = make_bundle(Artifact.open(copy), load_board(), tmp_path / "b").path.read_bytes()
    assert first == second


def test_sums_cover_every_file(unpacked):
    listed = {line.split("  ")[1] for line in (unpacked / "SHA256SUMS").read_text().splitlines()}
    there = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    assert listed == there - {"SHA256SUMS"}
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=unpacked, check=True)
    assert not [
        p for p in there if "@" in (unpacked / p).read_text("utf-8", errors="ignore") and "." not in p
    ]
    board = json.loads((unpacked / "board.json").read_text())
    assert board["name"] == "orin-nano"
    assert board["modes"][0]["int8_dense_tops"] == 20


def test_templates_are_filled(unpacked):
    for name in ("install.sh", "README.txt"):
        text = (unpacked / name).read_text()
        assert not [word for word in ("@BUNDLE@", "@ENGINES@", "@BOARD@") if word in text]
    assert "Jetson Orin Nano 8GB" in (unpacked / "README.txt").read_text()


def test_the_pyz_holds_the_device_side_only():
    with zipfile.ZipFile(io.BytesIO(build_pyz())) as archive:
        names = archive.namelist()
        for name in names:
            if name.endswith(".py"):
                # JetPack 5 has Python 3.8.
                ast.parse(archive.read(name), name, feature_version=(3, 8))
        assert archive.read("bisenet_edge/cli/__init__.py") == b""
    assert [n for n in names if n.startswith("bisenet_edge/cli/")] == [
        "bisenet_edge/cli/__init__.py",
        "bisenet_edge/cli/device.py",
        "bisenet_edge/cli/device_profile.py",
        "bisenet_edge/cli/device_run.py",
    ]
    assert "bisenet_edge/runtime/selftest.py" in names
    assert not [n for n in names if "toolchain" in n or "__pycache__" in n or n.endswith(".safetensors")]


def test_it_runs_without_torch_and_click(unpacked):
    def run(*words):
        command = [sys.executable, "-I", "-c", RUN_WITHOUT, str(unpacked / "bisenet-edge.pyz"), *words]
        return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)

    test = run("selftest", "--json")
    assert test.returncode == 0, test.stderr
    # Not the package of this checkout: the one in the zip.
    assert str(unpacked / "bisenet-edge.pyz") in test.stderr
    result = json.loads(test.stdout)
    assert (result["backend"], result["agreements"]) == ("onnxruntime", [1.0, 1.0])
    info = run("info")
    assert info.returncode == 0, info.stderr
    assert "Jetson Orin Nano 8GB" in info.stdout
    assert "openvino          not installed" in info.stdout


def test_a_changed_artifact_is_not_bundled(artifact, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(artifact.path, copy)
    opened = Artifact.open(copy)
    with (copy / "model.int8.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match="changed"):
        make_bundle(opened, load_board(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_of_the_folder_is_an_error(artifact, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(SinkError):
        make_bundle(artifact, load_board(), tmp_path / "out")


def install(folder, *words, **environment):
    return subprocess.run(
        ["sh", str(folder / "install.sh"), *map(str, words)],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def seal(folder):
    files = [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    digests = {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in files}
    (folder / "SHA256SUMS").write_text("".join(f"{digests[f]}  {f}\n" for f in files))


def another_release(unpacked):
    """The same bundle with another README: another release id."""
    folder = unpacked.with_name("next")
    shutil.copytree(unpacked, folder)
    (folder / "README.txt").write_text("next\n")
    seal(folder)
    return folder


def state(prefix):
    links = {n: os.readlink(prefix / n) for n in ("current", "previous") if (prefix / n).is_symlink()}
    releases = sorted(p.name for p in (prefix / "releases").iterdir())
    return links, releases


def test_install_again_upgrade_and_rollback(unpacked, tmp_path):
    prefix = tmp_path / "prefix"
    options = ("--prefix", prefix, "--no-service")
    first = install(unpacked, *options)
    assert first.returncode == 0, first.stderr
    assert "passed" in first.stdout
    links, releases = state(prefix)
    assert set(links) == {"current"}
    assert len(releases) == 1

    assert install(unpacked, *options).returncode == 0
    assert state(prefix) == (links, releases), "installing the same again changes nothing"
    nothing = install(unpacked, "--rollback", *options)
    assert nothing.returncode == 1
    assert "no previous release" in nothing.stderr

    assert install(another_release(unpacked), *options).returncode == 0
    upgraded, both = state(prefix)
    assert upgraded["previous"] == links["current"] != upgraded["current"]
    assert len(both) == 2

    assert install(unpacked, "--rollback", *options).returncode == 0
    assert state(prefix)[0] == {"current": upgraded["previous"], "previous": upgraded["current"]}
    installed = subprocess.run(
        [sys.executable, "-I", str(prefix / "current" / "bisenet-edge.pyz"), "info", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(installed.stdout)["artifact"]["name"] == "toy-64x32"


def test_a_damaged_release_is_repaired(unpacked, tmp_path):
    prefix = tmp_path / "prefix"
    assert install(unpacked, "--prefix", prefix, "--no-service").returncode == 0
    model = prefix / "current" / "artifact" / "model.int8.onnx"
    model.write_bytes(b"")
    assert install(unpacked, "--prefix", prefix, "--no-service").returncode == 0
    assert model.stat().st_size > 0
    assert len(state(prefix)[1]) == 1


def test_a_changed_byte_stops_the_installation(unpacked, tmp_path):
    model = unpacked / "artifact" / "model.int8.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    done = install(unpacked, "--prefix", tmp_path / "prefix", "--no-service")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert "model.int8.onnx" in done.stderr
    assert not (tmp_path / "prefix").exists()


def test_a_failed_selftest_leaves_the_old_release(unpacked, tmp_path):
    prefix = tmp_path / "prefix"
    assert install(unpacked, "--prefix", prefix, "--no-service").returncode == 0
    before = state(prefix)
    folder = another_release(unpacked)
    inside = folder / "artifact"
    manifest = Artifact.open(inside).manifest
    shutil.copy(inside / "golden" / "mask.int8-1.png", inside / "golden" / "mask.int8-0.png")
    write_manifest(inside, replace(manifest, files=hash_files(inside)))
    seal(folder)
    done = install(folder, "--prefix", prefix, "--no-service")
    assert done.returncode == 3
    assert "self-test failed" in done.stderr
    assert state(prefix) == before


@pytest.mark.parametrize(
    ("words", "environment", "status", "says"),
    [
        (["--prefix", "/tmp/a b", "--no-service"], {}, 2, "unusual character"),
        (["--prefix"], {}, 2, "needs a folder"),
        (["--servce"], {}, 2, "unknown option"),
        (["--prefix", "/proc/none", "--no-service"], {}, 1, "cannot write"),
        (["--prefix", "x", "--no-service"], {"PYTHON": "no-such-python"}, 1, "python3 is not installed"),
        (["--prefix", "x", "--no-service"], {"PYTHON": "/bin/false"}, 1, "older than Python 3.8"),
    ],
)
def test_wrong_use_is_one_clear_error(unpacked, words, environment, status, says):
    done = install(unpacked, *words, **environment)
    assert done.returncode == status
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_onnx_runtime_alone_is_no_engine(unpacked, tmp_path):
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\ncase $* in *"import openvino"* | *", onnx"*) exit 1;; esac\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    done = install(unpacked, "--prefix", tmp_path / "p", "--no-service", PYTHON=str(python))
    assert done.returncode == 1
    assert "onnxruntime with onnx" in done.stderr


def test_a_missing_package_is_named_with_its_remedy(unpacked, tmp_path):
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase $* in *"import cv2"*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = install(unpacked, "--prefix", tmp_path / "p", "--no-service", PYTHON=str(python))
    assert done.returncode == 1
    assert "sudo apt-get install -y python3-opencv" in done.stderr
