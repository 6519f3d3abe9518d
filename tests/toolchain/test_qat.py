from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bisenet_edge.errors import CheckpointError, ConfigError, DatasetError
from bisenet_edge.frame import Size
from bisenet_edge.labels import CITYSCAPES
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.int8 import start_of
from bisenet_edge.toolchain.qat import QatRecipe, fine_tune
from bisenet_edge.toolchain.quant.calibrate import set_active
from bisenet_edge.toolchain.quant.placement import quant_convs, quantizers
from bisenet_edge.toolchain.quant.twin import twin_of, with_twin
from bisenet_edge.toolchain.train_data import evaluate, load_data

SIZE = Size(96, 64)
DATA = "synthetic:?count=6&size=96x64"
CLASSES = 11


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def recipe():
    return QatRecipe(
        "bisenet-xception39",
        (DATA,),
        epochs=3,
        batch=3,
        crop="64x64",
        warmup_steps=0,
        calibration_count=3,
        distillation=0.5,
        learning_rate=1e-3,
        scales=(1.0,),  # every epoch sees the same pictures, so that the losses can be compared
    )


def start(checkpoint, recipe):
    return start_of(checkpoint, recipe, SIZE)


@pytest.fixture(scope="module")
def tuned(checkpoint, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("qat")
    results = []
    return fine_tune(start(checkpoint, recipe), recipe, folder, on_epoch=results.append), folder, results


def test_the_loss_falls_and_every_epoch_is_in_the_report(tuned):
    made, _, results = tuned
    losses = [epoch["loss"] for epoch in made.report["epochs"]]
    assert losses == [result.loss for result in results]
    assert losses[-1] < losses[0]
    assert made.report["best_miou"] >= max(epoch["miou"] for epoch in made.report["epochs"]) - 1e-4
    assert 0 <= made.report["start_miou"] <= 1
    json.dumps(made.report, allow_nan=False)


def test_weights_biases_and_ranges_were_trained(tuned, checkpoint, recipe):
    before = start(checkpoint, recipe).quantized.network
    after = tuned[0].quantized.network
    assert list(quant_convs(before)) == list(quant_convs(after))
    moved = [
        not torch.equal(a.weight, b.weight)
        for a, b in zip(quant_convs(before).values(), quant_convs(after).values())
    ]
    assert all(moved)
    ranges = [
        float(a.amax) != float(b.amax)
        for a, b in zip(quantizers(before).values(), quantizers(after).values())
        if not a.fixed
    ]
    assert np.mean(ranges) > 0.9
    assert float(quantizers(after)["quantize_mul"].amax) == 127 / 64  # the frame's own grid never moves


def test_frozen_ranges_stay_as_calibrated(checkpoint, recipe, tmp_path):
    frozen = replace(recipe, ranges="frozen", epochs=1)
    before = {n: float(q.amax) for n, q in quantizers(start(checkpoint, frozen).quantized.network).items()}
    made = fine_tune(start(checkpoint, frozen), frozen, tmp_path)
    after = {n: float(q.amax) for n, q in quantizers(made.quantized.network).items()}
    assert after == before


def test_the_checkpoint_holds_both_networks(tuned, checkpoint):
    made, _, _ = tuned
    stored = checkpoints.read(made.best)
    for key, value in checkpoint.tensors.items():
        assert torch.equal(stored.tensors[key], value), key
    assert stored.metrics["precision"] == "int8"
    assert stored.quantization["method"] == "qat"
    twin = twin_of(stored)
    data = load_data(QatRecipe("bisenet-xception39", (DATA,), crop="64x64"))
    measured = evaluate(twin.network, data.val, CLASSES).miou()
    assert measured == pytest.approx(stored.metrics["miou"], abs=1e-4)


def test_a_run_killed_and_started_again_is_the_run_that_was_not(tuned, checkpoint, recipe, tmp_path):
    def killed(step, done, total):
        if step.startswith("epoch 2/"):
            raise KilledError

    with pytest.raises(KilledError):
        fine_tune(start(checkpoint, recipe), recipe, tmp_path, progress=killed)
    torch.rand(5)
    again = fine_tune(start(checkpoint, recipe), recipe, tmp_path)
    assert again.report == tuned[0].report
    first, second = (
        checkpoints.read(tuned[1] / "last.safetensors"),
        checkpoints.read(tmp_path / "last.safetensors"),
    )
    assert all(torch.equal(first.tensors[key], second.tensors[key]) for key in first.tensors)


def test_a_folder_of_another_run_is_refused(tuned, checkpoint, recipe):
    other = replace(recipe, distillation=0.25)
    with pytest.raises(CheckpointError, match="another recipe") as caught:
        fine_tune(start(checkpoint, other), other, tuned[1])
    assert "distillation" in caught.value.got


def test_data_of_other_classes_is_refused(checkpoint, recipe, tmp_path):
    begun = replace(start(checkpoint, recipe), checkpoint=replace(checkpoint, labels=CITYSCAPES))
    with pytest.raises(DatasetError, match="other classes"):
        fine_tune(begun, recipe, tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ranges": "free"}, "ranges"),
        ({"distillation": -1.0}, "distillation"),
        # What fine-tuning would not heed.
        ({"class_weights": "enet"}, "'class_weights' belongs to training in FP32"),
        ({"lovasz": 1.0}, "'lovasz' belongs to training in FP32"),
    ],
)
def test_a_recipe_out_of_range(recipe, change, told):
    with pytest.raises(ConfigError, match=told):
        replace(recipe, **change)


