"""What cannot be imported: files that are broken, would run code, or hold something else."""

from __future__ import annotations

import pickle
import random
import shlex
import subprocess
import sys

import pytest
import torch
from foreign_bisenets import saved, state_of, torchseg_state

from bisenet_edge.errors import CheckpointError, UsageError
from bisenet_edge.labels import CAMVID, CITYSCAPES
from bisenet_edge.toolchain.importing.convert import ImportOptions, import_checkpoint
from bisenet_edge.toolchain.importing.reading import read_state

AUTO = ImportOptions()


class Planted:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


def test_no_code_of_a_file_runs(tmp_path):
    proof = tmp_path / "ran"
    path = saved(tmp_path, {"state_dict": state_of("coincheung"), "planted": Planted(proof)})
    with pytest.raises(CheckpointError, match="could run any code: refused") as caught:
        import_checkpoint(path, AUTO)
    assert not proof.exists()
    assert "state_dict()" in caught.value.fix


def test_a_whole_module_is_refused_with_the_next_step(tmp_path):
    path = saved(tmp_path, torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(CheckpointError, match="refused") as caught:
        import_checkpoint(path, AUTO)
    # What torch advises, to allow the object, is not passed on.
    assert caught.value.got == f"{path}: it holds torch.nn.modules.conv.Conv2d"


def with_an_object(value):
    value.note = torch.nn.Conv2d
    return value


@pytest.mark.parametrize(
    "value",
    [
        lambda layer: layer,
        lambda layer: {"model": layer, "epoch": 3},
        lambda layer: {"state_dict": layer.state_dict(), "config": torch.nn.Conv2d},
        lambda layer: with_an_object(layer.state_dict()),
    ],
    ids=["module", "module in a dictionary", "an object beside the weights", "attribute"],
)
def test_the_next_step_of_a_refused_file_works(tmp_path, value):
    layer = torch.nn.Conv2d(2, 3, 1)
    path = saved(tmp_path, value(layer), 'it\'s a "name".pth')
    with pytest.raises(CheckpointError, match="refused") as caught:
        read_state(path)
    interpreter, *words = shlex.split(caught.value.fix.rpartition("is: ")[2])
    assert interpreter == "python"
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=True)
    read = read_state(tmp_path / "weights.pth")
    assert torch.equal(read["weight"], layer.weight)
    assert set(read) == {"weight", "bias"}


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n" + bytes(100), b"not a checkpoint", pickle.dumps([1, 2])[:4], None],
    ids=["empty", "picture", "text", "cut pickle", "cut archive"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_broken_or_something_else(tmp_path, content, suffix):
    path = tmp_path / f"broken{suffix}"
    if content is None:
        content = saved(tmp_path, {"weight": torch.zeros(1000)}).read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read a checkpoint to import") as caught:
        import_checkpoint(path, AUTO)
    assert str(path) in caught.value.got


def test_changed_bytes_are_an_error_of_ours_or_nothing(tmp_path):
    path, rng = tmp_path / "changed.pth", random.Random(1)
    for modern in (True, False):
        torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=modern)
        whole = path.read_bytes()
        refused = 0
        for _ in range(100):
            data = bytearray(whole)
            for _ in range(8):
                data[rng.randrange(min(400, len(data)))] = rng.randrange(256)
            path.write_bytes(bytes(data))
            try:
                read_state(path)
            except CheckpointError as error:
                refused += 1
                assert str(path) in error.got
        assert refused > 50


