from __future__ import annotations

import numpy as np
import pytest
from dataset_trees import cityscapes, of_values

from bisenet_edge.errors import DatasetError, UsageError
from bisenet_edge.labels import CITYSCAPES
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.datasets.cityscapes import id_mapping

# id: (name, train id, colour), cityscapesscripts/helpers/labels.py.
OFFICIAL = {
    0: ("unlabeled", 255, (0, 0, 0)), 1: ("ego vehicle", 255, (0, 0, 0)),
    2: ("rectification border", 255, (0, 0, 0)), 3: ("out of roi", 255, (0, 0, 0)),
    4: ("static", 255, (0, 0, 0)), 5: ("dynamic", 255, (111, 74, 0)), 6: ("ground", 255, (81, 0, 81)),
    7: ("road", 0, (128, 64, 128)), 8: ("sidewalk", 1, (244, 35, 232)), 9: ("parking", 255, (250, 170, 160)),
    10: ("rail track", 255, (230, 150, 140)), 11: ("building", 2, (70, 70, 70)),
    12: ("wall", 3, (102, 102, 156)), 13: ("fence", 4, (190, 153, 153)),
    14: ("guard rail", 255, (180, 165, 180)), 15: ("bridge", 255, (150, 100, 100)),
    16: ("tunnel", 255, (150, 120, 90)), 17: ("pole", 5, (153, 153, 153)),
    18: ("polegroup", 255, (153, 153, 153)), 19: ("traffic light", 6, (250, 170, 30)),
    20: ("traffic sign", 7, (220, 220, 0)), 21: ("vegetation", 8, (107, 142, 35)),
    22: ("terrain", 9, (152, 251, 152)), 23: ("sky", 10, (70, 130, 180)), 24: ("person", 11, (220, 20, 60)),
    25: ("rider", 12, (255, 0, 0)), 26: ("car", 13, (0, 0, 142)), 27: ("truck", 14, (0, 0, 70)),
    28: ("bus", 15, (0, 60, 100)), 29: ("caravan", 255, (0, 0, 90)), 30: ("trailer", 255, (0, 0, 110)),
    31: ("train", 16, (0, 80, 100)), 32: ("motorcycle", 17, (0, 0, 230)), 33: ("bicycle", 18, (119, 11, 32)),
}  # fmt: skip


def test_names_colours_and_mapping_are_the_published_ones():
    assert id_mapping() == {i: train_id for i, (_, train_id, _) in OFFICIAL.items()}
    trained = sorted(
        (train_id, name, colour) for name, train_id, colour in OFFICIAL.values() if train_id < 255
    )
    assert CITYSCAPES.names == tuple(name for _, name, _ in trained)
    assert CITYSCAPES.palette == tuple(colour for _, _, colour in trained)


def test_every_label_id_becomes_its_train_id(tmp_path):
    cityscapes(tmp_path, of_values(*range(34)))
    dataset = open_dataset(f"cityscapes:{tmp_path}", "train")
    assert dataset.labels is CITYSCAPES
    assert dataset[0].label.flat[:34].tolist() == [OFFICIAL[i][1] for i in range(34)]


def test_pictures_of_all_cities_by_name(tmp_path):
    cityscapes(tmp_path)
    train, val = (open_dataset(f"cityscapes:{tmp_path}", split) for split in ("train", "val"))
    assert train.names() == ("aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313")
    assert val.names() == ("frankfurt_000000_000294",)
    assert val[0].name == "frankfurt_000000_000294"


def test_label_ids_win_over_train_ids_unless_asked_for(tmp_path):
    cityscapes(tmp_path, of_values(7, 8))
    cityscapes(tmp_path, of_values(3, 4, 255), "labelTrainIds")
    plain = open_dataset(f"cityscapes:{tmp_path}", "train")
    chosen = open_dataset(f"cityscapes:{tmp_path}?labels=trainids", "train")
    assert plain[0].label.flat[:2].tolist() == [0, 1]
    assert "labelIds" in plain.code.told
    assert chosen[0].label.flat[:3].tolist() == [3, 4, 255]
    assert "labelTrainIds" in chosen.code.told


def test_train_ids_are_taken_where_there_is_nothing_else(tmp_path):
    cityscapes(tmp_path, of_values(18, 255), "labelTrainIds")
    dataset = open_dataset(f"cityscapes:{tmp_path}", "val")
    assert dataset[0].label.flat[:2].tolist() == [18, 255]
    assert "labelTrainIds" in dataset.code.told


@pytest.mark.parametrize(
    ("form", "value", "option"), [("labelIds", 255, "trainids"), ("labelTrainIds", 33, "ids")]
)
def test_one_form_under_the_others_name(tmp_path, form, value, option):
    cityscapes(tmp_path, of_values(7, value), form)
    with pytest.raises(DatasetError, match="values outside the classes") as caught:
        open_dataset(f"cityscapes:{tmp_path}", "train")[0]
    assert f"value {value}" in caught.value.got
    assert f"?labels={option}" in caught.value.fix


def test_the_test_split_has_no_labels(tmp_path):
    cityscapes(tmp_path)
    with pytest.raises(DatasetError, match="publishes no labels of its test split") as caught:
        open_dataset(f"cityscapes:{tmp_path}", "test")
    assert "--split val" in caught.value.fix


def test_a_picture_of_a_city_without_its_label(tmp_path):
    cityscapes(tmp_path)
    label = tmp_path / "gtFine/train/bochum/bochum_000000_000313_gtFine_labelIds.png"
    label.unlink()
    with pytest.raises(DatasetError, match="1 of 3 pictures have no label") as caught:
        open_dataset(f"cityscapes:{tmp_path}", "train")
    assert str(label) in caught.value.expected


@pytest.mark.parametrize("missing", ["leftImg8bit", "gtFine"])
def test_half_a_download(tmp_path, missing):
    cityscapes(tmp_path / "here")
    (tmp_path / "here" / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="no Cityscapes 'train' split") as caught:
        open_dataset(f"cityscapes:{tmp_path / 'here'}", "train")
    assert f"{missing}_trainvaltest.zip" in caught.value.fix


def test_an_unknown_option(tmp_path):
    cityscapes(tmp_path)
    with pytest.raises(UsageError, match="labels") as caught:
        open_dataset(f"cityscapes:{tmp_path}?labels=trainid", "train")
    assert caught.value.fix == "did you mean 'trainids'?"
    with pytest.raises(UsageError) as caught:
        open_dataset(f"cityscapes:{tmp_path}?label=ids", "train")
    assert caught.value.fix == "did you mean 'labels'?"


def test_what_has_no_class_is_ignored_not_class_0(tmp_path):
    cityscapes(tmp_path, np.zeros((8, 12), np.uint8))
    assert set(np.unique(open_dataset(f"cityscapes:{tmp_path}", "train").label(0))) == {255}
