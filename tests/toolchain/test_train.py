from __future__ import annotations

import json
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch

from bisenet_edge.dataset import Sample
from bisenet_edge.errors import (
    BisenetEdgeError,
    CheckpointError,
    ConfigError,
    DatasetError,
    SinkError,
    UsageError,
)
from bisenet_edge.metrics import Confusion
from bisenet_edge.progress import quiet
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain import run_state
from bisenet_edge.toolchain import train as training
from bisenet_edge.toolchain.models.bisenet_config import XCEPTION39
from bisenet_edge.toolchain.processes import Worker
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.tensors import logits_to_mask, pad_to_stride
from bisenet_edge.toolchain.train import train
from bisenet_edge.toolchain.train_data import evaluate, load_data

SIDE = 64
CLASSES = ("dark", "bright", "never")


class KilledError(Exception):
    """Stands for SIGKILL: nothing in the product knows it."""


def write_data_set(root, name="toy", classes=CLASSES):
    """Bright discs on dark ground; the label says which is which."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            label = np.zeros((SIDE, SIDE), np.uint8)
            x, y = (int(v) for v in rng.integers(16, 48, 2))
            cv2.circle(label, (x, y), 16, 1, -1)
            noise = rng.integers(0, 40, (SIDE, SIDE, 3))
            image = (np.where(label[..., None] == 1, 180, 30) + noise).astype(np.uint8)
            cv2.imwrite(str(root / split / "images" / f"{index}.png"), image)
            cv2.imwrite(str(root / split / "labels" / f"{index}.png"), label)
    lines = [f'[[class]]\nname = "{c}"\ncolor = [0, 0, 0]\n' for c in classes]
    (root / "labels.toml").write_text(f'name = "{name}"\n' + "".join(lines))


@dataclass(frozen=True)
class Straight:
    """A run that nothing interrupted."""

    recipe: Recipe
    folder: object
    results: list
    rates: list


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    write_data_set(root)
    recipe = Recipe(
        "bisenet-xception39",
        (f"folder:{root}",),
        epochs=3,
        batch=4,
        crop=f"{SIDE}x{SIDE}",
        jitter=0.1,
        eval_every=2,
        warmup_steps=2,
        class_weights="enet",
        ema=0.5,
    )
    folder = tmp_path_factory.mktemp("run")
    results, rates = [], []
    with pytest.MonkeyPatch.context() as patch:
        step = torch.optim.SGD.step

        def recorded(self, *args, **kwargs):
            rates.append(self.param_groups[0]["lr"])
            return step(self, *args, **kwargs)

        patch.setattr(torch.optim.SGD, "step", recorded)
        best = train(recipe, folder, device="cpu", on_epoch=results.append)
    assert best == folder / "best.safetensors"
    return Straight(recipe, folder, results, rates)


def untimed(metrics):
    """Without how long steps waited: no two runs have that alike."""
    history = [
        {key: value for key, value in epoch.items() if key != "waiting"}
        for epoch in metrics.get("history", [])
    ]
    return {**metrics, "history": history}


def same_weights(first, second):
    a, b = checkpoints.read(first), checkpoints.read(second)
    assert (a.recipe, untimed(a.metrics), a.progress) == (b.recipe, untimed(b.metrics), b.progress)
    assert set(a.tensors) == set(b.tensors)
    return all(torch.equal(a.tensors[key], b.tensors[key]) for key in a.tensors)


def kill_in_the_middle_of(epoch):
    def progress(step, done, total):
        if step.startswith(f"epoch {epoch}/"):
            raise KilledError

    return progress


def kill_before_the_last_is_written(monkeypatch, epoch):
    keep_last = run_state.RunState.keep_last

    def killed(self, result):
        if result.epoch == epoch:
            raise KilledError
        keep_last(self, result)

    monkeypatch.setattr(run_state.RunState, "keep_last", killed)


@pytest.mark.parametrize("when", ["first epoch", "middle of an epoch", "best written, last not"])
def test_a_run_killed_and_started_again_is_the_run_that_was_not(straight, tmp_path, monkeypatch, when):
    progress = quiet
    if when == "first epoch":
        progress = kill_in_the_middle_of(1)
    elif when == "middle of an epoch":
        progress = kill_in_the_middle_of(3)
    with monkeypatch.context() as patch:
        if when == "best written, last not":
            kill_before_the_last_is_written(patch, 2)
        with pytest.raises(KilledError):
            train(straight.recipe, tmp_path, device="cpu", progress=progress)
    torch.rand(7)  # whatever else used the global generator in between
    results = []
    train(straight.recipe, tmp_path, device="cpu", on_epoch=results.append)
    first = {"first epoch": 1, "middle of an epoch": 3, "best written, last not": 2}[when]
    assert [r.epoch for r in results] == list(range(first, 4))
    assert [r.loss for r in results] == [r.loss for r in straight.results[first - 1 :]]
    for name in ("last.safetensors", "best.safetensors"):
        assert same_weights(straight.folder / name, tmp_path / name), name
    assert not list(tmp_path.glob(".*"))


def test_a_finished_run_started_again_does_nothing(straight):
    before = (straight.folder / "last.safetensors").read_bytes()
    results = []
    best = train(straight.recipe, straight.folder, device="cpu", on_epoch=results.append)
    assert results == []
    assert best.is_file()
    assert (straight.folder / "last.safetensors").read_bytes() == before


def test_the_loss_falls_and_epochs_are_told(straight):
    losses = [r.loss for r in straight.results]
    assert losses[-1] < 0.8 * losses[0]
    assert [r.epoch for r in straight.results] == [1, 2, 3]
    evaluated = [not np.isnan(r.miou) for r in straight.results]
    assert evaluated == [False, True, True]
    assert straight.results[-1].best_miou == max(r.miou for r in straight.results[1:])


def test_the_poly_schedule_with_warm_up(straight):
    poly = [2.5e-2 * (1 - step / 6) ** 0.9 for step in range(6)]
    assert straight.rates == pytest.approx([poly[0] / 2, *poly[1:]])


def test_the_best_checkpoint_says_where_it_comes_from(straight):
    best = checkpoints.read(straight.folder / "best.safetensors")
    assert best.recipe == straight.recipe.to_json()
    assert best.labels.names == CLASSES
    assert best.metrics["val"] == straight.recipe.data[0]
    assert best.metrics["miou"] == pytest.approx(straight.results[-1].best_miou, abs=5e-5)
    assert set(best.metrics["iou"]) == set(CLASSES)
    assert best.progress["epoch"] in (2, 3)
    assert not [key for key in best.tensors if "/" in key]  # no optimizer state in what is shipped
    json.dumps(best.metrics, allow_nan=False)


def test_its_metrics_are_those_of_its_weights(straight):
    best = checkpoints.read(straight.folder / "best.safetensors")
    measured = evaluate(best.build(), list(open_dataset(straight.recipe.data[0], "val")), 3)
    assert measured.miou() == pytest.approx(best.metrics["miou"], abs=5e-5)


def test_scalars_are_written_for_tensorboard(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight.folder)).Reload()
    names = {"train/loss", "train/learning_rate", "train/waiting", "val/miou"}
    assert names <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3]
    assert [e.step for e in events.Scalars("val/miou")] == [2, 3]


def test_the_share_of_waiting_is_told_and_kept(straight):
    assert all(0 <= result.waiting < 1 for result in straight.results)
    history = checkpoints.read(straight.folder / "last.safetensors").metrics["history"]
    assert [epoch["waiting"] for epoch in history] == [result.waiting for result in straight.results]


def test_a_run_from_before_parts_and_precision_goes_on(straight, tmp_path):
    last = checkpoints.read(straight.folder / "last.safetensors")
    older = {key: value for key, value in last.recipe.items() if key not in ("accumulate", "precision")}
    history = untimed(last.metrics)["history"]
    before = replace(last, recipe=older, metrics={**last.metrics, "history": history})
    checkpoints.write(tmp_path / "last.safetensors", before)
    results = []
    train(straight.recipe, tmp_path, device="cpu", on_epoch=results.append)
    assert results == []
    with pytest.raises(CheckpointError) as caught:
        train(replace(straight.recipe, precision="fp32"), tmp_path, device="cpu")
    assert "precision" in caught.value.got


def test_another_recipe_in_the_same_folder_is_refused(straight):
    before = (straight.folder / "last.safetensors").read_bytes()
    other = replace(straight.recipe, seed=1, learning_rate=0.01)
    with pytest.raises(CheckpointError, match="another recipe") as caught:
        train(other, straight.folder, device="cpu")
    assert "learning_rate, seed" in caught.value.got
    assert (straight.folder / "last.safetensors").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_the_run(straight, tmp_path, monkeypatch):
    nan = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(training, "training_loss", lambda *args: nan * 1)
    with pytest.raises(BisenetEdgeError, match="diverged") as caught:
        train(straight.recipe, tmp_path, device="cpu")
    assert caught.value.got == "loss nan at epoch 1, step 1"
    assert not list(tmp_path.glob("*.safetensors"))


def test_data_sets_with_other_classes_are_not_mixed(straight, tmp_path):
    write_data_set(tmp_path / "other", classes=("dark", "bright"))
    mixed = replace(straight.recipe, data=(*straight.recipe.data, f"folder:{tmp_path / 'other'}"))
    with pytest.raises(DatasetError, match="different classes"):
        train(mixed, tmp_path / "run", device="cpu")


def test_a_crop_that_the_network_cannot_take(straight, tmp_path):
    recipe = replace(straight.recipe, model="icnet", crop="480x360", data=("folder:nowhere",))
    with pytest.raises(ConfigError, match="does not suit icnet") as caught:
        train(recipe, tmp_path / "run", device="cpu")
    assert (caught.value.expected, caught.value.fix) == ("both sides multiples of 32", "--crop 480x352")


def test_a_folder_that_cannot_be_written(straight, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError):
        train(straight.recipe, tmp_path / "file", device="cpu")


@pytest.mark.parametrize(
    ("change", "device"), [({"model": "bisenet"}, "cpu"), ({}, "gpu"), ({"data": ("toy:x",)}, "cpu")]
)
def test_a_name_that_is_not_known(straight, tmp_path, change, device):
    with pytest.raises(UsageError):
        train(replace(straight.recipe, **change), tmp_path / "run", device=device)


def test_evaluation_takes_pictures_of_any_size(network):
    rng = np.random.default_rng(0)
    sizes = [(50, 70), (64, 96)]
    samples = [
        Sample(str(hw), rng.integers(0, 256, (*hw, 3), np.uint8), rng.integers(0, 11, hw).astype(np.uint8))
        for hw in sizes
    ]
    total = evaluate(network, samples, 11)
    assert total.counts.sum() == sum(h * w for h, w in sizes)
    parts = [evaluate(network, [sample], 11) for sample in samples]
    assert (total.counts == (parts[0] + parts[1]).counts).all()
    assert isinstance(total, Confusion)


def test_padding_to_the_stride():
    image = np.zeros((2, 9, 16, 3), np.uint8)
    padded = pad_to_stride(image)
    assert padded.shape == (2, 16, 16, 3)
    assert (padded[:, 9:] == 128).all()
    assert not padded[:, :9].any()
    assert pad_to_stride(padded) is padded


def test_masks_are_upsampled_before_the_argmax():
    logits = torch.zeros(1, 3, 1, 2)
    logits[0, :, 0] = torch.tensor([[10.0, 0.0], [0.0, 10.0], [9.0, 9.0]])
    mask = logits_to_mask(logits, (5, 16))
    assert mask.shape == (1, 5, 16)
    assert mask.dtype == torch.uint8
    assert mask[0, 0].unique_consecutive().tolist() == [0, 2, 1]


def test_the_best_weights_are_the_moving_average(straight):
    """The last epoch is the best here, so its average is in both files."""
    last = checkpoints.read(straight.folder / "last.safetensors")
    best = checkpoints.read(straight.folder / "best.safetensors")
    key = "head.classifier.weight"
    if best.progress["epoch"] == 3:
        assert torch.equal(best.tensors[key], last.tensors["ema/module." + key])
    assert not torch.equal(last.tensors[key], last.tensors["ema/module." + key])


def test_training_goes_on_from_a_checkpoint(straight, tmp_path):
    start = straight.folder / "best.safetensors"
    recipe = replace(straight.recipe, init=str(start), epochs=1, learning_rate=1e-9, ema=0.0)
    before = checkpoints.read(start)
    best = checkpoints.read(train(recipe, tmp_path, device="cpu"))
    assert best.metrics["miou"] >= before.metrics["miou"]  # what it started from is epoch 0
    assert best.recipe["parent"] == before.sha256
    key = "head.classifier.weight"
    torch.testing.assert_close(best.tensors[key], before.tensors[key], atol=1e-6, rtol=0)


def test_classifiers_of_other_classes_start_from_random_weights(straight, tmp_path):
    write_data_set(tmp_path / "two", classes=("dark", "bright"))
    start = straight.folder / "best.safetensors"
    recipe = replace(
        straight.recipe, data=(f"folder:{tmp_path / 'two'}",), init=str(start), epochs=1, ema=0.0
    )
    notes = []
    best = checkpoints.read(train(recipe, tmp_path / "run", device="cpu", note=notes.append))
    assert best.tensors["head.classifier.weight"].shape[0] == 2
    assert best.progress["epoch"] == 1
    assert len(notes) == 1
    assert "head.classifier.weight" in notes[0]
    assert "spatial" not in notes[0]


def test_training_keeps_the_form_of_what_it_starts_from(straight, tmp_path):
    config = replace(XCEPTION39, auxiliary_width=0, upsampling="nearest")
    parent = checkpoints.read(straight.folder / "best.safetensors")
    weights = {key: value for key, value in parent.tensors.items() if not key.startswith("aux")}
    start = tmp_path / "other.safetensors"
    checkpoints.write(start, replace(parent, tensors=weights, architecture=config.to_json()))
    recipe = replace(straight.recipe, init=str(start), epochs=1, ema=0.0)
    best = checkpoints.read(train(recipe, tmp_path / "run", device="cpu"))
    assert best.architecture == config.to_json()
    assert best.build().config == config


def test_a_checkpoint_of_another_network_is_no_start(straight, tmp_path):
    start = str(straight.folder / "best.safetensors")
    recipe = replace(straight.recipe, model="bisenet-resnet18", init=start)
    with pytest.raises(CheckpointError, match="another network"):
        train(recipe, tmp_path, device="cpu")


def test_weights_of_named_classes_reach_the_loss_and_unknown_names_are_refused(tmp_path):
    write_data_set(tmp_path)
    recipe = Recipe("bisenet-xception39", (f"folder:{tmp_path}",), class_weights={"bright": 4.0})
    data = load_data(recipe)
    worker = Worker(torch.device("cpu"))
    assert training._Network(recipe, data, worker).weights.tolist() == [1.0, 4.0, 1.0]
    with pytest.raises(UsageError, match="unknown class in 'class_weights'") as caught:
        training._Network(replace(recipe, class_weights={"brigt": 4.0}), data, worker)
    assert caught.value.fix == "did you mean 'bright'?"
