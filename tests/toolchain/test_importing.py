"""Weights of public BiSeNets, taken over: equal logits, and clear errors for what is not theirs."""

from __future__ import annotations

import functools
import hashlib
import pickle
import random
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from foreign_bisenets import coincheung_logits, coincheung_state, torchseg_logits, torchseg_state
from safetensors.torch import save_file

from bisenet_edge.errors import CheckpointError, UsageError
from bisenet_edge.labels import CAMVID, CITYSCAPES, LabelSet
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.importing.convert import ImportOptions, import_checkpoint
from bisenet_edge.toolchain.importing.family import Normalisation
from bisenet_edge.toolchain.importing.reading import read_state
from bisenet_edge.toolchain.models.bisenet_config import BiSeNetConfig

CITYSCAPES_RGB = ((0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115))
IMAGENET_RGB = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AUTO = ImportOptions()

STATES = {
    "coincheung": lambda: coincheung_state(19),
    "coincheung, no auxiliary heads": lambda: coincheung_state(19, auxiliary=False),
    "coincheung of 2020": lambda: coincheung_state(19, two_convs=True),
    "torchseg resnet18": lambda: torchseg_state(19, "resnet18"),
    "torchseg xception39": lambda: torchseg_state(19, "xception39"),
    "torchseg, no auxiliary heads": lambda: torchseg_state(19, "xception39", auxiliary=False),
}


@functools.cache
def state_of(case):
    return STATES[case]()


def saved(tmp_path, value, name="weights.pth"):
    path = tmp_path / name
    torch.save(value, path)
    return path


def frame(height, width):
    """A BGR frame: float [1, 3, H, W] in 0..255."""
    return torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(5)).float()


@pytest.mark.parametrize(
    ("case", "size"),
    [
        ("coincheung", (64, 128)),
        ("coincheung, no auxiliary heads", (96, 64)),
        ("coincheung of 2020", (64, 96)),
        ("torchseg resnet18", (64, 128)),
        ("torchseg xception39", (72, 120)),
        ("torchseg, no auxiliary heads", (64, 128)),
    ],
)
def test_the_logits_are_those_of_the_original(tmp_path, case, size):
    state, is_coincheung = state_of(case), case.startswith("coincheung")
    logits_of = coincheung_logits if is_coincheung else torchseg_logits
    colours = CITYSCAPES_RGB if is_coincheung else IMAGENET_RGB
    network = import_checkpoint(saved(tmp_path, state), AUTO).checkpoint.build()
    bgr = frame(*size)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in colours)
    with torch.no_grad():
        expected = logits_of(state, (bgr.flip(1) / 255 - mean) / std)
        assert expected.shape == (1, 19, size[0] // 8, size[1] // 8)
        assert expected.std() > 0.3
        assert (network(bgr) - expected).abs().max() < 1e-4
        # It would notice red and blue exchanged.
        assert (network(bgr.flip(1)) - expected).abs().max() > 0.01


def test_what_it_was_taken_for_is_recorded_and_survives_the_file(tmp_path):
    path = saved(tmp_path, state_of("coincheung"))
    imported = import_checkpoint(path, AUTO)
    assert imported.family.name == "coincheung"
    written = tmp_path / "ours.safetensors"
    checkpoints.write(written, imported.checkpoint)
    read = checkpoints.read(written)
    assert (read.model, read.labels) == ("bisenet-resnet18", CITYSCAPES)
    assert read.recipe["imported_from"].startswith("github.com/CoinCheung/BiSeNet")
    assert read.recipe["file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    config = BiSeNetConfig.from_json(read.architecture)
    assert (config.gate, config.upsampling, config.head_width) == ("conv-bn", "nearest", 256)
    assert config.mean == pytest.approx((255 * 0.3223, 255 * 0.3690, 255 * 0.3257))
    with torch.no_grad():
        assert torch.equal(read.build()(frame(32, 64)), imported.checkpoint.build()(frame(32, 64)))


@pytest.mark.parametrize(
    ("case", "model", "width"),
    [
        ("coincheung", "bisenet-resnet18", 64),
        ("torchseg resnet18", "bisenet-resnet18", 256),
        ("torchseg xception39", "bisenet-xception39", 128),
        ("torchseg, no auxiliary heads", "bisenet-xception39", 0),
    ],
)
def test_auxiliary_heads_come_along_when_there_are_some(tmp_path, case, model, width):
    checkpoint = import_checkpoint(saved(tmp_path, state_of(case)), AUTO).checkpoint
    assert (checkpoint.model, checkpoint.architecture["auxiliary_width"]) == (model, width)
    outputs = checkpoint.build().train()(frame(64, 64).repeat(2, 1, 1, 1))
    assert len(outputs) == (3 if width else 1)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": OrderedDict(state), "optimizer": {"state": {}}, "iteration": 7},
        lambda state: {"model": {f"module.module.{key}": value for key, value in state.items()}},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
        lambda state: {k: v.half() if v.dim() == 4 else v for k, v in state.items()},
        lambda state: {**state, "ohem_criterion.criterion.weight": torch.ones(19)},
    ],
    ids=["parallel", "state_dict", "model", "both", "no counters", "half", "class weights"],
)
def test_wrappers_and_prefixes_are_taken_off(tmp_path, wrap):
    state = state_of("torchseg xception39")
    plain = import_checkpoint(saved(tmp_path, state), AUTO).checkpoint
    imported = import_checkpoint(saved(tmp_path, wrap(state), "wrapped.pth"), AUTO)
    assert set(imported.checkpoint.tensors) == set(plain.tensors)
    for key, value in imported.checkpoint.tensors.items():
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, plain.tensors[key], rtol=1e-3, atol=1e-3)
    assert all(v.dtype in (torch.float32, torch.int64) for v in imported.checkpoint.tensors.values())
    assert imported.ignored in ((), ("ohem_criterion.criterion.weight",))


