from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.dataset import Sample
from bisenet_edge.errors import DatasetError
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.metrics import Confusion
from bisenet_edge.runtime import accuracy
from bisenet_edge.runtime.accuracy import Comparison, Gate, compare
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.evaluation.evaluate import EngineOptions
from bisenet_edge.runtime.evaluation.gallery import Gallery
from bisenet_edge.runtime.evaluation.method import Method

LABELS = LabelSet("toy", ("left", "right", "rare"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
ARTIFACT = Artifact(Path(), Manifest("toy", "", "toy", LABELS, Size(64, 32), "int8"))


@dataclass(frozen=True)
class Pictures:
    samples: tuple
    labels: LabelSet = LABELS
    uri: str = "folder:toy"
    split: str = "val"

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


class BlueSession(Session):
    """FP32 tells the blue channel as it is; INT8 makes class 0 of what is brighter than 1."""

    backend = "blue"

    def _infer(self, frame, mask):
        mask[:] = frame[..., 0]
        if self.precision == "int8":
            mask[mask > 1] = 0


@pytest.fixture(autouse=True)
def sessions(monkeypatch):
    opened = []

    def open_blue(artifact, precision, *, backend, threads, progress):
        opened.append((BlueSession(artifact, precision), backend, threads))
        return opened[-1][0]

    monkeypatch.setattr(accuracy, "open_session", open_blue)
    return opened


def picture(label, name="p"):
    image = np.zeros((*label.shape, 3), np.uint8)
    image[..., 0] = np.where(label == 255, 1, label)
    return Sample(name, image, label)


def label_of(hw=(32, 64), rare=0):
    label = np.zeros(hw, np.uint8)
    label[:, hw[1] // 2 :] = 1
    label[0, :rare] = 2
    return label


def comparison(fp32, other):
    confusions = Confusion(fp32), Confusion(other)
    return Comparison("d", "val", 1, LABELS, "b", "int8", *confusions, 1.0, Method(), Gallery(LABELS))


def diagonal(*counts):
    return np.diag(np.array(counts, np.int64))


def test_both_precisions_see_every_picture_at_its_own_size(sessions):
    # 128x64 is scaled down to the network's 64x32, 64x20 is padded: the labels stay as they are.
    labels = [label_of((32, 64), rare=16), label_of((64, 128)), label_of((20, 64), rare=16)]
    steps = []
    result = compare(
        ARTIFACT,
        Pictures(tuple(picture(label) for label in labels)),
        options=EngineOptions("some", 3),
        progress=lambda *step: steps.append(step),
    )
    assert result.fp32.counts.sum() == result.other.counts.sum() == sum(label.size for label in labels)
    assert result.fp32.miou() == 1.0
    assert result.other.iou()[2] == 0.0
    assert result.pixel_agreement == pytest.approx(np.mean([1 - 16 / 2048, 1, 1 - 16 / 1280]))
    assert (result.data, result.split, result.images, result.backend) == ("folder:toy", "val", 3, "blue")
    assert steps == [("checking", done, 3) for done in (1, 2, 3)]
    assert [(s.precision, backend, threads) for s, backend, threads in sessions] == [
        ("fp32", "some", 3),
        ("int8", "some", 3),
    ]
    assert not any(s._open for s, _, _ in sessions)


def test_ignored_pixels_count_in_the_agreement_alone():
    label = label_of(rare=16)
    label[0, :16] = 255
    result = compare(ARTIFACT, Pictures((picture(label),)))
    assert result.fp32.counts.sum() == label.size - 16
    assert result.drop_points == 0.0


@pytest.mark.parametrize("names", [("left", "right"), ("right", "left", "rare"), ("left", "right", "other")])
def test_other_classes_are_refused_before_an_engine_is_opened(sessions, names):
    other = LabelSet("other", names, LABELS.palette[: len(names)])
    with pytest.raises(DatasetError, match="other classes") as caught:
        compare(ARTIFACT, Pictures((picture(label_of()),), labels=other))
    assert "'other'" in caught.value.got
    assert "'toy'" in caught.value.expected
    assert not sessions


def test_the_drop_is_in_points_and_positive_when_int8_is_worse():
    worse = np.array([[90, 10, 0], [0, 100, 0], [0, 0, 100]])
    result = comparison(diagonal(100, 100, 100), worse)
    expected = 100 * (1 - (0.9 + 100 / 110 + 1) / 3)
    assert result.drop_points == pytest.approx(expected)
    assert result.class_drop_points() == pytest.approx([10, 100 * (1 - 100 / 110), 0])
    assert comparison(worse, diagonal(100, 100, 100)).drop_points == pytest.approx(-expected)


@pytest.mark.parametrize(
    ("gate", "passes"),
    [
        (Gate(), True),
        (Gate(max_drop=6.4), True),
        (Gate(max_drop=6.3), False),
        (Gate(max_class_drop=10.1), True),
        (Gate(max_class_drop=9.9), False),
        (Gate(max_drop=6.4, max_class_drop=9.9), False),
        (Gate(max_drop=6.3, max_class_drop=10.1), False),
    ],
)
def test_the_gate(gate, passes):
    # Drops: 10, 9.09 and 0 points; mean 6.36.
    worse = np.array([[90, 10, 0], [0, 100, 0], [0, 0, 100]])
    assert comparison(diagonal(100, 100, 100), worse).passes(gate) is passes


def test_a_drop_equal_to_the_limit_passes_and_a_gain_passes_zero():
    same = comparison(diagonal(5, 5, 5), diagonal(5, 5, 5))
    assert same.passes(Gate(max_drop=0.0, max_class_drop=0.0))
    worse = np.array([[4, 1, 0], [0, 5, 0], [0, 0, 5]])
    assert comparison(worse, diagonal(5, 5, 5)).passes(Gate(0.0, 0.0))


def test_an_absent_class_does_not_fail_the_class_gate():
    assert comparison(diagonal(5, 5, 0), diagonal(5, 5, 0)).passes(Gate(0.0, 0.0))


def test_nan_never_passes():
    nothing = comparison(diagonal(0, 0, 0), diagonal(0, 0, 0))
    assert np.isnan(nothing.drop_points)
    assert not nothing.passes(Gate(max_drop=100.0))


def test_the_report_is_plain_json_with_null_for_nan():
    result = replace(comparison(diagonal(5, 5, 0), np.diag([4, 5, 0])), pixel_agreement=0.98)
    value = json.loads(json.dumps(result.to_json(Gate(max_drop=1.0)), allow_nan=False))
    assert value["fp32"] == {"miou": 1.0, "iou": [1.0, 1.0, None]}
    assert value["class_drop_points"] == [0.0, 0.0, None]
    assert (value["max_drop"], value["max_class_drop"], value["passed"]) == (1.0, None, True)
    assert value["pixel_agreement"] == 0.98
    assert value["method"]["text"] == "single scale"
    assert value["confusion"] == [[4, 0, 0], [0, 5, 0], [0, 0, 0]]


def test_the_pictures_shown_are_those_of_the_other_precision():
    labels = [label_of(rare=rare) for rare in (0, 16, 0, 32)]
    result = compare(ARTIFACT, Pictures(tuple(picture(label, f"p{i}") for i, label in enumerate(labels))))
    # INT8 knows no "rare": the picture without it is right, the more of it the worse.
    assert [shown.name for shown in result.gallery.worst] == ["p3", "p1"]
    assert [shown.miou for shown in result.gallery.best] == [1.0, 1.0]


def test_several_views_ask_the_engine_for_its_logits(monkeypatch):
    def logits_of(self, frame):
        blue = frame[::8, ::8, 0]
        known = blue if self.precision == "fp32" else np.where(blue > 1, 0, blue)
        return np.stack([known == index for index in range(3)]).astype(np.float32) * 9

    monkeypatch.setattr(BlueSession, "_logits_of", logits_of)
    label = np.kron(np.arange(3).repeat(2)[:, None] % 3, np.ones((8, 96)))[:32].astype(np.uint8)
    options = EngineOptions("openvino", method=Method((1.0,), flip=True, slide=0.5))
    result = compare(ARTIFACT, Pictures((picture(label),)), options=options)
    assert result.fp32.iou() == pytest.approx([1, 1, np.nan], nan_ok=True)
    assert result.to_json(Gate())["method"]["text"] == "single scale + flip + windows overlapping by 50%"
