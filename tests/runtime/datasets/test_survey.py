from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_trees import HW, camvid_originals, cityscapes, coco_stuff, folder, noise, of_values, write

from bisenet_edge.errors import DatasetError, UsageError
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.datasets.faults import Fault, FileFaultError
from bisenet_edge.runtime.datasets.survey import survey

# CamVid in the form of the SegNet tutorial at 480x360: pixels per class, then void, train and val.
CAMVID_PIXELS = {
    "train": [10682767, 14750079, 623349, 20076880, 2845085, 6166762, 743859, 714595, 3719877, 405385, 184967,
              2503995],
    "val": [1601620, 4531180, 98499, 5053176, 1521751, 2851125, 155724, 537197, 304716, 113531, 387010,
            297271],
}  # fmt: skip


def test_a_good_data_set(tmp_path):
    folder(tmp_path)
    told = []
    result = survey(f"folder:{tmp_path}", progress=lambda *step: told.append(step))
    assert not result.problems
    assert not result.notes
    assert told[-1] == ("checking val", 2, 2)
    train, val = result.splits
    assert (train.pictures, train.labels, train.read, val.pictures) == (3, 3, 3, 2)
    assert train.sizes == {"12x8": 3}
    # of_values(0, 1, 2, 255): all but three pixels are class 0.
    assert train.pixels[:3].tolist() == [3 * 93, 3, 3]
    assert train.pixels[255] == 3
    assert train.shown[:3].tolist() == [3, 3, 3]
    assert train.void_share == pytest.approx(1 / 96)
    assert train.class_share(1) == pytest.approx(1 / 95)
    assert result.pictures_per_s > 0


def train_label(root: Path, stem: str = "b") -> Path:
    return root / "train" / "labels" / f"{stem}.png"


def train_image(root: Path, stem: str = "b") -> Path:
    return root / "train" / "images" / f"{stem}.png"


def relabel(label: np.ndarray):
    def plant(root: Path) -> Path:
        write(train_label(root), label)
        return train_label(root)

    return plant


def remove_label(root: Path) -> Path:
    train_label(root).unlink()
    return train_image(root)


def remove_picture(root: Path) -> Path:
    train_image(root).unlink()
    return train_label(root)


def second_picture(root: Path) -> Path:
    write(train_image(root).with_suffix(".bmp"), noise(5))
    return train_image(root)


def garbage(path_of):
    def plant(root: Path) -> Path:
        path_of(root).write_bytes(b"no picture")
        return path_of(root)

    return plant


def cut_off(missing_bytes: int):
    def plant(root: Path) -> Path:
        path = train_image(root).with_suffix(".jpg")
        write(path, noise(0))
        train_image(root).unlink()
        path.write_bytes(path.read_bytes()[:-missing_bytes])
        return path

    return plant


def jpeg_label(root: Path) -> Path:
    path = train_label(root).with_suffix(".jpg")
    write(path, of_values(0, 1))
    train_label(root).unlink()
    return path


def leak(root: Path) -> Path:
    path = root / "val" / "images" / "d.png"
    path.unlink()
    write(path.with_suffix(".bmp"), cv2.imread(str(train_image(root))))  # other bytes, the same pixels
    return path.with_suffix(".bmp")


FAULTS = [
    (Fault.NO_LABEL, remove_label),
    (Fault.NO_PICTURE, remove_picture),
    (Fault.SAME_NAME, second_picture),
    (Fault.BROKEN_PICTURE, garbage(train_image)),
    (Fault.BROKEN_PICTURE, cut_off(60)),
    (Fault.BROKEN_PICTURE, cut_off(2)),  # the end marker alone: OpenCV 4 decodes it
    (Fault.BROKEN_LABEL, garbage(train_label)),
    (Fault.JPEG_LABEL, jpeg_label),
    (Fault.COLOURS, relabel(noise(0))),
    (Fault.DEEP_LABEL, relabel(np.zeros(HW, np.uint16))),
    (Fault.OFF_BY_ONE, relabel(of_values(1, 2, 3))),
    (Fault.OUT_OF_RANGE, relabel(of_values(0, 7))),
    (Fault.OTHER_SIZE, relabel(np.zeros((HW[1], HW[0]), np.uint8))),
    (Fault.ALL_VOID, relabel(of_values(255))),
    (Fault.LEAK, leak),
]
NOT_TOLD_IN_TRAINING = {Fault.NO_PICTURE, Fault.ALL_VOID, Fault.LEAK}


@pytest.mark.parametrize(("fault", "plant"), FAULTS, ids=lambda value: getattr(value, "name", ""))
def test_a_planted_fault_is_found_with_its_file(tmp_path, fault, plant):
    file = plant(folder(tmp_path))
    result = survey(f"folder:{tmp_path}")
    (problem,) = result.problems
    assert (problem.fault, problem.count, problem.file) == (fault, 1, str(file))
    assert problem.first.fix
    # The others were counted all the same.
    lost = fault not in (Fault.ALL_VOID, Fault.LEAK, Fault.SAME_NAME)
    assert sum(split.read for split in result.splits) == (4 if lost else 5)


@pytest.mark.parametrize(
    ("fault", "plant"),
    [case for case in FAULTS if case[0] not in NOT_TOLD_IN_TRAINING],
    ids=lambda value: getattr(value, "name", ""),
)
def test_training_meets_the_same_error(tmp_path, fault, plant):
    plant(folder(tmp_path))
    (problem,) = survey(f"folder:{tmp_path}").problems
    with pytest.raises(FileFaultError) as caught:
        list(open_dataset(f"folder:{tmp_path}", "train"))
    assert str(caught.value) == str(problem.first)


