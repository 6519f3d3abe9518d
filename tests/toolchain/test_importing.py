"""Weights of public BiSeNets, taken over: equal logits."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from foreign_bisenets import coincheung_logits, coincheung_state, saved, state_of, torchseg_logits
from safetensors.torch import save_file

from bisenet_edge.errors import UsageError
from bisenet_edge.labels import CAMVID, CITYSCAPES, LabelSet
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.importing.convert import ImportOptions, import_checkpoint
from bisenet_edge.toolchain.importing.departures import departures
from bisenet_edge.toolchain.importing.family import Normalisation
from bisenet_edge.toolchain.models.bisenet_config import RESNET18, XCEPTION39, BiSeNetConfig

CITYSCAPES_RGB = ((0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115))
IMAGENET_RGB = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AUTO = ImportOptions()


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


def test_departures_from_the_paper():
    assert departures(RESNET18) == departures(XCEPTION39) == []
    assert (
        departures(replace(RESNET18, upsampling="bilinear-corners", mean=(1, 2, 3), auxiliary_width=0)) == []
    )
    other = replace(RESNET18, gate="conv-bn", upsampling="nearest", head_width=256, auxiliary_width=64)
    assert [(d.here, d.paper) for d in departures(other)] == [
        ("conv-bn", "two-convs"),
        ("nearest", "bilinear"),
        ("256", "64"),
        ("64", "256"),
    ]


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