def test_safetensors_are_read_too(tmp_path):
    state = state_of("coincheung")
    save_file(state, str(tmp_path / "a.safetensors"))
    same = import_checkpoint(saved(tmp_path, state), AUTO).checkpoint.tensors
    tensors = import_checkpoint(tmp_path / "a.safetensors", AUTO).checkpoint.tensors
    assert all(torch.equal(tensors[key], value) for key, value in same.items())


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
    assert "Conv2d" in caught.value.got
    assert "torch.save(m.state_dict()" in caught.value.fix


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
    with pytest.raises(CheckpointError, match="5 weights are missing and 1 are unknown") as caught:
        import_checkpoint(saved(tmp_path, state), AUTO)
    assert "missing cp.arm16.conv.conv.weight, " in caught.value.got
    assert caught.value.got.endswith("unknown sp.extra.weight")
    assert "num_batches_tracked" not in caught.value.got


def test_a_weight_of_another_shape_is_named(tmp_path):
    state = {**state_of("torchseg xception39"), "refines.0.conv.weight": torch.zeros(128, 64, 3, 3)}
    with pytest.raises(CheckpointError, match="1 weights have another shape") as caught:
        import_checkpoint(saved(tmp_path, state), AUTO)
    assert "refines.0.conv.weight (128, 64, 3, 3) instead of (128, 128, 3, 3)" in caught.value.got


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


def test_the_normalisation_has_to_be_said_when_it_is_not_known(tmp_path):
    state = coincheung_state(11)
    path = saved(tmp_path, state)
    options = ImportOptions(labels=CAMVID)
    with pytest.raises(UsageError, match="which mean and deviation") as caught:
        import_checkpoint(path, options)
    assert "--mean" in caught.value.fix
    given = Normalisation((0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    checkpoint = import_checkpoint(path, replace(options, normalisation=given)).checkpoint
    assert checkpoint.architecture["mean"] == [102.0] * 3
    with torch.no_grad():
        expected = coincheung_logits(state, (frame(64, 64).flip(1) / 255 - 0.4) / 0.2)
        assert (checkpoint.build()(frame(64, 64)) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("classes", [150, 171])
def test_data_sets_of_the_implementation_bring_their_normalisation(tmp_path, classes):
    labels = LabelSet("many", tuple(f"class {i}" for i in range(classes)), ((0, 0, 0),) * classes)
    path = saved(tmp_path, coincheung_state(classes))
    architecture = import_checkpoint(path, ImportOptions(labels=labels)).checkpoint.architecture
    assert architecture["mean"][2] == pytest.approx(255 * {150: 0.49343230, 171: 0.46962251}[classes])