def test_a_recipe_file_has_the_keys_of_both(tmp_path):
    path = tmp_path / "qat.toml"
    path.write_text('model = "bisenet-xception39"\ndata = ["synthetic:"]\nranges = "frozen"\nepochs = 5\n')
    read = QatRecipe.read(path, epochs=7)
    assert (read.ranges, read.epochs, read.learning_rate) == ("frozen", 7, 2e-4)


def test_the_teacher_is_followed_when_labels_say_nothing(checkpoint, recipe):
    """Distillation alone pulls a disturbed twin back towards the FP32 logits."""
    from bisenet_edge.toolchain.qat import _Twin

    begun = start(checkpoint, recipe)
    classifier = begun.quantized.network.get_submodule("head.classifier")
    with torch.no_grad():
        classifier.bias[3] += 2.0
    twin = _Twin(begun, replace(recipe, distillation=1.0), torch.device("cpu"))
    images = torch.from_numpy(np.stack([s.image[:64, :64] for s in load_data(recipe).train[:3]]))
    nothing = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    loss = twin.loss(images, nothing)
    loss.backward()
    assert loss.item() > 0
    assert classifier.bias.grad[3] > 0  # descent lowers what was raised


def test_a_twin_survives_the_file(checkpoint, recipe, tmp_path):
    begun = start(checkpoint, recipe)
    path = tmp_path / "twin.safetensors"
    checkpoints.write(path, with_twin(checkpoint, begun.quantized, begun.provenance))
    twin = twin_of(checkpoints.read(path))
    assert (twin.scheme, twin.collapsed, twin.method) == (
        begun.quantized.scheme,
        begun.quantized.collapsed,
        "ptq",
    )
    frame = torch.randint(0, 256, (1, 3, 64, 96)).float()
    with torch.inference_mode():
        assert torch.equal(twin.network(frame), begun.quantized.network.eval()(frame))


def test_a_twin_that_does_not_fit_is_told(checkpoint, recipe):
    begun = start(checkpoint, recipe)
    whole = with_twin(checkpoint, begun.quantized, begun.provenance)
    cut = {key: value for key, value in whole.tensors.items() if key != "int8/head.classifier.weight"}
    with pytest.raises(CheckpointError, match="does not fit its description"):
        twin_of(replace(whole, tensors=cut))
    assert twin_of(checkpoint) is None


def test_fine_tuning_changes_what_is_computed_without_rounding_too(tuned, checkpoint, recipe):
    # The twin is a network of its own, not the FP32 one rounded again.
    made = copy.deepcopy(tuned[0].quantized.network)
    begun = start(checkpoint, recipe).quantized.network
    for network in (made, begun):
        set_active(network, False)
    frame = torch.randint(0, 256, (1, 3, 64, 96)).float()
    with torch.inference_mode():
        assert not torch.allclose(made(frame), begun(frame), atol=1e-4)


def test_checkpoints_without_a_twin_are_read_as_before(checkpoint, tmp_path):
    path = tmp_path / "plain.safetensors"
    checkpoints.write(path, checkpoint)
    assert isinstance(checkpoints.read(path), Checkpoint)
    assert checkpoints.read(path).quantization == {}
