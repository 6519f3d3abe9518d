from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bisenet_edge.errors import CheckpointError, SinkError, UsageError
from bisenet_edge.labels import CITYSCAPES
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.models.bisenet_config import XCEPTION39


@pytest.fixture
def file(tmp_path, checkpoint):
    path = tmp_path / "a.safetensors"
    checkpoints.write(path, checkpoint)
    return path


def test_round_trip(file, checkpoint, network, frames):
    read = checkpoints.read(file)
    assert (read.model, read.labels) == (checkpoint.model, checkpoint.labels)
    assert (read.recipe, read.metrics) == ({"seed": 0}, {"miou": 0.5})
    assert read.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert set(read.tensors) == set(checkpoint.tensors)
    assert all(torch.equal(read.tensors[key], value) for key, value in checkpoint.tensors.items())
    image = torch.from_numpy(frames[:1]).permute(0, 3, 1, 2).float()
    built = read.build()
    assert not built.training
    with torch.no_grad():
        assert torch.equal(built(image), network(image))
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_half_is_half_the_size_and_nearly_the_same(file, tmp_path, checkpoint, network, frames):
    small = tmp_path / "half.safetensors"
    checkpoints.write(small, checkpoint, half=True)
    assert small.stat().st_size < 0.52 * file.stat().st_size
    read = checkpoints.read(small)
    kinds = {key: value.dtype for key, value in read.tensors.items()}
    assert kinds["head.classifier.weight"] == torch.float16
    assert kinds["spatial.conv1.bn.running_var"] == torch.float32
    assert kinds["spatial.conv1.bn.num_batches_tracked"] == torch.int64
    built = read.build()
    assert {p.dtype for p in built.parameters()} == {torch.float32}
    image = torch.from_numpy(frames[:1]).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        expected = network(image)
        assert (built(image) - expected).std() < 0.02 * expected.std()


def test_optimizer_state_rides_along_and_is_no_weight(tmp_path, checkpoint):
    path = tmp_path / "last.safetensors"
    extra = {**checkpoint.tensors, "momentum/head.classifier.weight": torch.ones(3)}
    checkpoints.write(path, replace(checkpoint, tensors=extra, progress={"epoch": 4}))
    read = checkpoints.read(path)
    assert read.tensors["momentum/head.classifier.weight"].tolist() == [1, 1, 1]
    assert read.progress == {"epoch": 4}
    read.build()


def test_a_missing_file(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="no checkpoint here") as caught:
            checkpoints.read(path)
        assert caught.value.got == str(path)


@pytest.mark.parametrize("keep", [0, 4, 200, 100_000])
def test_a_truncated_file(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="cannot read a checkpoint") as caught:
        checkpoints.read(file)
    assert str(file) in caught.value.got


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "picture.safetensors"
    path.write_bytes(b"\x89PNG\r\n" + bytes(100))
    with pytest.raises(CheckpointError, match="cannot read a checkpoint"):
        checkpoints.read(path)


def test_safetensors_of_another_program(tmp_path):
    path = tmp_path / "foreign.safetensors"
    for header in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(3)}, str(path), metadata=header)
        with pytest.raises(CheckpointError, match="not a checkpoint of bisenet-edge") as caught:
            checkpoints.read(path)
        assert caught.value.expected == checkpoints.FORMAT


def test_a_network_that_this_version_does_not_know(tmp_path, checkpoint):
    path = tmp_path / "a.safetensors"
    checkpoints.write(path, replace(checkpoint, model="bisenet-resnet19"))
    with pytest.raises(UsageError) as caught:
        checkpoints.read(path)
    assert caught.value.fix == "did you mean 'bisenet-resnet18'?"


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"labels": CITYSCAPES}, "aux16.classifier.bias 11 instead of 19"),
        ({"model": "bisenet-resnet18"}, "instead of"),
    ],
)
def test_weights_of_another_network_or_number_of_classes(checkpoint, change, got):
    with pytest.raises(CheckpointError, match="do not fit") as caught:
        replace(checkpoint, **change).build()
    assert got in caught.value.got


@pytest.mark.parametrize(
    ("edit", "got"),
    [
        (lambda t: t.pop("head.classifier.bias"), "head.classifier.bias absent instead of 11"),
        (lambda t: t.update(extra=torch.zeros(2)), "extra 2 instead of absent"),
        (
            lambda t: t.update({"head.classifier.bias": torch.zeros(11, 1)}),
            "head.classifier.bias 11x1 instead of 11",
        ),
    ],
)
def test_one_weight_that_does_not_fit_is_named(checkpoint, edit, got):
    tensors = dict(checkpoint.tensors)
    edit(tensors)
    with pytest.raises(CheckpointError, match="1 weights do not fit") as caught:
        replace(checkpoint, tensors=tensors).build()
    assert caught.value.got == got


def test_a_folder_that_cannot_be_written(tmp_path, checkpoint):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot write"):
        checkpoints.write(tmp_path / "file" / "a.safetensors", checkpoint)


def test_the_file_can_be_read_by_others(file):
    assert file.stat().st_mode & 0o044 == 0o044


def test_the_header_is_readable_by_any_safetensors_tool(file):
    with safe_open(str(file), framework="np") as opened:
        header = opened.metadata()
    assert header["model"] == "bisenet-xception39"
    assert '"road"' in header["labels"]


def test_the_shipped_checkpoint_can_be_built():
    shipped = checkpoints.read(shipped_checkpoint())
    assert shipped.build() is not None
    assert shipped.metrics
    assert shipped.recipe


def test_the_architecture_is_kept_and_old_files_have_none(tmp_path, checkpoint, file):
    assert checkpoints.read(file).architecture == {}
    other = replace(checkpoint, architecture=replace(XCEPTION39, upsampling="nearest").to_json())
    checkpoints.write(tmp_path / "b.safetensors", other)
    read = checkpoints.read(tmp_path / "b.safetensors")
    assert read.architecture == other.architecture
    assert read.build().config.upsampling == "nearest"
    with safe_open(str(file), framework="pt") as opened:
        header = {k: v for k, v in opened.metadata().items() if k != "architecture"}
    save_file(checkpoint.tensors, str(tmp_path / "old.safetensors"), metadata=header)
    assert checkpoints.read(tmp_path / "old.safetensors").architecture == {}


@pytest.mark.parametrize(
    ("change", "got"),
    [({"gate": "three-convs"}, "'three-convs'"), ({"gates": 2}, "'gates'"), ({"head_width": "64"}, "'64'")],
)
def test_an_architecture_that_is_not_understood(checkpoint, change, got):
    with pytest.raises(CheckpointError, match="architecture in a checkpoint of bisenet-xception39") as caught:
        replace(checkpoint, architecture={**XCEPTION39.to_json(), **change}).build()
    assert got in caught.value.got
    assert "pip install --upgrade" in caught.value.fix


def test_an_architecture_that_the_weights_do_not_have(checkpoint):
    with pytest.raises(CheckpointError, match="weights do not fit") as caught:
        replace(checkpoint, architecture=replace(XCEPTION39, gate="conv-bn").to_json()).build()
    assert "ffm." in caught.value.got