def test_all_faults_at_once_are_told_with_how_many(tmp_path):
    folder(tmp_path)
    for stem in "bc":
        train_label(tmp_path, stem).unlink()
    write(train_label(tmp_path, "a"), of_values(1, 2, 3))
    (tmp_path / "val" / "images" / "d.png").write_bytes(b"no picture")
    (tmp_path / "val" / "labels" / "d.png").write_bytes(b"no label")
    counts = {p.fault: p.count for p in survey(f"folder:{tmp_path}").problems}
    assert counts == {
        Fault.NO_LABEL: 2,
        Fault.OFF_BY_ONE: 1,
        Fault.BROKEN_PICTURE: 1,
        Fault.BROKEN_LABEL: 1,
    }


def test_a_folder_that_is_split_here_tells_a_fault_once(tmp_path):
    for name in ("images", "labels"):
        for index in range(10):
            picture = noise(index) if name == "images" else of_values(0, 1, 2)
            write(tmp_path / name / f"{index}.png", picture)
    (tmp_path / "labels.toml").write_text((folder(tmp_path / "other") / "labels.toml").read_text())
    shutil.rmtree(tmp_path / "other")
    (tmp_path / "labels" / "4.png").unlink()  # of val: every fifth
    write(tmp_path / "labels" / "z.png", of_values(0))
    result = survey(f"folder:{tmp_path}")
    assert {p.fault: p.count for p in result.problems} == {Fault.NO_LABEL: 1, Fault.NO_PICTURE: 1}
    assert [(s.pictures, s.labels, s.read) for s in result.splits] == [(8, 9, 8), (2, 1, 1)]


def test_classes_that_never_occur_are_noted(tmp_path):
    folder(tmp_path)
    for stem in "abc":
        write(train_label(tmp_path, stem), of_values(0, 1))
    result = survey(f"folder:{tmp_path}")
    assert not result.problems
    assert result.notes == ["classes that never occur in train: door (no network can learn them)"]
    assert result.splits[0].never() == ("door",)


def test_ids_from_1_that_never_reach_the_last_class_are_suspected(tmp_path):
    folder(tmp_path)
    for split, stems in {"train": "abc", "val": "de"}.items():
        for stem in stems:
            write(tmp_path / split / "labels" / f"{stem}.png", of_values(1, 2))
    notes = survey(f"folder:{tmp_path}").notes
    assert any("do the ids of the label files start at 1?" in note for note in notes)


def test_pictures_twice_in_one_split_are_noted(tmp_path):
    folder(tmp_path)
    shutil.copy(train_image(tmp_path, "a"), train_image(tmp_path, "c"))
    result = survey(f"folder:{tmp_path}")
    assert not result.problems
    assert result.notes == ["1 pictures of train have the pixels of another one of it"]


def test_a_split_that_is_missing_is_a_problem_and_the_other_is_read(tmp_path):
    folder(tmp_path)
    shutil.rmtree(tmp_path / "val")
    result = survey(f"folder:{tmp_path}")
    (problem,) = result.problems
    assert problem.fault is Fault.NO_SPLIT
    assert "val" in problem.first.got
    assert [split.read for split in result.splits] == [3]


def test_no_split_at_all_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="no CamVid 'train' split"):
        survey(f"camvid:{tmp_path}")
    with pytest.raises(UsageError):
        survey("camvd:x")


def test_each_published_data_set(tmp_path):
    cityscapes(tmp_path / "cityscapes")
    coco_stuff(tmp_path / "coco-stuff", of_values(91, 5, 255))
    black = np.zeros((*HW, 3), np.uint8)
    black[0] = 128  # sky
    camvid_originals(tmp_path / "camvid", black, ("0001TP_006690", "0016E5_07959", "Seq05VD_f05100", "mine"))
    expected = {
        "cityscapes": ["train", "val"],
        "coco-stuff": ["train", "val"],
        "camvid": ["train", "val", "test"],
    }
    for scheme, splits in expected.items():
        result = survey(f"{scheme}:{tmp_path / scheme}")
        assert not result.problems
        assert [split.split for split in result.splits] == splits
        assert any("as published" in note for note in result.notes)  # a download that is not complete
        assert any("belong to no split, the first is mine.png" in n for n in result.notes) == (
            scheme == "camvid"
        )
    assert result.splits[0].pixels[[0, 255]].tolist() == [12, 84]


def test_drawn_streets(tmp_path):
    result = survey("synthetic:?count=2&size=64x48")
    assert not result.problems
    assert [split.read for split in result.splits] == [2, 2]


def test_json_of_a_faulty_data_set(tmp_path):
    remove_label(folder(tmp_path))
    told = json.loads(json.dumps(survey(f"folder:{tmp_path}").to_json(), allow_nan=False))
    assert told["passed"] is False
    assert told["problems"][0]["kind"] == "no_label"
    assert told["problems"][0]["file"] == str(train_image(tmp_path))
    assert told["splits"][0]["classes"][1]["pictures"] == 2
    assert told["splits"][0]["sizes"] == {"12x8": 2}


@pytest.mark.camvid
def test_the_real_camvid_has_no_problems():
    root = os.environ.get("BISENET_EDGE_CAMVID")
    if not root:
        pytest.skip("set BISENET_EDGE_CAMVID to the CamVid folder to run this")
    result = survey(f"camvid:{Path(root)}", ("train", "val"))
    assert not result.problems
    assert not result.notes
    for split in result.splits:
        assert [*split.pixels[:11].tolist(), int(split.pixels[255])] == CAMVID_PIXELS[split.split]
        assert split.sizes == {"480x360": split.pictures}
