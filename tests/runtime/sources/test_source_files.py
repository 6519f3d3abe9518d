"""Files, pictures and synthetic streets: what they read, and what they refuse."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from bisenet_edge.errors import SourceError, UsageError
from bisenet_edge.runtime.sources import Source, ends_early, open_source

HW = (96, 128)
FRAMES = 40


def picture(index: int) -> np.ndarray:
    """Noise above, so that every frame takes up room in the file; below it its number, in bars."""
    image = np.zeros((*HW, 3), np.uint8)
    image[:32] = np.random.default_rng(index).integers(0, 255, (32, HW[1], 3))
    for bit in range(8):
        image[32:, bit * 16 : bit * 16 + 16] = 255 * (index >> bit & 1)
    return image


def number(image: np.ndarray) -> int:
    return sum(int(image[64:, bit * 16 + 4 : bit * 16 + 12].mean() > 128) << bit for bit in range(8))


def write_clip(path: Path, codec: str, frames: int = FRAMES) -> bytes:
    writer = cv2.VideoWriter(str(path), int.from_bytes(codec.encode(), "little"), 25, HW[::-1])
    assert writer.isOpened()
    for index in range(frames):
        writer.write(picture(index))
    writer.release()
    return path.read_bytes()


def moov_first(data: bytes) -> bytes:
    """Move an MP4's index before its pictures, as files made for the web have it."""
    boxes = {}
    at = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        boxes[kind] = data[at : at + size]
        at += size
    moov = bytearray(boxes[b"moov"])
    table = moov.index(b"stco")
    (entries,) = struct.unpack(">I", moov[table + 8 : table + 12])
    for i in range(entries):
        place = table + 12 + 4 * i
        (offset,) = struct.unpack(">I", moov[place : place + 4])
        moov[place : place + 4] = struct.pack(">I", offset + len(moov))
    middle = [box for kind, box in boxes.items() if kind not in (b"ftyp", b"moov", b"mdat")]
    return b"".join([boxes[b"ftyp"], bytes(moov), *middle, boxes[b"mdat"]])


def numbers_until_error(source: Source) -> tuple[list[int], SourceError]:
    numbers = []
    with pytest.raises(SourceError) as caught:
        while True:
            frame = source.read()
            assert frame is not None, f"ended silently after {len(numbers)} frames"
            numbers.append(number(frame.image))
    return numbers, caught.value


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mp4v"), ("a.mov", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v"), ("a.webm", "VP80")],
)
def test_a_whole_video_is_read_in_order(tmp_path: Path, name: str, codec: str) -> None:
    write_clip(tmp_path / name, codec)
    with open_source(str(tmp_path / name)) as source:
        assert (source.count, source.fps, source.size_hw, source.live) == (FRAMES, 25, HW, False)
        frames = list(iter(source.read, None))
        assert source.read() is None
    assert [f.index for f in frames] == list(range(FRAMES))
    assert [number(f.image) for f in frames] == list(range(FRAMES))
    times = [f.captured_ns for f in frames]
    assert times == sorted(times)


