from __future__ import annotations

import os

import numpy as np
import pytest

from bisenet_edge.artifact import Artifact
from bisenet_edge.runtime.backends.openvino import OpenVinoSession
from bisenet_edge.runtime.cache_folder import MOST_COMPILED, SUMS, compiled_model, default_cache, seal


def test_a_release_finds_its_own_engines(monkeypatch, tmp_path):
    for name in ("BISENET_EDGE_CACHE", "CACHE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "engines").mkdir()
    monkeypatch.setattr("sys.argv", [str(tmp_path / "bisenet-edge.pyz"), "run"])
    assert default_cache() == tmp_path / "engines"


def test_where_engines_are_kept(monkeypatch, tmp_path):
    for name in ("BISENET_EDGE_CACHE", "CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "bisenet-edge"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(default_cache()) == "/xdg/bisenet-edge"
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/bisenet-edge")
    assert str(default_cache()) == "/var/cache/bisenet-edge"
    monkeypatch.setenv("BISENET_EDGE_CACHE", "/mine")
    assert str(default_cache()) == "/mine"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("BISENET_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_for_a_compiled_model_is_made_for_us_alone(cache):
    folder = compiled_model("key")
    assert folder == cache / "openvino" / "key"
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
@pytest.mark.parametrize("which", ["key", "."])
def test_a_folder_that_others_may_write_is_not_read(cache, mode, which):
    compiled_model("key")
    (cache / "openvino" / which).chmod(mode)
    assert compiled_model("key") is None


def test_no_folder_is_no_error(cache):
    cache.write_text("a file")
    assert compiled_model("key") is None


def test_files_that_were_not_sealed_are_removed(cache):
    folder = compiled_model("key")
    (folder / "1.blob").write_bytes(b"one")
    seal(folder)
    (folder / "2.blob").write_bytes(b"two")
    assert compiled_model("key") == folder
    assert (folder / "1.blob").is_file()
    assert not (folder / "2.blob").exists()
    (folder / "1.blob").write_bytes(b"one, changed")
    compiled_model("key")
    assert not (folder / "1.blob").exists()


def test_sums_that_cannot_be_read_trust_nothing(cache):
    folder = compiled_model("key")
    (folder / "1.blob").write_bytes(b"one")
    (folder / SUMS).write_text("not JSON")
    compiled_model("key")
    assert not (folder / "1.blob").exists()


def test_the_models_compiled_longest_ago_are_forgotten(cache):
    for number in range(MOST_COMPILED + 2):
        folder = compiled_model(str(number))
        os.utime(folder, (number, number))
    seal(folder)
    left = {path.name for path in folder.parent.iterdir()}
    assert left == {str(number) for number in range(2, MOST_COMPILED + 2)}


def masks(folder):
    artifact = Artifact.open(folder)
    size = artifact.manifest.size
    frame = np.random.default_rng(0).integers(0, 256, (size.height, size.width, 3), np.uint8)
    session = OpenVinoSession(artifact, "int8")
    mask = np.empty(frame.shape[:2], np.uint8)
    session.infer(frame, mask)
    return mask, session.describe()


def test_a_model_compiled_before_gives_the_same_masks(cache, small_artifact):
    first, about = masks(small_artifact)
    (blob,) = cache.glob("openvino/*/*.blob")
    written_ns = blob.stat().st_mtime_ns
    second, again = masks(small_artifact)
    assert (first == second).all()
    assert again == about
    assert [path.stat().st_mtime_ns for path in cache.glob("openvino/*/*.blob")] == [written_ns]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_one_is_compiled_anew(cache, small_artifact, damage):
    expected, _ = masks(small_artifact)
    (blob,) = cache.glob("openvino/*/*.blob")
    data = bytearray(blob.read_bytes())
    if damage == "changed":
        data[len(data) // 3 : len(data) // 3 + 64] = bytes(64)
    blob.chmod(0o600)
    blob.write_bytes({"cut": data[: len(data) // 2], "changed": data, "empty": b""}[damage])
    mask, _ = masks(small_artifact)
    assert (mask == expected).all()
