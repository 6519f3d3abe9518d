"""JPEGs that are whole, and those that are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bisenet_edge.runtime.sources.jpeg import has_its_end, is_whole_frame


def encoded(*options: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", noise, list(options))[1])


@pytest.mark.parametrize(
    "options",
    [
        (),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        (cv2.IMWRITE_JPEG_QUALITY, 5),
    ],
)
def test_whole_frames(options: tuple[int, ...]) -> None:
    data = encoded(*options)
    assert is_whole_frame(data)
    assert is_whole_frame(data + bytes(100)), "cameras pad their buffers"
    assert has_its_end(data)


def test_damaged_frames() -> None:
    data = encoded()
    scan = data.rfind(b"\xff\xda") + 30
    for damaged in (
        b"",
        data[2:],
        data[: len(data) * 6 // 10],
        data[:-2],
        data[:scan] + b"\xff\xc4" + data[scan + 2 :],
        data[:scan] + b"\xff\xd8" + data[scan + 2 :],
        b"\xff\xd8\xff\xd9",
    ):
        assert not is_whole_frame(damaged)
