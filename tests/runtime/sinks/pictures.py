"""Frames, masks and readers that the tests of sinks share."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Tuple

import cv2
import numpy as np

from bisenet_edge.frame import Frame
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.sinks import Sink, open_sink

HW = (120, 160)
ROAD, CAR = CAMVID.names.index("road"), CAMVID.names.index("car")


def frame(index: int, hw: Tuple[int, int] = HW, captured_ns: int = 0) -> Frame:
    return Frame(np.full((*hw, 3), 100, np.uint8), index, captured_ns)


def fresh_frame(index: int, hw: Tuple[int, int] = HW) -> Frame:
    return frame(index, hw, time.monotonic_ns())


def noisy_frame(index: int, hw: Tuple[int, int] = HW, captured_ns: int = 0) -> Frame:
    """Noise does not compress: it fills a disk soon."""
    noise = np.random.default_rng(index).integers(0, 256, (*hw, 3), dtype=np.uint8)
    return Frame(noise, index, captured_ns)


def road_and_car(hw: Tuple[int, int] = HW) -> np.ndarray:
    mask = np.full(hw, ROAD, np.uint8)
    mask[:, hw[1] // 2 :] = CAR
    return mask


def sink_at(place: object, fps: float = 25.0, *, live: bool = False) -> Sink:
    return open_sink(str(place), CAMVID, fps, live=live)


def read_video(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    images = []
    while True:
        good, image = capture.read()
        if not good:
            return images
        images.append(image)


def codec_of(path: Path) -> str:
    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own of that size. Needs root (mount)."""
    with tempfile.TemporaryDirectory(prefix="small-disk-") as folder:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder],
            check=True,
            capture_output=True,
        )
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