def test_a_video_decodes_into_the_buffer_that_it_is_given(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", "mp4v")
    with open_source(str(tmp_path / "a.mp4")) as source:
        first = source.read()
        kept = source.read()
        again = source.read(first.image)
    assert again.image is first.image
    assert (number(kept.image), number(again.image)) == (1, 2)


def test_a_web_mp4_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "web.mp4"
    path.write_bytes(moov_first(write_clip(path, "mp4v")))
    with open_source(str(path)) as source:
        assert [number(f.image) for f in iter(source.read, None)] == list(range(FRAMES))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v"), ("a.webm", "VP80")]
)
def test_a_truncated_video_does_not_end_silently(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    data = write_clip(path, codec)
    if path.suffix == ".mp4":
        data = moov_first(data)
    path.write_bytes(data[: len(data) * 6 // 10])
    with open_source(str(path)) as source:
        numbers, error = numbers_until_error(source)
    assert 10 < len(numbers) < 30
    # The last frame may be cut in its middle; all before it are good.
    assert numbers[:-1] == list(range(len(numbers) - 1))
    assert f"ends early: frame {len(numbers)} of {FRAMES}" in str(error)
    assert str(path) in str(error)


def test_an_mp4_without_its_index_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    data = write_clip(path, "mp4v")
    path.write_bytes(data[: len(data) * 9 // 10])
    with pytest.raises(SourceError, match="cannot be opened"):
        open_source(str(path))


def test_a_video_without_one_good_frame_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "head.mkv"
    data = write_clip(path, "mp4v")
    path.write_bytes(data[: data.index(bytes.fromhex("1f43b675")) + 40])  # into the first cluster
    with open_source(str(path)) as source:
        numbers, error = numbers_until_error(source)
    assert numbers == []
    assert "frame 0 of" in str(error)


@pytest.mark.parametrize(
    ("decoded", "last_s", "count", "early"),
    [
        (100, 3.3, 100, False),
        (98, 3.23, 100, False),  # within two frames
        (97, 3.2, 100, True),
        (9900, 329.97, 10000, False),  # within 1 %
        (9899, 329.9, 10000, True),
        (50, 9.99, 300, False),  # varying frame rate: few frames, but they reach the end
        (50, 1.67, None, False),  # nothing promised
    ],
)
def test_tolerance_of_a_video_that_ends_early(
    decoded: int, last_s: float, count: int | None, early: bool
) -> None:
    assert ends_early(decoded, last_s, count, 30.0) is early


def test_a_folder_of_pictures_of_several_sizes(tmp_path: Path) -> None:
    sizes = [(48, 64), (60, 40), (33, 35)]
    for name, hw in zip(("b.png", "a.bmp", "c.JPG"), sizes):
        cv2.imwrite(str(tmp_path / name), np.full((*hw, 3), hw[0], np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_source(str(tmp_path)) as source:
        assert source.count == 3
        assert np.isnan(source.fps)
        assert source.size_hw == (60, 40)
        shapes = [f.image.shape[:2] for f in iter(source.read, None)]
    assert shapes == [(60, 40), (48, 64), (33, 35)]


def test_one_picture(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(7))
    with open_source(str(tmp_path / "a.png")) as source:
        frame = source.read()
        assert source.read() is None
    np.testing.assert_array_equal(frame.image, picture(7))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_cut_or_foreign_picture_is_named(tmp_path: Path, suffix: str) -> None:
    whole = cv2.imencode(suffix, picture(3))[1].tobytes()
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    bad = tmp_path / f"b{suffix}"
    for data in (whole[: len(whole) // 2], b"not a picture", b""):
        bad.write_bytes(data)
        with open_source(str(tmp_path)) as source:
            assert source.read() is not None
            with pytest.raises(SourceError, match=r"cannot be decoded") as caught:
                source.read()
        assert str(bad) in str(caught.value)


def test_a_jpeg_with_a_thumbnail_and_bytes_after_its_end_is_whole(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", picture(3))[1].tobytes()
    small = cv2.imencode(".jpg", picture(3)[:16, :16])[1].tobytes()
    exif = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:2] + exif + whole[2:] + b"maker's notes")
    with open_source(str(path)) as source:
        assert source.size_hw == HW
    path.write_bytes((whole[:2] + exif + whole[2:])[:-400])
    with pytest.raises(SourceError, match="cannot be decoded"):
        open_source(str(path))


def test_synthetic_frames_are_the_same_for_the_same_uri() -> None:
    def read(uri: str) -> list[np.ndarray]:
        with open_source(uri) as source:
            assert (source.count, source.fps, source.size_hw) == (3, 10, (96, 160))
            return [f.image for f in iter(source.read, None)]

    first = read("synthetic://?seed=3&size=160x96&fps=10&seconds=0.3")
    again = read("synthetic:?seed=3&size=160x96&fps=10&seconds=0.3")
    other = read("synthetic://?seed=4&size=160x96&fps=10&seconds=0.3")
    np.testing.assert_array_equal(first, again)
    assert [i.shape for i in first] == [(96, 160, 3)] * 3
    assert not np.array_equal(first[0], first[2]), "nothing moves"
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("synthetik://", "did you mean 'synthetic'"),
        ("rstp://host/stream", "did you mean 'rtsp'"),
        ("synthetic://?sed=1", "did you mean 'seed'"),
        ("synthetic://?fps=0", "a number above 0"),
        ("synthetic://?seconds=nan", "a number above 0"),
        ("synthetic://?seed=-1", "a whole number"),
        ("synthetic://?size=0x0", "image size out of range"),
    ],
)
def test_uris_that_are_not_understood(uri: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("?", r"\?")):
        open_source(uri)


def test_files_that_are_not_sources(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source(str(tmp_path / "missing.mp4"))
    with pytest.raises(SourceError, match="no pictures"):
        open_source(str(tmp_path))
    (tmp_path / "clip.mp5").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"did you mean '\.mp4'"):
        open_source(str(tmp_path / "clip.mp5"))
    (tmp_path / "text.mp4").write_text("this is no video")
    with pytest.raises(SourceError, match="cannot be opened"):
        open_source(str(tmp_path / "text.mp4"))
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        open_source("/dev/null")


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SourceError, match="Permission denied"):
        open_source(str(tmp_path))


def test_a_file_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "take:2.png"), picture(1))
    monkeypatch.chdir(tmp_path)
    with open_source("take:2.png") as source:
        assert source.count == 1
