"""Engines on disk: which one serves, why not, and that readers never see half of one."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from toy_graph import toy_artifact

from bisenet_edge.errors import SinkError
from bisenet_edge.runtime.tensorrt import store as store_module
from bisenet_edge.runtime.tensorrt.store import EngineKey, EngineStore

KEY = EngineKey(
    model_sha256="a" * 64,
    gpu="Orin",
    compute_capability="8.7",
    tensorrt="10.3.0",
    precision="int8",
    typing="weak",
    size="64x32",
    opt_level=None,
    workspace_mb=None,
)
FACTS = {"built": "", "build_s": 1.0, "notes": [], "selftest": {}, "layers": {}}
GPU, TENSORRT = "Orin, compute capability 8.7", "10.3.0"


@pytest.fixture
def artifact(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    return toy_artifact(folder)


@pytest.fixture
def store(artifact, tmp_path):
    return EngineStore(artifact, tmp_path / "cache")


def test_nothing_is_there_at_first(store):
    assert store.find(KEY) == (None, [])


def test_an_active_engine_is_found_with_its_facts(store):
    stored = store.activate(KEY, b"plan", FACTS)
    found, reasons = store.find(KEY)
    assert (found, reasons) == (stored, [])
    assert found.plan.read_bytes() == b"plan"
    assert found.record["build_s"] == 1.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_sha256": "b" * 64}, "the model has changed"),
        ({"gpu": "Thor"}, "built on Orin, this is Thor"),
        ({"compute_capability": "11.0"}, "built for compute capability 8.7, this is 11.0"),
        ({"tensorrt": "10.16.1"}, "built for TensorRT 10.3.0, this is 10.16.1"),
        ({"typing": "strong"}, "built with weak typing, wanted strong"),
        ({"size": "128x64"}, "built for 64x32, wanted 128x64"),
        ({"opt_level": 5}, "built with --opt-level the default, wanted 5"),
        ({"workspace_mb": 64}, "built with --workspace-mb the default, wanted 64"),
    ],
)
def test_what_differs_is_named(store, change, reason):
    store.activate(KEY, b"plan", FACTS)
    assert store.find(replace(KEY, **change)) == (None, [reason])


def test_every_reason_is_named(store):
    store.activate(KEY, b"plan", FACTS)
    _, reasons = store.find(replace(KEY, gpu="Thor", tensorrt="10.13.3"))
    assert len(reasons) == 2


def test_an_engine_built_with_a_level_serves_who_does_not_ask_for_one(store):
    store.activate(replace(KEY, opt_level=5), b"plan", FACTS)
    assert store.find(KEY)[0] is not None


def test_a_changed_file_is_not_used(store):
    store.activate(KEY, b"plan", FACTS).plan.write_bytes(b"plAn")
    assert store.find(KEY) == (None, ["its file has changed since it was written (checksum differs)"])


def test_a_missing_file_is_not_used(store):
    store.activate(KEY, b"plan", FACTS).plan.unlink()
    assert store.find(KEY) == (None, ["its file cannot be read (No such file or directory)"])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema_version": 99}', '{"schema_version": 1, "key": 7}', '{"schema_version": 1}'],
)
def test_a_record_that_cannot_be_trusted_is_not_used(store, text):
    store.activate(KEY, b"plan", FACTS)
    (store.folder / "int8.json").write_text(text)
    found, reasons = store.find(KEY)
    assert found is None
    assert len(reasons) == 1
    assert reasons[0].startswith("its record")


def test_a_new_engine_replaces_the_old_one_and_its_file(store):
    old = store.activate(KEY, b"old", FACTS)
    new = store.activate(KEY, b"new", FACTS)
    assert not old.plan.exists()
    assert store.find(KEY)[0] == new
    assert sorted(p.suffix for p in store.folder.iterdir()) == [".json", ".plan"]


def test_precisions_stand_side_by_side(store):
    store.activate(KEY, b"int8", FACTS)
    store.activate(replace(KEY, precision="fp16"), b"fp16", FACTS)
    assert store.find(KEY)[0].plan.read_bytes() == b"int8"


def test_a_failure_while_writing_leaves_the_old_engine(store, monkeypatch):
    old = store.activate(KEY, b"old", FACTS)
    real = store_module.write_whole

    def full_disk(path, data):
        if path.suffix == ".json":
            raise SinkError("no space")
        real(path, data)

    monkeypatch.setattr(store_module, "write_whole", full_disk)
    with pytest.raises(SinkError):
        store.activate(KEY, b"new", FACTS)
    assert store.find(KEY) == (old, [])


def test_a_choice_outlives_an_update_of_tensorrt_and_says_so(store):
    store.folder.mkdir(parents=True)
    store.write_choice("fp16", "faster", GPU, TENSORRT)
    assert store.read_choice(GPU, TENSORRT)["reason"] == "faster"
    later = store.read_choice(GPU, "10.13.3")
    assert later["chosen"] == "fp16"
    assert later["reason"] == "faster (with TensorRT 10.3.0; not timed with 10.13.3 yet)"


def test_a_choice_of_another_gpu_is_none(store):
    store.folder.mkdir(parents=True)
    store.write_choice("fp16", "faster", "Thor, compute capability 11.0", TENSORRT)
    assert store.read_choice(GPU, TENSORRT) == {}


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"chosen": "int8"})])
def test_a_damaged_choice_is_none(store, text):
    store.folder.mkdir(parents=True)
    (store.folder / "choice.json").write_text(text)
    assert store.read_choice(GPU, TENSORRT) == {}


def test_the_lock_is_never_opened_through_a_link(store, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    store.folder.mkdir(parents=True)
    (store.folder / "lock").symlink_to(victim)
    with pytest.raises(SinkError), store.locked():
        pass
    assert victim.read_text() == "precious"


def test_one_builder_at_a_time(store):
    order = []
    inside = threading.Event()

    def second():
        with store.locked():
            order.append("second")

    with store.locked():
        thread = threading.Thread(target=lambda: (inside.set(), second()))
        thread.start()
        inside.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_cache_that_cannot_be_written_says_what_to_do(store, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SinkError, match="BISENET_EDGE_CACHE=DIR"), store.locked():
        pass


def test_artifacts_of_one_name_do_not_share_engines(artifact, tmp_path):
    first = artifact
    files = {**first.manifest.files, "model.fp32.onnx": "f" * 64}
    second = replace(first, manifest=replace(first.manifest, files=files))
    assert EngineStore(first, tmp_path).folder != EngineStore(second, tmp_path).folder
