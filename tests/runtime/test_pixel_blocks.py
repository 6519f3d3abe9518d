"""How frames are copied into networks. That the convolutions stay the same is tested with the engines."""

from __future__ import annotations

import numpy as np
import pytest

from bisenet_edge.runtime.backends.pixel_blocks import FirstConvolution, FrameWriter, shape_of_blocks


def frame_of(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def squares(frame):
    height, width, channels = frame.shape
    split = frame.reshape(height // 2, 2, width // 2, 2, channels)
    return split.transpose(0, 2, 1, 3, 4).reshape(height // 2, width // 2, 4 * channels)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("hw", [(16, 24), (13, 21), (16, 8)])
def test_frames_are_copied_and_padded_with_128(hw, blocks, signed):
    shape = shape_of_blocks(16, 24) if blocks else (16, 24, 3)
    pixels = np.full(shape, 77, np.uint8)
    writer = FrameWriter(pixels, signed=signed)
    for seed in range(2):
        frame = frame_of(*hw, seed)
        before = frame.copy()
        writer.write(frame)
        expected = np.full((16, 24, 3), 128, np.uint8)
        expected[: hw[0], : hw[1]] = frame
        expected = squares(expected) if blocks else expected
        if signed:
            expected = (expected.astype(np.int16) - 128).astype(np.int8)
        assert np.array_equal(pixels.view(expected.dtype), expected)
        assert np.array_equal(frame, before)


def test_a_view_is_written_as_the_picture_that_it_shows():
    whole = frame_of(16, 48)
    pixels = np.zeros(shape_of_blocks(16, 24), np.uint8)
    FrameWriter(pixels, signed=False).write(whole[:, ::2])
    assert np.array_equal(pixels, squares(whole[:, ::2]))


def test_a_kernel_that_would_leave_out_pixels_at_the_end_is_not_possible():
    assert FirstConvolution((7, 7), (3, 3), (32, 48), (16, 24)).possible
    assert not FirstConvolution((3, 3), (0, 0), (32, 48), (14, 22)).possible
