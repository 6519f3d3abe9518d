"""Averages over views, on networks whose scores can be computed by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bisenet_edge.frame import Size
from bisenet_edge.runtime.evaluation.method import Method
from bisenet_edge.runtime.evaluation.scoring import Scorer, winners

RNG = np.random.default_rng(0)
WINDOW = Size(64, 32)


def picture(height, width):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def softmax(logits):
    power = np.exp(logits - logits.max(0))
    return power / power.sum(0)


def channels(frame):
    """Full-size logits: a class per channel, up to 12.75."""
    return frame.transpose(2, 0, 1) / np.float32(20), 1


def blocks(frame):
    """Logits at 1/8: the mean of each block of 8 x 8 pixels, of a frame padded with 128."""
    height, width = frame.shape[:2]
    padded = np.pad(frame, ((0, -height % 8), (0, -width % 8), (0, 0)), constant_values=128)
    small = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8, 3).mean((1, 3))
    return (small.transpose(2, 0, 1) / 20).astype(np.float32), 8


def upsampled(logits, hw):
    """Half-pixel bilinear, by OpenCV: an independent implementation."""
    height, width = (8 * side for side in logits.shape[1:])
    full = np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in logits])
    return full[:, : hw[0], : hw[1]]


def test_a_view_of_the_picture_itself_is_the_softmax_of_the_network():
    image = picture(20, 30)
    scores = Scorer(channels, 3, Method()).scores(image)
    np.testing.assert_allclose(scores, softmax(channels(image)[0]), atol=1e-6)


@pytest.mark.parametrize("hw", [(32, 64), (30, 61), (7, 9)])
def test_logits_are_upsampled_as_the_graph_does(hw):
    image = picture(*hw)
    scores = Scorer(blocks, 3, Method()).scores(image)
    np.testing.assert_allclose(scores, softmax(upsampled(blocks(image)[0], hw)), atol=1e-5)


@pytest.mark.parametrize("network", [channels, blocks])
@pytest.mark.parametrize("hw", [(32, 64), (24, 40)])
def test_flip_of_a_network_that_does_not_know_left_from_right_changes_nothing(network, hw):
    image = picture(*hw)
    plain = Scorer(network, 3, Method()).scores(image)
    np.testing.assert_allclose(Scorer(network, 3, Method(flip=True)).scores(image), plain, atol=1e-5)


@pytest.mark.parametrize("window", [None, WINDOW])
def test_flip_averages_with_the_mirrored_picture(window):
    def left_bright(frame):
        # A class that likes the left edge, whatever is there: it must be averaged away.
        logits = channels(frame)[0].copy()
        logits[0] += np.linspace(5, 0, frame.shape[1], dtype=np.float32)
        return logits, 1

    image = picture(32, 64)
    scores = Scorer(left_bright, 3, Method(flip=True), window).scores(image)
    there = softmax(left_bright(image)[0])
    back = softmax(left_bright(image[:, ::-1])[0])[:, :, ::-1]
    np.testing.assert_allclose(scores, (there + back) / 2, atol=1e-6)


def test_the_padding_stays_right_when_a_picture_is_mirrored():
    frames = []

    def remember(frame):
        frames.append(frame.copy())
        return channels(frame)

    image = picture(16, 40)
    Scorer(remember, 3, Method((0.5,), flip=True, slide=0.0), WINDOW).scores(image)
    there, back = frames
    assert there.shape == back.shape == (32, 64, 3)
    assert (there[:8, :20] == back[:8, :20][:, ::-1]).all()
    for frame in frames:
        assert (frame[8:] == 128).all()
        assert (frame[:, 20:] == 128).all()


def test_scales_are_averaged_at_the_pictures_own_size():
    # Two halves: the network answers with the width of what it sees, so each scale's share is known.
    image = np.zeros((32, 64, 3), np.uint8)

    def by_width(frame):
        logits = np.zeros((2, *frame.shape[:2]), np.float32)
        logits[1] = frame.shape[1] / 64
        return logits, 1

    scores = Scorer(by_width, 2, Method((0.5, 1.0, 2.0))).scores(image)
    expected = np.mean([1 / (1 + np.exp(-scale)) for scale in (0.5, 1.0, 2.0)])
    np.testing.assert_allclose(scores[1], expected, atol=1e-6)
    np.testing.assert_allclose(scores.sum(0), 1, atol=1e-6)


def test_a_scaled_picture_comes_back_in_place():
    image = np.kron(RNG.integers(0, 256, (4, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    plain = Scorer(channels, 3, Method()).scores(image)
    for scale in (0.5, 2.0):
        other = Scorer(channels, 3, Method((scale,))).scores(image)
        inner = np.s_[:, 3::8, 3::8]  # the middle of each block, which no interpolation reaches
        np.testing.assert_allclose(other[inner], plain[inner], atol=0.02)


@pytest.mark.parametrize("hw", [(32, 64), (20, 64), (32, 40)])
@pytest.mark.parametrize("network", [channels, blocks])
def test_one_window_is_the_plain_view(hw, network):
    image = picture(*hw)
    padded = np.full((32, 64, 3), 128, np.uint8)
    padded[: hw[0], : hw[1]] = image
    logits, stride = network(padded)
    full = logits if stride == 1 else upsampled(logits, (32, 64))
    sliding = Scorer(network, 3, Method(slide=0.33), WINDOW).scores(image)
    np.testing.assert_allclose(sliding, softmax(full)[:, : hw[0], : hw[1]], atol=1e-5)


def test_windows_that_overlap_are_averaged():
    calls = []

    def number_of_the_call(frame):
        calls.append(frame.copy())
        logits = np.zeros((2, *frame.shape[:2]), np.float32)
        logits[1] = len(calls) - 1
        return logits, 1

    image = picture(32, 96)
    scores = Scorer(number_of_the_call, 2, Method(slide=0.5), WINDOW).scores(image)
    assert len(calls) == 2
    assert (calls[0] == image[:, :64]).all()
    assert (calls[1] == image[:, 32:]).all()
    first, second = 0.5, 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(scores[1, :, :32], first, atol=1e-6)
    np.testing.assert_allclose(scores[1, :, 32:64], (first + second) / 2, atol=1e-6)
    np.testing.assert_allclose(scores[1, :, 64:], second, atol=1e-6)


@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.6])
def test_windows_of_a_network_that_looks_at_single_pixels_leave_no_seam(overlap):
    image = picture(75, 150)
    scores = Scorer(channels, 3, Method(slide=overlap), WINDOW).scores(image)
    np.testing.assert_allclose(scores, softmax(channels(image)[0]), atol=1e-5)


def test_a_network_of_one_size_sees_the_fitted_picture_and_windows_of_larger_scales():
    seen = []

    def remember(frame):
        seen.append(frame.shape)
        return channels(frame)

    image = picture(64, 128)
    Scorer(remember, 3, Method(flip=True), WINDOW).scores(image)
    assert seen == [(32, 64, 3)] * 2  # the whole picture, made smaller, twice
    seen.clear()
    Scorer(remember, 3, Method((0.5, 2.0)), WINDOW).scores(image)
    assert len(seen) == 1 + 3 * 3  # 128 x 64 in windows that step by 43 and 21 pixels
    assert set(seen) == {(32, 64, 3)}


def test_extreme_logits_do_not_overflow():
    def huge(frame):
        return np.stack([np.full(frame.shape[:2], v, np.float32) for v in (1e4, -1e4, 9999)]), 1

    scores = Scorer(huge, 3, Method(flip=True)).scores(picture(8, 8))
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[:, 0, 0], [1 / (1 + np.exp(-1)), 0, 1 / (1 + np.exp(1))], atol=1e-6)


def test_the_mask_is_the_first_of_the_largest():
    scores = RNG.random((5, 20, 30)).astype(np.float32).round(1)  # with ties
    assert (winners(scores) == scores.argmax(0)).all()
    assert winners(scores).dtype == np.uint8
