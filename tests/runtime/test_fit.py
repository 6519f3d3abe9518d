from __future__ import annotations

import numpy as np
import pytest

from bisenet_edge.frame import Size
from bisenet_edge.runtime.fit import PAD_VALUE, Fit

NETWORK = Size(64, 32)


def random_image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("source_hw", "inner_hw"),
    [
        ((32, 64), (32, 64)),
        ((64, 128), (32, 64)),
        ((16, 32), (32, 64)),  # small pictures are scaled up
        ((360, 480), (32, 43)),
        ((100, 50), (32, 16)),
        ((20, 64), (20, 64)),
        ((1, 1000), (1, 64)),  # never less than a pixel
        ((1000, 1), (32, 1)),
        ((1, 1), (32, 32)),
    ],
)
def test_the_aspect_ratio_is_kept_and_the_rest_is_padding(source_hw, inner_hw):
    fit = Fit(source_hw, NETWORK)
    assert fit.inner_hw == inner_hw
    frame = fit.apply(np.full((*source_hw, 3), 9, np.uint8), fit.new_input())
    assert frame.shape == (*NETWORK.hw, 3)
    assert (frame[: inner_hw[0], : inner_hw[1]] == 9).all()
    assert (frame[inner_hw[0] :] == PAD_VALUE).all()
    assert (frame[:, inner_hw[1] :] == PAD_VALUE).all()


def test_the_padding_is_zero_after_normalisation():
    assert PAD_VALUE == 128


def test_a_picture_of_the_networks_size_is_not_copied():
    image = random_image(*NETWORK.hw)
    fit = Fit(NETWORK.hw, NETWORK)
    assert fit.apply(image, fit.new_input()) is image


def test_a_picture_that_fits_is_not_resampled():
    image = random_image(20, 64)
    fit = Fit((20, 64), NETWORK)
    assert (fit.apply(image, fit.new_input())[:20] == image).all()


def test_strong_reduction_averages():
    # A checkerboard of single pixels: bilinear sampling would alias, the average is grey.
    image = np.zeros((320, 640, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 200
    fit = Fit((320, 640), NETWORK)
    assert (fit.apply(image, fit.new_input()) == 100).all()


@pytest.mark.parametrize("source_hw", [(32, 64), (64, 128), (16, 32), (100, 50), (360, 480), (31, 63)])
def test_a_mask_comes_back_at_the_pictures_size_in_the_right_place(source_hw):
    fit = Fit(source_hw, NETWORK)
    mask = np.full(NETWORK.hw, 99, np.uint8)
    height, width = fit.inner_hw
    mask[:height, :width] = 1
    mask[: height // 2, : width // 2] = 9
    restored = fit.undo(mask)
    assert restored.shape == source_hw
    assert set(np.unique(restored)) == {1, 9}  # no padding, no class that interpolation made up
    share = (restored == 9).mean()
    assert share == pytest.approx((height // 2) * (width // 2) / (height * width), abs=0.03)
    assert restored[0, 0] == 9
    assert restored[-1, -1] == 1


def test_there_and_back_keeps_every_pixel_when_the_picture_is_scaled_up_by_a_whole_number():
    mask = np.random.default_rng(0).integers(0, 11, (16, 32), np.uint8)
    fit = Fit((16, 32), NETWORK)
    assert (fit.undo(mask.repeat(2, 0).repeat(2, 1)) == mask).all()


def test_a_mask_is_written_where_it_is_asked_for():
    out = np.zeros((64, 128), np.uint8)
    restored = Fit((64, 128), NETWORK).undo(np.ones(NETWORK.hw, np.uint8), out)
    assert np.shares_memory(restored, out)
    assert (out == 1).all()
