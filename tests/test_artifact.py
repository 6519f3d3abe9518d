from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bisenet_edge.artifact import (
    MANIFEST,
    MODEL_FILES,
    Artifact,
    Manifest,
    has_artifact,
    hash_files,
    newest_artifact,
    write_manifest,
)
from bisenet_edge.errors import ArtifactError
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID

MODEL = Manifest(
    name="toy",
    created="2026-01-01T00:00:00+00:00",
    model="bisenet-xception39",
    labels=CAMVID,
    size=Size(640, 360),
    precision="int8",
    parent={"sha256": "abc"},
    calibration={"count": 64},
    tools={"onnx": "1.0"},
    measured={"verification": {"frames": 4}},
)


@pytest.fixture
def make(tmp_path):
    def artifact(name="toy", flavours=("fp32", "int8"), **fields):
        folder = tmp_path / name
        (folder / "golden").mkdir(parents=True)
        for flavour in flavours:
            (folder / MODEL_FILES[flavour]).write_bytes(flavour.encode())
        (folder / "golden" / "frame-0.png").write_bytes(b"picture")
        write_manifest(folder, replace(MODEL, name=name, files=hash_files(folder), **fields))
        return folder

    return artifact


def edit(folder, change):
    value = json.loads((folder / MANIFEST).read_text())
    change(value)
    (folder / MANIFEST).write_text(json.dumps(value))


def test_a_manifest_survives_the_round_trip():
    manifest = replace(MODEL, files={"a/b.onnx": "00"})
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


@pytest.mark.parametrize("runs", ["", "int8", "bf16", "fp32"])
def test_a_manifest_says_what_runs_by_default(runs):
    manifest = replace(MODEL, runs=runs)
    assert manifest.precision == "int8"
    assert manifest.runs == (runs or "int8")
    assert manifest.to_json()["runs"] == manifest.runs
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_an_older_manifest_runs_what_it_has(make, precision):
    folder = make(precision=precision)
    edit(folder, lambda value: value.pop("runs"))
    assert Artifact.open(folder).manifest.runs == precision


def test_the_manifest_states_the_graph_contract():
    value = MODEL.to_json()
    assert value["schema_version"] == 1
    assert (value["input"]["name"], value["input"]["dtype"]) == ("frame", "uint8")
    assert value["input"]["shape"] == [1, 360, 640, 3]
    assert (value["output"]["name"], value["output"]["dtype"]) == ("mask", "uint8")
    assert value["output"]["shape"] == [1, 360, 640]


def test_every_file_but_the_reports_is_hashed_and_found(make):
    folder = make()
    for name in ("report.html", "report.json"):
        (folder / name).touch()
    artifact = Artifact.open(folder)
    assert sorted(artifact.manifest.files) == ["golden/frame-0.png", "model.fp32.onnx", "model.int8.onnx"]
    assert sorted(hash_files(folder)) == sorted(artifact.manifest.files)
    assert artifact.model_path("int8").read_bytes() == b"int8"


@pytest.mark.parametrize("name", ["model.int8.onnx", "golden/frame-0.png"])
def test_one_changed_byte_is_found_and_named(make, name):
    folder = make()
    content = bytearray((folder / name).read_bytes())
    content[0] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match="has changed") as caught:
        Artifact.open(folder)
    assert name in caught.value.got


def test_a_missing_file_is_named(make):
    folder = make()
    (folder / "model.fp32.onnx").unlink()
    with pytest.raises(ArtifactError, match="incomplete") as caught:
        Artifact.open(folder)
    assert "model.fp32.onnx" in caught.value.got


@pytest.mark.parametrize("outside", ["../secret", "/etc/passwd", "a/../../b", "..\\secret"])
def test_a_manifest_may_not_reach_outside_its_folder(make, outside):
    folder = make()
    edit(folder, lambda value: value["files"].update({outside: "00"}))
    with pytest.raises(ArtifactError, match="outside its folder"):
        Artifact.open(folder)


@pytest.mark.parametrize("key", ["labels", "size", "files", "precision", "measured"])
def test_a_manifest_without_a_field_is_refused(make, key):
    folder = make()
    edit(folder, lambda value: value.pop(key))
    with pytest.raises(ArtifactError, match="lacks something") as caught:
        Artifact.open(folder)
    assert key in caught.value.got


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_another_schema_is_refused(make, version):
    folder = make()
    edit(folder, lambda value: value.update(schema_version=version))
    with pytest.raises(ArtifactError, match="another schema version"):
        Artifact.open(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]"])
def test_a_manifest_that_is_no_manifest(make, content):
    folder = make()
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"not JSON|not a JSON object"):
        Artifact.open(folder)


def test_no_artifact_at_all_says_how_to_make_one(tmp_path):
    with pytest.raises(ArtifactError, match="no artifact here") as caught:
        Artifact.open(tmp_path / "none")
    assert "bisenet-edge export" in caught.value.fix


@pytest.mark.parametrize("flavour", ["int8", "nonsense"])
def test_a_flavour_that_is_not_there_is_refused(make, flavour):
    artifact = Artifact.open(make(flavours=("fp32",)))
    with pytest.raises(ArtifactError, match=f"no {flavour} model") as caught:
        artifact.model_path(flavour)
    assert caught.value.expected == "fp32"


def test_the_newest_is_chosen_by_when_it_was_made(make, tmp_path):
    make("b-old", created="2026-01-01T00:00:00+00:00")
    make("a-new", created="2026-03-01T00:00:00+00:00", precision="fp32")
    make("c-middle", created="2026-02-01T00:00:00+00:00")
    assert newest_artifact(tmp_path).manifest.name == "a-new"
    assert newest_artifact(tmp_path, lambda m: m.precision == "int8").manifest.name == "c-middle"


def test_a_damaged_manifest_does_not_hide_the_good_ones(make, tmp_path):
    make("good", created="2026-01-01T00:00:00+00:00")
    (make("bad", created="2026-02-01T00:00:00+00:00") / MANIFEST).write_text("{")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / MANIFEST).write_text('{"some": "app"}')
    assert newest_artifact(tmp_path).manifest.name == "good"


def test_the_newest_is_verified(make, tmp_path):
    (make() / "model.int8.onnx").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="has changed"):
        newest_artifact(tmp_path)


def test_no_artifact_to_choose_from(make, tmp_path):
    make()
    assert has_artifact(tmp_path, lambda m: True)
    assert not has_artifact(tmp_path, lambda m: m.name == "other")
    for folder in (tmp_path / "none", tmp_path / "toy"):
        with pytest.raises(ArtifactError, match="no artifact to work on") as caught:
            newest_artifact(folder)
        assert "bisenet-edge export --int8" in caught.value.fix
