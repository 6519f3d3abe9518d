"""Training on a CUDA device: pinned batches, every precision, going on after a stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.streets import SyntheticDataset
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.loader import Loader
from bisenet_edge.toolchain.processes import Worker
from bisenet_edge.toolchain.recipe import Recipe
from bisenet_edge.toolchain.train import train

RECIPE = Recipe(
    "bisenet-xception39",
    ("synthetic:?count=8&size=96x64",),
    epochs=2,
    batch=4,
    crop="64x64",
    learning_rate=1e-2,
    accumulate=2,
    eval_every=2,
)


class StoppedError(Exception):
    """Stands for a kill."""


def test_batches_are_those_of_a_cpu(device):
    samples = list(SyntheticDataset("train", 8, Size(96, 64)))

    def batches(chosen):
        with Loader(samples, RECIPE, Worker(chosen)) as loader:
            taken = [loader.take() for _ in range(4)]
            assert all(batch.images.device.type == chosen.type for batch in taken)
            return [(batch.images.cpu(), batch.labels.cpu()) for batch in taken]

    for (images, labels), (expected, known) in zip(batches(device), batches(torch.device("cpu"))):
        assert torch.equal(images, expected)
        assert torch.equal(labels, known)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_a_run_learns_and_goes_on_in_every_precision(device, tmp_path, precision):
    recipe = replace(RECIPE, precision=precision)
    if (device.type, precision) == ("cpu", "fp16"):
        with pytest.raises(UsageError, match="NVIDIA"):
            train(recipe, tmp_path, device="cpu")
        return

    def stop(step, done, total):
        if step.startswith("epoch 2/"):
            raise StoppedError

    with pytest.raises(StoppedError):
        train(recipe, tmp_path, device=device.type, progress=stop)
    results = []
    train(recipe, tmp_path, device=device.type, on_epoch=results.append)
    assert [result.epoch for result in results] == [2]
    last = checkpoints.read(tmp_path / "last.safetensors")
    first, second = (epoch["loss"] for epoch in last.metrics["history"])
    assert second < first
    assert ("scaler" in last.metrics) == (precision == "fp16")
