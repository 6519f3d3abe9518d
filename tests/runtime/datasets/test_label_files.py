"""How a PNG stores ids must not change them."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from dataset_trees import of_values, write

from bisenet_edge.runtime.datasets.faults import Fault, FileFaultError
from bisenet_edge.runtime.datasets.label_files import plain_ids

COLOUR_TYPES = {"grey": 0, "palette": 3}


def encoded(label: np.ndarray, depth: int, kind: str, filter_type: int) -> bytes:
    """A PNG of ids with `depth` bits per pixel, rows filtered with type 0 (none) or 1 (left neighbour)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    height, width = label.shape
    bits = np.unpackbits(label[..., None], axis=2)[..., 8 - depth :].reshape(height, -1)
    rows = np.packbits(bits, axis=1)
    if filter_type == 1:
        rows = np.concatenate([rows[:, :1], np.diff(rows, axis=1)], axis=1)  # modulo 256, as uint8 is
    data = b"".join(bytes([filter_type]) + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, COLOUR_TYPES[kind], 0, 0, 0)
    parts = [chunk(b"IHDR", header)]
    if kind == "palette":
        colours = np.random.default_rng(0).integers(0, 256, (1 << depth, 3)).astype(np.uint8)
        parts += [chunk(b"PLTE", colours.tobytes()), chunk(b"tRNS", bytes([0] * (1 << depth)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")])


@pytest.mark.parametrize("filter_type", [0, 1])
@pytest.mark.parametrize("kind", COLOUR_TYPES)
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_ids_are_the_stored_numbers(tmp_path, depth, kind, filter_type):
    label = (np.arange(35).reshape(5, 7) % min(1 << depth, 20)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(label, depth, kind, filter_type))
    assert np.array_equal(plain_ids(20).read(path), label)


def test_a_palette_png_of_an_annotation_tool(tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib: pip install bisenet-edge")
    label = of_values(0, 1, 2, 18, 255)
    image = pillow.fromarray(label, "P")
    image.putpalette(list(np.random.default_rng(1).integers(0, 256, 768)))
    image.save(tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED).ndim == 3  # OpenCV alone sees colours
    assert np.array_equal(plain_ids(19).read(tmp_path / "a.png"), label)


def test_a_palette_png_that_is_cut_off(tmp_path):
    data = encoded(of_values(0, 1), 8, "palette", 0)
    (tmp_path / "a.png").write_bytes(data[: len(data) - 30])
    assert fault_of(tmp_path / "a.png").fault is Fault.BROKEN_LABEL


def fault_of(path, classes=3):
    with pytest.raises(FileFaultError) as caught:
        plain_ids(classes).read(path)
    assert caught.value.path == path
    assert str(path) in caught.value.got
    return caught.value


@pytest.mark.parametrize(
    ("label", "fault", "fix"),
    [
        (np.full((4, 4, 3), (0, 0, 128), np.uint8), Fault.COLOURS, "export the labels as ids"),
        (np.full((4, 4, 4), (0, 0, 128, 255), np.uint8), Fault.COLOURS, "export the labels as ids"),
        (np.ones((4, 4, 3), np.uint8), Fault.COLOURS, "one of the channels"),
        (np.zeros((4, 4), np.uint16), Fault.DEEP_LABEL, "instance ids"),
        (of_values(1, 2, 3), Fault.OFF_BY_ONE, "subtract 1"),
        (of_values(0, 1, 3), Fault.OUT_OF_RANGE, "check that"),
        (of_values(1, 2, 3, 4), Fault.OUT_OF_RANGE, "check that"),
        (of_values(254), Fault.OUT_OF_RANGE, "check that"),
    ],
)
def test_a_near_miss_says_what_to_do(tmp_path, label, fault, fix):
    write(tmp_path / "a.png", label)
    error = fault_of(tmp_path / "a.png")
    assert error.fault is fault
    assert fix in error.fix


@pytest.mark.parametrize(("suffix", "name"), [(".jpg", "JPEG"), (".bmp", "BMP"), (".tif", "TIFF")])
@pytest.mark.parametrize("renamed", [False, True])
def test_a_label_that_is_no_png_whatever_its_name(tmp_path, suffix, name, renamed):
    path = tmp_path / f"a{suffix}"
    write(path, of_values(0, 1))
    path = path.rename(tmp_path / "a.png") if renamed else path
    error = fault_of(path)
    assert error.fault is Fault.JPEG_LABEL
    assert name in error.got


def test_a_label_that_is_gone(tmp_path):
    assert fault_of(tmp_path / "none.png").fault is Fault.BROKEN_LABEL


def test_ids_up_to_253(tmp_path):
    write(tmp_path / "a.png", of_values(0, 253, 255))
    assert plain_ids(254).read(tmp_path / "a.png").flat[:3].tolist() == [0, 253, 255]
