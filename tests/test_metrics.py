from __future__ import annotations

import numpy as np
import pytest

from bisenet_edge.metrics import Confusion, agreement


def confusion(label, mask, classes=3):
    return Confusion.of(np.array(label, np.uint8), np.array(mask, np.uint8), classes)


def test_rows_are_labels_and_columns_predictions():
    counts = confusion([[0, 0, 1, 2]], [[0, 1, 1, 1]]).counts
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_iou_is_intersection_over_union_with_nothing_added():
    # Class 0: 1 of 2. Class 1: 1 of 3. Class 2: 0 of 1. A "+1" in a denominator would lower each.
    result = confusion([[0, 0, 1, 2]], [[0, 1, 1, 1]])
    assert result.iou().tolist() == [1 / 2, 1 / 3, 0.0]
    assert result.miou() == pytest.approx((1 / 2 + 1 / 3 + 0) / 3, abs=1e-15)
    assert result.pixel_accuracy() == 0.5


def test_a_perfect_mask_scores_exactly_one():
    result = confusion([[0, 1, 2]], [[0, 1, 2]])
    assert result.miou() == 1.0
    assert result.pixel_accuracy() == 1.0


def test_an_absent_class_is_nan_and_leaves_the_mean_alone():
    result = confusion([[0, 1]], [[0, 1]])
    assert np.isnan(result.iou()[2])
    assert result.miou() == 1.0


def test_a_class_that_is_only_predicted_counts_as_wrong():
    assert confusion([[0, 0]], [[0, 2]]).iou()[2] == 0.0


def test_ignored_pixels_count_nowhere():
    result = confusion([[0, 255, 255]], [[0, 1, 2]])
    assert result.counts.sum() == 1
    assert result.miou() == 1.0


def test_nothing_counted_is_nan_not_zero():
    for empty in (Confusion.empty(3), confusion([[255]], [[0]])):
        assert np.isnan(empty.iou()).all()
        assert np.isnan(empty.miou())
        assert np.isnan(empty.pixel_accuracy())


def test_adding_is_counting_both():
    rng = np.random.default_rng(0)
    label, mask = rng.integers(0, 5, (2, 8, 9))
    parts = Confusion.of(label[:3], mask[:3], 5) + Confusion.of(label[3:], mask[3:], 5)
    assert (parts.counts == Confusion.of(label, mask, 5).counts).all()


def test_many_classes_do_not_overflow_the_label_dtype():
    label = np.full((2, 2), 253, np.uint8)
    assert Confusion.of(label, label, 254).counts[253, 253] == 4


def test_agreement():
    assert agreement(np.array([[0, 1, 2, 3]]), np.array([[0, 1, 2, 0]])) == 0.75
    with pytest.raises(ValueError, match="shape"):
        agreement(np.zeros((2, 3)), np.zeros((3, 2)))


def test_recall_and_precision_are_nan_where_there_is_nothing_to_share():
    # Class 1: 1 of 1 found, 1 of 3 right. Class 2: never predicted. Class 3: not there.
    result = confusion([[0, 0, 1, 2]], [[0, 1, 1, 1]], 4)
    assert result.recall()[:3].tolist() == [1 / 2, 1, 0]
    assert result.precision()[:2].tolist() == [1, 1 / 3]
    assert np.isnan(result.recall()[3])
    assert np.isnan(result.precision()[2:]).all()
