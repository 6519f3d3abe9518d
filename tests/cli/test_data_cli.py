from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

TOML = 'name = "mine"\n' + "".join(
    f'[[class]]\nname = "{name}"\ncolor = [0, 0, {i}]\n' for i, name in enumerate(("floor", "wall"))
)


@pytest.fixture
def mine(workplace):
    """Your own data under ./mine, two pictures in train and one in val."""
    root = workplace / "mine"
    for seed, place in enumerate(("train/a", "train/b", "val/c")):
        split, stem = place.split("/")
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(seed).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        label = np.zeros((48, 64), np.uint8)
        label[:, :16] = 1
        cv2.imwrite(str(root / split / "images" / f"{stem}.png"), image)
        cv2.imwrite(str(root / split / "labels" / f"{stem}.png"), label)
    (root / "labels.toml").write_text(TOML)
    return root


def test_a_good_data_set_leads_to_training(mine, bisenet_edge):
    code, out, err = bisenet_edge("data", "check", "folder:mine")
    assert code == 0
    assert err == ""
    assert "folder:mine: 2 classes of 'mine'" in out
    assert "label files: ids 0..1, 255 = void" in out
    assert "train: 2 pictures, 2 labels, 64x48 (2), void 0.00%" in out
    wall = next(line for line in out.splitlines() if line.startswith("wall")).split()
    assert wall == ["wall", "25.00", "2", "25.00", "1"]
    assert "per second" in out
    assert "no problems" in out
    assert out.rstrip().endswith("next: bisenet-edge train --model bisenet-xception39 --data folder:mine")


def test_problems_are_counted_and_the_first_is_told_with_what_to_do(mine, bisenet_edge):
    cv2.imwrite("mine/train/labels/a.png", np.full((48, 64), 9, np.uint8))
    cv2.imwrite("mine/train/labels/b.png", np.full((48, 64), 9, np.uint8))
    (mine / "val" / "labels" / "c.png").unlink()
    code, out, _ = bisenet_edge("data", "check", "folder:mine")
    assert code == 1
    assert "3 files with a problem" in out
    assert "2  label with a value of no class; the first: mine/train/labels/a.png" in out
    assert "1  picture without a label; the first: mine/val/images/c.png" in out
    assert "the first problem: a label image has values outside the classes" in out
    assert "expected: 0..1, or 255 for void" in out
    assert "bisenet-edge data check folder:mine" in out.splitlines()[-1]


def test_one_split_as_json(mine, bisenet_edge):
    (mine / "val" / "labels" / "c.png").unlink()
    code, out, _ = bisenet_edge("data", "check", "folder:mine", "--split", "train", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["passed"] is True
    assert [split["split"] for split in told["splits"]] == ["train"]
    assert told["splits"][0]["classes"][1] == {"name": "wall", "pixels": 1536, "share": 0.25, "pictures": 2}


def test_json_of_a_problem_is_json_still(mine, bisenet_edge):
    (mine / "val" / "labels" / "c.png").unlink()
    code, out, _ = bisenet_edge("data", "check", "folder:mine", "--json")
    assert code == 1
    assert json.loads(out)["problems"][0]["kind"] == "no_label"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("cityscape:mine",), 2, "did you mean 'cityscapes'?"),
        (("coco:mine",), 2, "did you mean 'coco-stuff'?"),
        (("folder:mine", "--split", "vall"), 2, "did you mean 'val'?"),
        (("mine",), 2, "folder:mine"),
        (("folder:mine?size=3",), 2, "'folder:' takes no options"),
        (("cityscapes:",), 2, "has no path"),
        (("cityscapes:mine",), 1, "unpack leftImg8bit_trainvaltest.zip"),
        (("cityscapes:mine", "--split", "test"), 1, "publishes no labels of its test split"),
        (("coco-stuff:mine",), 1, "images/train2017"),
        (("camvid:nowhere",), 1, "701_StillsRaw_full"),
    ],
)
def test_what_cannot_be_checked(mine, bisenet_edge, words, code, said):
    got, out, err = bisenet_edge("data", "check", *words)
    assert got == code
    assert out == ""
    assert said in err


def test_training_knows_the_same_names(mine, bisenet_edge):
    code, _, err = bisenet_edge("train", "--model", "bisenet-xception39", "--data", "city:mine")
    assert code == 2
    assert "cityscapes" in err
    _, out, _ = bisenet_edge("train", "--help")
    assert "cityscapes:PATH" in out
    assert "coco-stuff:PATH" in out
