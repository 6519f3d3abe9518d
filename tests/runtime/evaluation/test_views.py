"""Which pixels each window covers."""

from __future__ import annotations

import numpy as np
import pytest

from bisenet_edge.errors import UsageError
from bisenet_edge.runtime.evaluation.method import SCALES, Method
from bisenet_edge.runtime.evaluation.views import spans, starts


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"),
    [
        (50, 60, 1 / 3, [0]),
        (60, 60, 1 / 3, [0]),
        (61, 60, 1 / 3, [0, 1]),
        (100, 60, 1 / 3, [0, 40]),
        (101, 60, 1 / 3, [0, 40, 41]),
        (120, 60, 0.0, [0, 60]),
        (120, 60, 0.5, [0, 30, 60]),
        (10, 1, 0.9, list(range(10))),
    ],
)
def test_windows_cover_everything_and_end_with_the_picture(length, window, overlap, expected):
    assert starts(length, window, overlap) == expected


@pytest.mark.parametrize("own", [7, 40, 96, 101])
@pytest.mark.parametrize("scaled", [5, 33, 64, 96, 170])
@pytest.mark.parametrize("window", [None, 32, 64])
def test_the_weights_of_each_pixel_add_up_to_one(own, scaled, window):
    total = np.zeros(own)
    for span in spans(own, scaled, window, 0.4):
        assert ((span.positions >= 0) & (span.positions < span.length)).all()
        assert len(span.positions) == len(span.weights) == span.pixels.stop - span.pixels.start
        total[span.pixels] += span.weights
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_positions_are_centres_of_pixels():
    (only,) = spans(4, 8, None, 0.3)  # twice as large: pixel 0 covers 0..2
    assert only.positions.tolist() == [1, 3, 5, 7]
    first, second = spans(6, 6, 4, 0.5)  # windows 0..4 and 2..6
    assert (first.pixels, second.pixels) == (slice(0, 4), slice(2, 6))
    assert second.positions.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert first.weights.tolist() == [1, 1, 0.5, 0.5]
    assert second.weights.tolist() == [0.5, 0.5, 1, 1]


def test_a_method_in_words():
    assert Method().text() == "single scale"
    usual = Method.parse("0.5,0.75,1,1.25,1.5,1.75", flip=True)
    assert usual == Method(SCALES, flip=True)
    assert usual.text() == "scales 0.5, 0.75, 1, 1.25, 1.5, 1.75 + flip"
    assert Method(slide=0.33).text() == "single scale + windows overlapping by 33%"


@pytest.mark.parametrize(
    ("method", "plain"),
    [
        (Method.parse("1.0"), True),
        (Method.parse("1,2"), False),
        (Method.parse("0.5"), False),
        (Method.parse("1", flip=True), False),
        (Method.parse("1", slide=0.0), False),
    ],
)
def test_one_view_of_the_fitted_picture_is_plain(method, plain):
    assert method.plain is plain


@pytest.mark.parametrize("scales", ["", "a", "1,,2", "0", "-1", "nan", "inf", "1,1", "9", "0.5;1"])
def test_scales_that_are_refused(scales):
    with pytest.raises(UsageError) as caught:
        Method.parse(scales)
    assert "--scales 0.5,0.75,1,1.25,1.5,1.75" in caught.value.fix


@pytest.mark.parametrize("slide", [-0.1, 1.0, float("nan")])
def test_overlaps_that_are_refused(slide):
    with pytest.raises(UsageError, match="overlap"):
        Method(slide=slide)
