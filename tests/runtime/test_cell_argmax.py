from __future__ import annotations

import numpy as np
import pytest

from bisenet_edge.runtime.cell_argmax import CellArgmax


def axis_weights(size, stride):
    """Bilinear weights with half-pixel centres: float64 [s * size, size], edge repeated."""
    weights = np.zeros((stride * size, size))
    for pixel in range(stride * size):
        at = (pixel + 0.5) / stride - 0.5
        low = int(np.floor(at))
        for index, weight in ((low, low + 1 - at), (low + 1, at - low)):
            weights[pixel, min(max(index, 0), size - 1)] += weight
    return weights


def upsampled(logits, stride):
    """What the graph's Resize computes, in float64: [C, h, w] -> [C, s h, s w]."""
    _, height, width = logits.shape
    rows = np.einsum("yh,chw->cyw", axis_weights(height, stride), logits.astype(np.float64))
    return np.einsum("xw,cyw->cyx", axis_weights(width, stride), rows)


def smooth(rng, shape):
    """Logits with regions, as those of pictures have, so that whole cells agree."""
    classes, height, width = shape
    coarse = rng.standard_normal((classes, -(-height // 4), -(-width // 4)))
    blurred = coarse.repeat(4, 1).repeat(4, 2)[:, :height, :width]
    return (blurred + 0.05 * rng.standard_normal(shape)).astype(np.float32)


def check(logits, mask_hw, stride=8):
    classes, height, width = logits.shape
    tail = CellArgmax(classes, (height, width), mask_hw, stride)
    out = np.full(mask_hw, 255, np.uint8)
    assert tail(logits, out) is out
    full = upsampled(logits, stride)[:, : mask_hw[0], : mask_hw[1]]
    best = full.argmax(0)
    # Two classes nearer than float32 can tell apart are a tie; elsewhere the mask must be equal.
    ordered = np.sort(full, axis=0)
    margin = ordered[-1] - ordered[-2] if classes > 1 else np.inf
    tie = margin < 1e-5 * np.abs(logits).max()
    assert np.mean(tie) < 0.01
    assert ((out == best) | tie).all()


@pytest.mark.parametrize("make", [smooth, lambda rng, shape: rng.standard_normal(shape).astype(np.float32)])
@pytest.mark.parametrize(
    ("shape", "mask_hw"),
    [
        ((11, 9, 13), (72, 104)),
        ((11, 45, 81), (359, 641)),  # 641x359: padded in the graph, cropped here
        ((2, 5, 4), (33, 25)),
        ((19, 8, 8), (64, 64)),
        ((254, 4, 5), (32, 40)),
        ((5, 1, 1), (8, 8)),
        ((5, 1, 7), (5, 56)),
        ((5, 7, 1), (56, 3)),
        ((3, 1, 1), (1, 1)),
        ((1, 3, 3), (24, 24)),
    ],
)
def test_equal_to_bilinear_upsampling_and_argmax(make, shape, mask_hw):
    check(make(np.random.default_rng(sum(shape)), shape), mask_hw)


def test_a_class_that_wins_at_no_corner_still_wins_in_between():
    # The reason why mixed cells are interpolated over all classes: second at every corner, first between.
    logits = np.zeros((3, 1, 2), np.float32)
    logits[0] = 10, 0
    logits[1] = 0, 10
    logits[2] = 9, 9
    out = np.zeros((8, 16), np.uint8)
    CellArgmax(3, (1, 2), (8, 16))(logits, out)
    assert set(np.unique(out)) == {0, 1, 2}
    check(logits, (8, 16))


def test_the_first_of_equal_classes_wins_as_in_argmax():
    out = np.full((16, 16), 9, np.uint8)
    CellArgmax(4, (2, 2), (16, 16))(np.ones((4, 2, 2), np.float32), out)
    assert (out == 0).all()


def test_buffers_carry_nothing_over_to_the_next_call():
    rng = np.random.default_rng(0)
    tail = CellArgmax(6, (5, 6), (40, 48))
    first, second = (rng.standard_normal((6, 5, 6)).astype(np.float32) for _ in range(2))
    expected = CellArgmax(6, (5, 6), (40, 48))(second, np.empty((40, 48), np.uint8))
    tail(first, np.empty((40, 48), np.uint8))
    assert (tail(second, np.empty((40, 48), np.uint8)) == expected).all()


def test_logits_are_left_as_they_are():
    logits = smooth(np.random.default_rng(1), (4, 6, 6))
    before = logits.copy()
    CellArgmax(4, (6, 6), (48, 48))(logits, np.empty((48, 48), np.uint8))
    assert (logits == before).all()


@pytest.mark.parametrize(
    ("stride", "mask_hw"), [(1, (9, 13)), (1, (7, 12)), (2, (18, 25)), (4, (36, 52)), (16, (130, 208))]
)
def test_logits_of_other_strides(stride, mask_hw):
    logits = smooth(np.random.default_rng(3), (6, 9, 13))
    check(logits, mask_hw, stride)


def test_logits_of_the_masks_size_are_compared_pixel_by_pixel():
    logits = np.random.default_rng(4).standard_normal((5, 6, 7)).astype(np.float32)
    logits[3] = logits[1]  # equal classes: the first wins, as in the graph's ArgMax
    out = np.empty((6, 7), np.uint8)
    assert (CellArgmax(5, (6, 7), (6, 7), 1)(logits, out) == logits.argmax(0)).all()