def test_a_missing_file(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(CheckpointError, match="no checkpoint to import"):
            import_checkpoint(path, AUTO)


@pytest.mark.parametrize("value", [[1, 2], {}, {"epoch": 3, "best": 0.5}, {"model": {"epoch": 1}}])
def test_a_file_without_weights(tmp_path, value):
    with pytest.raises(CheckpointError, match="no weights in this file"):
        import_checkpoint(saved(tmp_path, value), AUTO)


def test_weights_of_another_network(tmp_path):
    state = {f"backbone.{i}.weight": torch.zeros(2) for i in range(8)}
    with pytest.raises(CheckpointError, match="not the weights of a BiSeNet") as caught:
        import_checkpoint(saved(tmp_path, state), AUTO)
    assert "8 tensors: backbone.0.weight" in caught.value.got
    assert "and 3 more" in caught.value.got
    assert "CoinCheung" in caught.value.expected and "TorchSeg" in caught.value.expected


def test_the_wrong_implementation_is_named(tmp_path):
    path = saved(tmp_path, state_of("torchseg resnet18"))
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(path, ImportOptions("coincheung"))
    assert caught.value.fix == "--from torchseg"
    with pytest.raises(UsageError, match="unknown implementation"):
        import_checkpoint(path, ImportOptions("coincheng"))


def test_missing_and_unknown_weights_are_listed(tmp_path):
    state = dict(state_of("coincheung"))
    gone = [key for key in state if key.startswith("cp.arm16.conv.")]
    for key in gone:
        del state[key]
    state["sp.extra.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match="weights are missing: 5, and unknown: 1") as caught:
        import_checkpoint(saved(tmp_path, state), AUTO)
    assert "missing cp.arm16.conv.conv.weight, " in caught.value.got
    assert caught.value.got.endswith("unknown sp.extra.weight")
    assert "num_batches_tracked" not in caught.value.got


def test_a_weight_of_another_shape_is_named(tmp_path):
    state = {**state_of("torchseg xception39"), "refines.0.conv.weight": torch.zeros(128, 64, 3, 3)}
    with pytest.raises(
        CheckpointError, match="weights of other shapes than the published network's: 1"
    ) as caught:
        import_checkpoint(saved(tmp_path, state), AUTO)
    assert "refines.0.conv.weight (128, 64, 3, 3) instead of (128, 128, 3, 3)" in caught.value.got


def test_every_unknown_weight_is_listed(tmp_path):
    extra = {f"extra.{i}.weight": torch.zeros(3) for i in range(18)}
    with pytest.raises(CheckpointError, match="unknown: 18") as caught:
        import_checkpoint(saved(tmp_path, {**state_of("coincheung"), **extra}), AUTO)
    assert all(name in caught.value.got for name in extra)


@pytest.mark.parametrize("name", ["conv_out16.conv.conv", "ffm.conv", "conv_out.conv_out"])
def test_a_weight_that_is_a_number_alone(tmp_path, name):
    state = {**state_of("coincheung"), f"{name}.weight": torch.tensor(1.0)}
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(saved(tmp_path, state), AUTO)
    assert f"{name}.weight" in caught.value.got


@pytest.mark.parametrize(
    ("name", "value"),
    [("conv_out.conv_out.weight", float("nan")), ("sp.conv1.bn.bias", float("inf")),
     ("cp.conv_avg.bn.running_var", -1.0)],
)  # fmt: skip
def test_weights_that_nothing_can_be_computed_with_are_refused(tmp_path, name, value):
    tensor = state_of("coincheung")[name].clone()
    tensor.view(-1)[-1] = value
    with pytest.raises(CheckpointError, match="not finite, or variances below 0: 1") as caught:
        import_checkpoint(saved(tmp_path, {**state_of("coincheung"), name: tensor}), AUTO)
    assert caught.value.got.endswith(name)


def test_bisenet_v2_is_told_apart(tmp_path):
    state = {"detail.S1.0.conv.weight": torch.zeros(64, 3, 3, 3), "bga.left1.0.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="BiSeNet V2") as caught:
        import_checkpoint(saved(tmp_path, state), AUTO)
    assert "--model bisenetv2" in caught.value.fix


def test_heads_with_pixel_shuffle_are_refused(tmp_path):
    state = dict(state_of("coincheung"))
    for name, width, factor in (("conv_out", 256, 64), ("conv_out16", 64, 64), ("conv_out32", 64, 256)):
        state[f"{name}.conv_out.weight"] = torch.zeros(19 * factor, width, 1, 1)
        state[f"{name}.conv_out.bias"] = torch.zeros(19 * factor)
    with pytest.raises(CheckpointError, match="pixel shuffle") as caught:
        import_checkpoint(saved(tmp_path, state), AUTO)
    assert caught.value.got == "1216 outputs for 19 classes"


def test_a_backbone_that_is_not_known(tmp_path):
    state = dict(state_of("torchseg resnet18"))
    state["context_path.layer1.0.conv3.weight"] = torch.zeros(256, 64, 1, 1)  # a bottleneck
    with pytest.raises(CheckpointError, match="a backbone of TorchSeg") as caught:
        import_checkpoint(saved(tmp_path, state), AUTO)
    assert "Xception39" in caught.value.expected


def test_the_classes_have_to_be_said_when_they_are_not_cityscapes(tmp_path):
    path = saved(tmp_path, torchseg_state(11, "xception39"))
    with pytest.raises(UsageError, match="which classes") as caught:
        import_checkpoint(path, AUTO)
    assert "11 classes" in caught.value.got
    assert import_checkpoint(path, ImportOptions(labels=CAMVID)).checkpoint.labels == CAMVID
    with pytest.raises(UsageError, match="another number of classes"):
        import_checkpoint(path, ImportOptions(labels=CITYSCAPES))
