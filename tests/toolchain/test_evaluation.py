"""A checkpoint's accuracy in torch, and that of the artifact made from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bisenet_edge.artifact import Artifact
from bisenet_edge.dataset import Sample
from bisenet_edge.errors import DatasetError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID, LabelSet
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.evaluation.evaluate import EngineOptions, evaluate_artifact
from bisenet_edge.runtime.evaluation.method import Method
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.evaluation import CheckpointOptions, TorchNetwork, evaluate_checkpoint
from bisenet_edge.toolchain.train_data import evaluate

CPU = torch.device("cpu")
SIZE = Size(96, 64)


@pytest.fixture(scope="module")
def shipped():
    return checkpoints.read(shipped_checkpoint())


def streets(size, count=3):
    return open_dataset(f"synthetic:?count={count}&size={size}", "val")


@pytest.mark.parametrize("size", [None, SIZE])
def test_the_plain_figures_are_those_of_training(shipped, size):
    # At the network's own size, fitted or whole is the same.
    dataset = streets("96x64")
    result = evaluate_checkpoint(shipped, dataset, CheckpointOptions(size, "cpu"))
    expected = evaluate(shipped.build(), list(dataset), len(dataset.labels))
    assert (result.confusion.counts == expected.counts).all()
    assert result.subject.size == ("" if size is None else "96x64")
    assert (result.subject.model, result.subject.precision) == ("bisenet-xception39", "fp32")


@pytest.mark.parametrize(
    ("method", "pictures"),
    [
        (Method(), "96x64"),
        (Method(), "120x75"),
        (Method((0.5, 1.0, 1.5), flip=True), "120x75"),
        (Method(flip=True, slide=0.33), "150x75"),
    ],
)
def test_an_artifact_and_its_checkpoint_agree(small_artifact, shipped, method, pictures):
    dataset = streets(pictures)
    artifact = Artifact.open(small_artifact)
    ours = evaluate_checkpoint(shipped, dataset, CheckpointOptions(SIZE, "cpu", method))
    for backend in ("openvino", "reference"):
        theirs = evaluate_artifact(artifact, dataset, "fp32", EngineOptions(backend, method=method))
        total = ours.confusion.counts.sum()
        assert theirs.confusion.counts.sum() == total
        assert np.abs(theirs.confusion.counts - ours.confusion.counts).sum() <= 0.004 * total
        assert theirs.confusion.miou() == pytest.approx(ours.confusion.miou(), abs=0.002)


def test_more_views_of_the_whole_picture_need_no_size(shipped):
    result = evaluate_checkpoint(
        shipped, streets("101x59", 1), CheckpointOptions(None, "cpu", Method((0.5, 1.0), flip=True))
    )
    assert result.confusion.counts.sum() > 0
    assert np.isfinite(result.confusion.miou())


def test_windows_need_a_size(shipped):
    with pytest.raises(UsageError, match="windows need a size") as caught:
        evaluate_checkpoint(shipped, streets("96x64"), CheckpointOptions(None, "cpu", Method(slide=0.33)))
    assert "--res" in caught.value.fix


def test_other_classes_are_refused(shipped):
    class Other:
        uri = "folder:other"
        labels = LabelSet("two", ("a", "b"), ((0, 0, 0), (9, 9, 9)))

    with pytest.raises(DatasetError, match="other classes"):
        evaluate_checkpoint(shipped, Other(), CheckpointOptions(device="cpu"))


class Stride4(nn.Module):
    """Mean of 4 x 4 pixels, for frames whose sides are multiples of 32."""

    input_multiple = 32

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(4)

    def forward(self, image):
        assert image.shape[2] % 32 == image.shape[3] % 32 == 0
        assert not self.training
        return self.pool(image)


def test_networks_of_another_stride_and_multiple():
    network = TorchNetwork(Stride4().train(), CPU)
    image = np.zeros((40, 70, 3), np.uint8)
    image[:, :36, 0], image[:, 36:, 2] = 200, 200
    logits, stride = network.logits(image)
    assert (logits.shape, stride) == ((3, 16, 24), 4)
    mask = network.mask(image)
    assert mask.shape == (40, 70)
    assert (mask[:, :36] == 0).all()
    assert (mask[:, 36:] == 2).all()


def test_a_picture_is_fitted_as_on_a_device():
    network = TorchNetwork(Stride4(), CPU)
    label = np.zeros((30, 50), np.uint8)
    image = np.full((30, 50, 3), (0, 250, 0), np.uint8)
    (first,) = network.segment(Size(96, 64))(iter([Sample("p", image, label)]))
    assert first[1].shape == (30, 50)
    assert (first[1] == 1).all()


def test_the_classes_of_the_shipped_checkpoint_are_camvids(shipped):
    assert shipped.labels.names == CAMVID.names
