from __future__ import annotations

import numpy as np
import pytest

from bisenet_edge.artifact import Artifact, Manifest, hash_files, write_manifest
from bisenet_edge.errors import ArtifactError, BackendError
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.selftest import SelfTestResult, selftest, write_golden

SIZE = Size(64, 32)
LABELS = LabelSet("toy", ("left", "right", "dot"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))


class FixedSession(Session):
    """Gives one mask for every frame."""

    backend = "fixed"

    def __init__(self, artifact, precision, mask):
        super().__init__(artifact, precision)
        self._answer = mask

    def _infer(self, frame, mask):
        mask[:] = self._answer


def half_and_half():
    mask = np.zeros(SIZE.hw, np.uint8)
    mask[:, 32:] = 1
    return mask


def make_artifact(folder, golden=True, size=SIZE):
    folder.mkdir()
    if golden:
        frames = [np.full((*SIZE.hw, 3), v, np.uint8) for v in (10, 200)]
        masks = {"int8": [half_and_half()] * 2, "fp32": [np.zeros(SIZE.hw, np.uint8)] * 2}
        write_golden(folder, frames, masks)
    write_manifest(
        folder, Manifest(folder.name, "2026-01-01", "toy", LABELS, size, "int8", hash_files(folder))
    )
    return Artifact.open(folder)


def test_equal_masks_pass(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    result = selftest(artifact, FixedSession(artifact, "int8", half_and_half()))
    assert result.passed
    assert result.agreements == (1.0, 1.0)
    assert result.worst_class_iou == 1.0
    assert result.to_json()["passed"] is True


def test_the_share_of_equal_pixels_decides(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    mask = half_and_half()
    mask[:1, :32] = 2  # 32 of 2048 pixels = 1.6 %
    session = FixedSession(artifact, "int8", mask)
    result = selftest(artifact, session)
    assert not result.passed
    assert result.agreements[0] == pytest.approx(1 - 32 / 2048)
    assert (result.worst_class, result.worst_class_iou) == ("dot", 0.0)
    assert selftest(artifact, session, min_agreement=0.98).passed


@pytest.mark.parametrize(
    ("agreements", "passed"),
    [
        ((0.985, 1.0, 1.0, 1.0), True),  # one frame below the limit, the mean above
        ((0.978, 1.0, 1.0, 1.0), False),  # one frame twice as far from it as the mean may be, and more
        ((0.989, 0.989, 0.989, 0.989), False),
    ],
)
def test_the_mean_decides_and_a_frame_that_is_far_off(agreements, passed):
    result = SelfTestResult("double", "int8", "int8", agreements, "dot", 1.0, 0.99)
    assert result.passed == passed


@pytest.mark.parametrize(("precision", "reference"), [("int8-typed", "int8"), ("fp16-typed", "fp32")])
def test_each_precision_has_its_reference(tmp_path, precision, reference):
    artifact = make_artifact(tmp_path / "a")
    right = half_and_half() if reference == "int8" else np.zeros(SIZE.hw, np.uint8)
    result = selftest(artifact, FixedSession(artifact, precision, right))
    assert result.passed
    assert result.reference == reference


def test_values_that_are_no_class_are_an_error(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    with pytest.raises(BackendError, match="no class"):
        selftest(artifact, FixedSession(artifact, "int8", np.full(SIZE.hw, 3, np.uint8)))


def test_an_artifact_without_golden_frames_is_an_error(tmp_path):
    artifact = make_artifact(tmp_path / "a", golden=False)
    with pytest.raises(ArtifactError, match="no golden frames"):
        selftest(artifact, FixedSession(artifact, "int8", half_and_half()))


def test_golden_frames_of_another_size_are_an_error(tmp_path):
    artifact = make_artifact(tmp_path / "a", size=Size(64, 64))
    with pytest.raises(ArtifactError, match="network's size"):
        selftest(artifact, FixedSession(artifact, "int8", np.zeros((64, 64), np.uint8)))


@pytest.mark.parametrize(
    ("frames", "masks"),
    [
        (0, {"int8": 0}),
        (1, {}),
        (2, {"int8": 1}),
    ],
)
def test_write_golden_refuses_what_does_not_match(tmp_path, frames, masks):
    frame, mask = np.zeros((*SIZE.hw, 3), np.uint8), np.zeros(SIZE.hw, np.uint8)
    with pytest.raises(ValueError, match=r"golden frames|do not match"):
        write_golden(tmp_path, [frame] * frames, {k: [mask] * n for k, n in masks.items()})


def test_write_golden_refuses_other_types(tmp_path):
    frame, mask = np.zeros((*SIZE.hw, 3), np.uint8), np.zeros(SIZE.hw, np.int64)
    with pytest.raises(ValueError, match="uint8"):
        write_golden(tmp_path, [frame], {"int8": [mask]})
