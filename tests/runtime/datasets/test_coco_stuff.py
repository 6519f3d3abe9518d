from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from dataset_trees import HW, coco_stuff, of_values
from matplotlib import colors

from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import COCO_STUFF
from bisenet_edge.runtime.datasets import open_dataset

UNLABELED = 91


def test_91_stuff_classes_and_unlabeled():
    assert len(COCO_STUFF) == 92
    assert COCO_STUFF.names[UNLABELED] == "unlabeled"
    stuff = COCO_STUFF.names[:UNLABELED]
    assert len(set(stuff)) == 91
    assert list(stuff) == sorted(stuff)  # as in labels.txt
    ids = {92: "banner", 106: "clouds", 124: "grass", 140: "pavement", 149: "road", 169: "tree", 182: "wood"}
    assert {i: stuff[i - 92] for i in ids} == ids


def test_the_colours_are_those_of_the_authors_rule():
    # getCMap of cocostuffhelper.py: "jet" over 91 classes, value times 0.7, permuted with seed 42.
    jet = mpl.colormaps["jet"].resampled(91)(np.arange(91))[:, None, :3]
    hsv = colors.rgb_to_hsv(jet)
    hsv[..., 2] *= 0.7
    rgb = colors.hsv_to_rgb(hsv)[np.random.RandomState(42).permutation(91), 0]
    expected = [tuple(colour) for colour in (rgb * 255).astype(int).tolist()]
    assert list(COCO_STUFF.palette) == [*expected, (0, 0, 0)]


def test_stuff_keeps_its_order_and_all_else_is_unlabeled(tmp_path):
    coco_stuff(tmp_path, of_values(0, 90, 91, 92, 180, 181, 255))
    dataset = open_dataset(f"coco-stuff:{tmp_path}", "train")
    assert dataset.labels is COCO_STUFF
    assert dataset.names() == ("000000000009", "000000000025")
    assert dataset[0].label.flat[:7].tolist() == [UNLABELED, UNLABELED, 0, 1, 89, 90, UNLABELED]
    assert dataset[0].image.shape == (*HW, 3)


def test_val_and_no_test(tmp_path):
    coco_stuff(tmp_path, of_values(91))
    assert open_dataset(f"coco-stuff:{tmp_path}", "val").names() == ("000000000139",)
    with pytest.raises(DatasetError, match="publishes no labels of its test split"):
        open_dataset(f"coco-stuff:{tmp_path}", "test")


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images", "annotations"), (".", "annotations"), (".", "stuffthingmaps"), ("images", "stuffthingmaps")],
)
def test_where_people_unpack_it(tmp_path, images, labels):
    coco_stuff(tmp_path / "whole", of_values(91, 181))
    root = tmp_path / "set"
    for kind, folder in (("images", images), ("annotations", labels)):
        for split in ("train2017", "val2017"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "whole" / kind / split).rename(root / folder / split)
    assert open_dataset(f"coco-stuff:{root}", "train")[1].label.flat[:2].tolist() == [0, 90]


@pytest.mark.parametrize("missing", ["images", "annotations"])
def test_half_a_download(tmp_path, missing):
    coco_stuff(tmp_path / "set", of_values(91))
    (tmp_path / "set" / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="no COCO-Stuff 'train' split") as caught:
        open_dataset(f"coco-stuff:{tmp_path / 'set'}", "train")
    assert missing in caught.value.fix


def test_the_numbers_of_the_stuff_challenge_are_refused(tmp_path):
    coco_stuff(tmp_path, of_values(92, 183, 0))
    with pytest.raises(DatasetError, match="values outside the classes") as caught:
        open_dataset(f"coco-stuff:{tmp_path}", "train")[0]
    assert "value 183" in caught.value.got
    assert "stuffthingmaps_trainval2017.zip" in caught.value.fix
