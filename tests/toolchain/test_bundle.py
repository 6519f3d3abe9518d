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

import pytest
from toy_artifact import toy_artifact

from bisenet_edge.artifact import Artifact
from bisenet_edge.boards import load_board
from bisenet_edge.errors import ArtifactError, SinkError, UsageError
from bisenet_edge.toolchain import bundle as bundling
from bisenet_edge.toolchain.bundle import make_bundle
from bisenet_edge.toolchain.pyz import build_pyz

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


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return toy_artifact(tmp_path_factory.mktemp("made") / "toy-64x32")


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
    assert bundle.files[0] == "release.json"
    assert {p.name for p in bundle.path.parent.iterdir()} == {bundle.path.name, "verify-and-install.sh"}
    assert json.loads(json.dumps(bundle.to_json()))["serial"] == bundle.serial


def test_two_builds_are_byte_identical(artifact, tmp_path):
    copy = tmp_path / "elsewhere" / artifact.path.name
    shutil.copytree(artifact.path, copy)
    for file in copy.rglob("*"):
        os.utime(file, (0, 0))
    first = make_bundle(artifact, load_board(), tmp_path / "a").path.read_bytes()
    second = make_bundle(Artifact.open(copy), load_board(), tmp_path / "b").path.read_bytes()
    assert first == second


def test_what_was_signed_before_is_signed_no_more(artifact, tmp_path):
    bundle = make_bundle(artifact, load_board(), tmp_path)
    signature = bundle.path.with_name(f"{bundle.path.name}.sig")
    signature.write_text("of the old one")
    make_bundle(artifact, load_board(), tmp_path)
    assert not signature.exists()


def test_a_bundle_says_what_it_is(artifact, unpacked):
    release = json.loads((unpacked / "release.json").read_text())
    assert (release["name"], release["board"]) == (unpacked.name, "orin-nano")
    assert release["serial"].endswith(f".{1767225600}"), "2026-01-01, 00:00 UTC"
    assert release["artifact"]["files"] == artifact.manifest.files
    assert release["contract"]["input"]["channels"] == "BGR"
    assert release["licences"]["program"] == "Apache-2.0"
    assert "Apache License" in (unpacked / release["licences"]["text"]).read_text()
    assert (unpacked / release["sbom"]).is_file()
    model = sum((unpacked / "artifact" / f"model.{p}.onnx").stat().st_size for p in ("fp32", "int8"))
    assert release["size_bytes"]["model"] == model
    assert release["size_bytes"]["program"] == (unpacked / "bisenet-edge.pyz").stat().st_size


def test_without_the_model_a_bundle_is_below_1_mb(artifact, tmp_path, monkeypatch):
    # The toy's golden frames are tiny; those of a real artifact are cut to this many bytes.
    bundle = make_bundle(artifact, load_board(), tmp_path)
    parts = bundle.part_bytes
    assert sum(parts.values()) - parts["model"] - parts["golden frames"] + bundling.GOLDEN_BYTES < 1_000_000
    assert set(parts) == {"program", "model", "golden frames", "installer", "papers"}


def test_golden_frames_are_as_many_as_fit_and_one_at_least(tmp_path, monkeypatch):
    artifact = toy_artifact(tmp_path / "many", frames=12)
    one = sum((artifact.path / f).stat().st_size for f in artifact.manifest.files if f.endswith("-0.png"))
    for limit, expected in ((1, 1), (one * 4, range(2, 5)), (10**6, 12)):
        monkeypatch.setattr(bundling, "GOLDEN_BYTES", limit)
        manifest = bundling.device_manifest(artifact)
        frames = sorted(f for f in manifest.files if "frame-" in f)
        assert len(frames) in (expected if isinstance(expected, range) else [expected])
        assert len([f for f in manifest.files if "mask.int8-" in f]) == len(frames)
        assert "golden/frame-0.png" in frames


@pytest.mark.parametrize(
    ("created", "epoch", "error"),
    [("yesterday", "", ArtifactError), ("2026-01-01", "soon", UsageError), ("2026-01-01", "-1", UsageError)],
)
def test_a_release_without_a_time_is_refused(tmp_path, monkeypatch, created, epoch, error):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(error):
        make_bundle(toy_artifact(tmp_path / "toy", created), load_board(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
    cli = [n.split("/")[-1] for n in names if n.startswith("bisenet_edge/cli/")]
    assert {"__init__.py", "device.py", "device_install.py"} <= set(cli)
    assert not [n for n in cli if not n.startswith(("device", "__init__"))]
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


def test_a_name_that_a_shell_would_read_is_not_bundled(artifact, tmp_path):
    manifest = replace(artifact.manifest, name="toy'; touch evil; '")
    with pytest.raises(UsageError, match="cannot have this name"):
        make_bundle(replace(artifact, manifest=manifest), load_board(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_of_the_folder_is_an_error(artifact, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(SinkError):
        make_bundle(artifact, load_board(), tmp_path / "out")
