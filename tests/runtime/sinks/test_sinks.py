"""Sinks: files that are whole, or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import cv2
import numpy as np
import pytest
from pictures import CAR, HW, ROAD, frame, read_video, road_and_car, sink_at

from bisenet_edge.errors import SinkError, UsageError
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.overlay import Overlay, draw
from bisenet_edge.runtime.sinks import VideoSink, open_sink


def middle_colours(image: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Mean colours left and right in the middle rows, away from legend and caption."""
    height, width = image.shape[:2]
    rows = image[height * 2 // 5 : height * 3 // 5]
    return rows[:, 10 : width // 2 - 10].mean((0, 1)), rows[:, width // 2 + 10 : -10].mean((0, 1))


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_overlay_video_is_playable_and_shows_the_classes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    with sink_at(path) as sink:
        for index in range(12):
            sink.write(frame(index), road_and_car())
            assert not path.exists()
    images = read_video(path)
    assert len(images) == 12
    assert images[0].shape == (*HW, 3)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(25, rel=0.01)
    table = CAMVID.bgr_table()
    for side, train_id in zip(middle_colours(images[5]), (ROAD, CAR)):
        np.testing.assert_allclose(side, (100 + table[train_id].astype(float)) / 2, atol=12)
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_frames_of_another_size_and_odd_sizes(tmp_path: Path) -> None:
    with sink_at(tmp_path / "a.mp4", fps=float("nan")) as sink:
        for index, hw in enumerate([(121, 161), (240, 320), (200, 100), (121, 161)]):
            sink.write(frame(index, hw), road_and_car(hw))
    images = read_video(tmp_path / "a.mp4")
    assert len(images) == 4
    assert {i.shape for i in images} == {(120, 160, 3)}  # the codec takes even sides only
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS) == 30


@pytest.mark.parametrize("name", ["a.mp4", "masks/"])
def test_an_aborted_sink_leaves_nothing_and_keeps_what_was_there(tmp_path: Path, name: str) -> None:
    def write(index: int) -> None:
        with sink_at(f"{tmp_path}/{name}") as sink:
            sink.write(frame(index), road_and_car())

    write(0)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ZeroDivisionError), sink_at(f"{tmp_path}/{name}") as sink:
        sink.write(frame(7), road_and_car())
        sink.write(frame(8), road_and_car())
        raise ZeroDivisionError
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert len(before) == 1


@pytest.mark.parametrize("name", ["a.mp4", "masks"])
def test_nothing_appears_without_frames(tmp_path: Path, name: str) -> None:
    sink_at(tmp_path / name).close()
    assert list(tmp_path.iterdir()) == []


def test_masks_read_back_identical(tmp_path: Path) -> None:
    masks = {i: np.random.default_rng(i).integers(0, 11, HW, dtype=np.uint8) for i in (0, 2, 1000000)}
    with sink_at(tmp_path / "masks") as sink:
        for index, mask in masks.items():
            wide = np.zeros((200, 300), np.uint8)  # what a sink is given may be a view
            wide[: HW[0], : HW[1]] = mask
            sink.write(frame(index), wide[: HW[0], : HW[1]])
    names = sorted(p.name for p in (tmp_path / "masks").iterdir())
    assert names == ["000000.png", "000002.png", "1000000.png"]
    for index, mask in masks.items():
        read = cv2.imread(str(tmp_path / "masks" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, mask)


def test_masks_of_an_earlier_run_are_replaced_and_foreign_files_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    for indices in ((0, 1, 2), (5,)):
        with sink_at(f"{folder}/") as sink:
            for index in indices:
                sink.write(frame(index), road_and_car())
    assert [p.name for p in folder.iterdir()] == ["000005.png"]
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(SinkError, match=r"thesis\.txt"):
        sink_at(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in (".", "./", ""):
        with pytest.raises(SinkError, match="current folder"):
            sink_at(uri)


@pytest.mark.parametrize("name", ["file/a.mp4", "file/masks/", "file/"])
def test_an_unwritable_place_is_found_before_the_first_frame(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    with pytest.raises(SinkError):
        sink_at(f"{tmp_path}/{name}")
    assert (tmp_path / "file").read_text() == "a file, not a folder"


def test_a_video_that_the_disk_cut_short_is_not_passed_on(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.avi"), CAMVID, 25)
    assert isinstance(sink, VideoSink)
    sink.write(frame(0), road_and_car())
    sink._encoded += 9  # as if OpenCV had lost nine frames, of which it says nothing
    with pytest.raises(SinkError, match="1 of 10 frames"):
        sink.close()
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def test_null_takes_everything(tmp_path: Path) -> None:
    with sink_at("null://") as sink:
        sink.write(frame(0), road_and_car())
    sink.close()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("nul://", "did you mean 'null'"),
        ("out.mp5", r"did you mean '\.mp4'"),
    ],
)
def test_uris_that_are_not_understood(uri: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        sink_at(uri)


def test_overlay_blends_in_place_and_draws_a_legend_of_what_is_there() -> None:
    image = np.full((240, 320, 3), 100, np.uint8)
    mask = np.full((240, 320), ROAD, np.uint8)
    plain = draw(image, mask, CAMVID)
    assert (image == 100).all()
    road = (100 + CAMVID.bgr_table()[ROAD].astype(int)) / 2
    np.testing.assert_allclose(plain[20:200].reshape(-1, 3), np.tile(road, (180 * 320, 1)), atol=1)

    mask[0, 0] = CAR  # one pixel is no class worth a legend
    np.testing.assert_array_equal(draw(image, mask, CAMVID)[200:], plain[200:])
    mask[:120] = CAR
    both = draw(image, mask, CAMVID)
    assert not np.array_equal(both[200:], plain[200:])

    overlay = Overlay(CAMVID)
    np.testing.assert_array_equal(overlay.draw(image, np.full_like(mask, ROAD)), plain)
    out = np.empty_like(image)
    assert overlay.draw(image, mask, out) is out
    np.testing.assert_array_equal(out, both)
    captioned = overlay.draw(image, mask, caption="frame 3")
    assert not np.array_equal(captioned[:20], both[:20])
    np.testing.assert_array_equal(captioned[40:], both[40:])


@pytest.mark.parametrize("hw", [(32, 32), (33, 500), (500, 33)])
def test_overlay_of_a_tiny_picture_cuts_its_legend_off(hw: Tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 11, hw, dtype=np.uint8)
    drawn = Overlay(CAMVID).draw(np.zeros((*hw, 3), np.uint8), mask, caption="frame 1000000")
    assert drawn.shape == (*hw, 3)
