from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from bisenet_edge.errors import CalibrationError, DatasetError, SinkError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.datasets import open_dataset, sample_sha256
from bisenet_edge.toolchain.quant.calibration_recipe import CalibrationRecipe, Coverage, ListedImage
from bisenet_edge.toolchain.quant.select_frames import choose, load, network_frame, select, write_selection

STREETS = CalibrationRecipe("synthetic:?count=6&seed=0&size=64x48", count=3, seed=0)
SIZE = Size(64, 48)
HW = (40, 50)
ROAD, TREE, CAR, VOID = 3, 5, 8, 11


def names(frames):
    return [image["name"] for image in frames.provenance["images"]]


def listed(recipe):
    return [image.name for image in recipe.images]


def picture(path, value):
    """A picture of noise of its own, and beside it a label: road, the left column tree."""
    for folder in ("images", "labels"):
        (path.parent.parent / folder).mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 256, (*HW, 3), np.uint8)
    assert cv2.imwrite(str(path), noise)
    label = np.full(HW, ROAD, np.uint8)
    label[:, 0] = TREE
    relabel(path, label)


def relabel(path, label):
    assert cv2.imwrite(str(path.parent.parent / "labels" / f"{path.stem}.png"), label)


@pytest.fixture
def camvid(tmp_path):
    """Eight pictures to train on, t0 to t7, and three to validate on, v0 to v2."""
    for index in range(8):
        picture(tmp_path / "train" / "images" / f"t{index}.png", index)
    for index in range(3):
        picture(tmp_path / "val" / "images" / f"v{index}.png", 100 + index)
    return tmp_path


@pytest.fixture
def recipe(camvid):
    return CalibrationRecipe(f"camvid:{camvid}", count=4, seed=0)


# The choice


def rare_and_common(seed, images=400):
    """bool [images, 8]: classes that 0.3 % to 90 % of the pictures show, and one that none does."""
    share = np.array([0.9, 0.5, 0.2, 0.05, 0.02, 0.01, 0.003, 0.0])
    return np.random.default_rng(seed).random((images, len(share))) < share


def test_the_choice_is_seeded_and_without_repetition():
    presence = rare_and_common(0)
    first = choose(presence, 64, 0)
    assert first == choose(presence, 64, 0) == sorted(set(first))
    assert len(first) == 64
    assert 0 <= first[0] < first[-1] < 400
    assert first != choose(presence, 64, 1)
    assert first != list(range(64))
    assert choose(presence[:5], 5, 3) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [8, 16, 64, 128])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_class_is_covered(count, seed):
    presence = rare_and_common(seed)
    available = presence.sum(0)
    shown = presence[choose(presence, count, seed)].sum(0)
    assert (shown >= np.minimum(available, count // 8)).all()
    drawn = presence[np.random.default_rng(seed).permutation(400)[:count]].sum(0)
    # What a plain draw gives: this test can fail.
    assert (drawn < np.minimum(available, count // 8)).any()


def test_where_the_count_does_not_reach_no_class_has_two_before_each_has_one():
    presence = np.tile(np.eye(11, dtype=bool), (20, 1))  # 220 pictures, each of one class
    assert presence[choose(presence, 11, 0)].sum(0).tolist() == [1] * 11
    shown = presence[choose(presence, 64, 0)].sum(0)
    assert sorted(set(shown)) == [5, 6]


def test_the_rarest_classes_are_served_first():
    presence = np.zeros((100, 3), bool)
    presence[:, 0] = True
    presence[40, 1] = presence[70:72, 2] = True
    for seed in range(5):
        chosen = choose(presence, 2, seed)
        assert 40 in chosen
        assert {70, 71} & set(chosen)


def test_pictures_without_any_class_are_drawn_all_the_same():
    assert len(choose(np.zeros((9, 4), bool), 6, 0)) == 6


# What a class is covered by


def test_coverage_counts_pictures_and_labelled_pixels(camvid, recipe):
    pixels = HW[0] * HW[1]
    for index in range(8):
        label = np.full(HW, ROAD, np.uint8)
        label[:20] = VOID
        label[-1, : index % 3] = CAR  # 0, 1 or 2 pixels of 2000: 0.1 % is 2
        relabel(camvid / "train" / "images" / f"t{index}.png", label)
    coverage = {c.name: c for c in select(replace(recipe, count=8)).coverage}
    cars = 0 + 1 + 2 + 0 + 1 + 2 + 0 + 1
    share = round(cars / (8 * pixels / 2), 6)
    assert coverage["car"] == Coverage("car", 2, 2, share, share)
    assert coverage["road"] == Coverage("road", 8, 8, round(1 - share, 6), round(1 - share, 6))
    assert coverage["sky"] == Coverage("sky", 0, 0, 0.0, 0.0)
    assert len(coverage) == 11


def test_the_one_picture_of_a_class_is_always_in_the_list(camvid, recipe):
    label = np.full(HW, ROAD, np.uint8)
    label[5:9, 5:9] = CAR
    relabel(camvid / "train" / "images" / "t5.png", label)
    for seed in range(6):
        chosen = select(replace(recipe, count=1, seed=seed))
        assert listed(chosen) == ["t5"]
    car = chosen.coverage[CAR]
    assert (car.images, car.available) == (1, 1)
    assert car.pixels == pytest.approx(8 * car.split_pixels, abs=1e-5)


def test_a_split_without_a_labelled_pixel_has_no_shares(camvid, recipe):
    for index in range(8):
        relabel(camvid / "train" / "images" / f"t{index}.png", np.full(HW, VOID, np.uint8))
    chosen = select(recipe)
    assert len(chosen.images) == 4
    assert {(c.images, c.available, c.pixels, c.split_pixels) for c in chosen.coverage} == {(0, 0, 0.0, 0.0)}


# Reading


def test_provenance_names_every_picture_with_its_hash(recipe):
    steps = []
    frames = load(recipe, SIZE, lambda *step: steps.append(step))
    train = open_dataset(recipe.data, "train")
    samples = {sample.name: sample for sample in train}
    chosen = [samples[name] for name in names(frames)]
    told = frames.provenance
    assert {key: told[key] for key in ("data", "split", "count", "seed")} == {
        "data": recipe.data,
        "split": "train",
        "count": 4,
        "seed": 0,
    }
    assert told["images"] == [{"name": s.name, "sha256": sample_sha256(s)} for s in chosen]
    assert [entry["class"] for entry in told["coverage"]] == list(train.labels.names)
    assert all((f == network_frame(s.image, SIZE)).all() for f, s in zip(frames.frames, chosen))
    assert steps == [
        *[("reading labels", done, 8) for done in range(1, 9)],
        *[("reading calibration images", done, 4) for done in range(1, 5)],
        *[("comparing with validation images", done, 3) for done in range(1, 4)],
    ]


def test_a_written_list_gives_the_same_frames_as_the_choice(camvid, recipe):
    written = write_selection(recipe, camvid / "mine.toml")
    read = CalibrationRecipe.read(camvid / "mine.toml")
    assert read == written
    first, again = load(recipe, SIZE), load(read, SIZE)
    assert again.provenance == {**first.provenance, "recipe": "mine.toml"}
    assert all((a == b).all() for a, b in zip(first.frames, again.frames))


def test_listed_pictures_are_used_whatever_the_seed_and_in_their_order(recipe):
    chosen = select(recipe)
    turned = replace(chosen, images=chosen.images[::-1], seed=5)
    assert names(load(turned, SIZE)) == listed(chosen)[::-1]


def test_with_a_list_no_other_picture_is_read(camvid, recipe):
    chosen = select(recipe)
    for index in range(8):
        if f"t{index}" not in listed(chosen):
            for folder in ("images", "labels"):
                (camvid / "train" / folder / f"t{index}.png").write_bytes(b"no picture")
    assert names(load(chosen, SIZE)) == listed(chosen)
    with pytest.raises(DatasetError, match="cannot decode"):
        load(recipe, SIZE)


def test_frames_are_fitted_to_the_network_and_padded_to_its_stride():
    frames = load(replace(STREETS, count=1), Size(97, 63)).frames
    assert [f.shape for f in frames] == [(64, 104, 3)]
    assert frames[0].dtype == np.uint8
    # 64x48 into 97x63 is 84 pixels wide.
    assert (frames[0][:, 84:] == 128).all()
    assert (frames[0][63:] == 128).all()


def test_frames_are_padded_as_far_as_the_network_asks():
    assert load(replace(STREETS, count=1), Size(97, 63), multiple=32).frames[0].shape == (64, 128, 3)


def test_a_frame_is_no_view_of_a_buffer_that_is_used_again():
    image = np.zeros((30, 40, 3), np.uint8)
    frame = network_frame(image, SIZE)
    image[:] = 9
    assert not (frame[:, :40] == 9).any()


# What is refused


@pytest.mark.parametrize("count", [0, -1, 9])
def test_more_pictures_than_there_are_or_none(recipe, count):
    with pytest.raises(CalibrationError, match="this many") as caught:
        load(replace(recipe, count=count), SIZE)
    assert caught.value.got == f"{count} of 8 in {recipe.data} train"
    assert caught.value.expected == "1 to 8"


def test_a_picture_that_has_changed_is_named(camvid, recipe):
    chosen = select(recipe)
    path = camvid / "train" / "images" / f"{listed(chosen)[2]}.png"
    image = cv2.imread(str(path))
    cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])  # another file, the same pixels
    load(chosen, SIZE)
    image[0, 0, 0] ^= 1
    cv2.imwrite(str(path), image)
    with pytest.raises(CalibrationError, match="has changed since the recipe was written") as caught:
        load(chosen, SIZE)
    assert path.stem in caught.value.got
    assert f"bisenet-edge calibrate select --data {recipe.data} --count 4 --seed 0" in caught.value.fix


def test_a_validation_picture_in_the_list_is_named(recipe):
    chosen = select(recipe)
    leaked = replace(chosen, images=(*chosen.images[:3], ListedImage("v1", chosen.images[3].sha256)))
    with pytest.raises(CalibrationError, match="a validation image is in the calibration list") as caught:
        load(leaked, SIZE)
    assert caught.value.got.startswith("v1 ")


def test_a_copy_of_a_validation_picture_is_found_by_its_pixels(camvid, recipe):
    chosen = select(recipe)
    name = listed(chosen)[1]
    image = cv2.imread(str(camvid / "train" / "images" / f"{name}.png"))
    cv2.imwrite(str(camvid / "val" / "images" / "v2.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    for leaking in (chosen, recipe):
        with pytest.raises(CalibrationError, match="a validation image is in the calibration list") as caught:
            load(leaking, SIZE)
        assert caught.value.got.startswith(f"{name}, the same pixels as v2 of the val split")
    with pytest.raises(CalibrationError, match="a validation image"):
        select(recipe)


def test_equal_names_in_both_splits_are_no_leak(camvid, recipe):
    for folder in ("images", "labels"):
        (camvid / "val" / folder / "v0.png").rename(camvid / "val" / folder / "t0.png")
    assert len(load(replace(recipe, count=8), SIZE).frames) == 8


def test_a_picture_that_is_nowhere(recipe):
    chosen = select(recipe)
    lost = replace(chosen, images=(ListedImage("elsewhere", chosen.images[0].sha256), *chosen.images[1:]))
    with pytest.raises(CalibrationError, match="does not give the images") as caught:
        load(lost, SIZE)
    assert "no elsewhere in" in caught.value.got


def test_a_list_that_is_not_as_long_as_it_says(recipe):
    chosen = select(recipe)
    twice = replace(chosen, images=(*chosen.images[:3], chosen.images[0]))
    for wrong in (replace(chosen, count=3), replace(chosen, count=5), twice):
        with pytest.raises(CalibrationError, match="as many images as it says"):
            load(wrong, SIZE)


def test_data_without_a_val_split_cannot_be_told_from_validation_pictures(camvid, recipe):
    (camvid / "val").rename(camvid / "test")
    with pytest.raises(DatasetError, match="no CamVid 'val' split"):
        load(recipe, SIZE)


def test_a_data_set_that_is_not_there_is_not_replaced(tmp_path):
    with pytest.raises(DatasetError):
        load(replace(STREETS, data=f"camvid:{tmp_path / 'none'}"), SIZE)


# Streets


def test_streets_are_known_by_name_because_their_pixels_differ_between_machines():
    chosen = select(STREETS)
    assert all(name.startswith("synthetic-train-0-") for name in listed(chosen))
    elsewhere = replace(chosen, images=tuple(ListedImage(name, "0" * 64) for name in listed(chosen)))
    drawn = load(elsewhere, SIZE).provenance["images"]
    # What the manifest gets is what was drawn here.
    assert drawn == load(chosen, SIZE).provenance["images"] == chosen.provenance()["images"]


def test_streets_of_the_val_split_are_refused_by_name():
    images = tuple(ListedImage(f"synthetic-{split}-0-000001", "0" * 64) for split in ("train", "val"))
    with pytest.raises(CalibrationError, match="a validation image") as caught:
        load(replace(STREETS, count=2, images=images), SIZE)
    assert caught.value.got.startswith("synthetic-val-0-000001 ")


# Writing


def test_a_recipe_is_written_again_with_its_comment(camvid, recipe):
    path = camvid / "recipes" / "mine.toml"
    write_selection(replace(recipe, comment="from the yard"), path)
    write_selection(replace(recipe, count=2), path)
    read = CalibrationRecipe.read(path)
    assert (read.count, len(read.images), read.comment) == (2, 2, "from the yard")
    assert [p.name for p in path.parent.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize("text", ["precious", 'model = "bisenet-xception39"\n', ""])
def test_what_is_no_recipe_is_not_replaced(camvid, recipe, text):
    path = camvid / "mine.toml"
    path.write_text(text)
    with pytest.raises(SinkError, match="something else stands"):
        write_selection(recipe, path)
    assert path.read_text() == text
    with pytest.raises(SinkError, match="something else stands"):
        write_selection(recipe, camvid)


def test_a_choice_that_fails_leaves_nothing_and_the_older_recipe(camvid, recipe):
    path = camvid / "recipes" / "mine.toml"
    with pytest.raises(UsageError):
        write_selection(replace(recipe, data="camvd:x"), path)
    assert not path.parent.exists()
    write_selection(recipe, path)
    before = path.read_text()
    with pytest.raises(CalibrationError):
        write_selection(replace(recipe, count=9), path)
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ["mine.toml"]


def test_a_picture_of_the_val_split_that_measures_is_refused(tmp_path):
    """Calibrating on one data set and measuring on another that holds the same picture in its val split."""
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second):
        for split in ("train", "val"):
            for kind in ("images", "labels"):
                (root / split / kind).mkdir(parents=True)
        (root / "labels.toml").write_text('name = "toy"\n[[class]]\nname = "all"\ncolor = [0, 0, 0]\n')
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(4)]
    label = np.zeros((32, 32), np.uint8)
    places = [(first, "train", 0), (first, "val", 1), (second, "train", 2), (second, "val", 0)]
    for number, (root, split, picture) in enumerate(places):
        cv2.imwrite(str(root / split / "images" / f"{number}.png"), pictures[picture])
        cv2.imwrite(str(root / split / "labels" / f"{number}.png"), label)
    recipe = CalibrationRecipe(f"folder:{first}", count=1)
    assert len(load(recipe, Size(32, 32)).frames) == 1
    with pytest.raises(CalibrationError, match="validation image"):
        load(recipe, Size(32, 32), measured_on=f"folder:{second}")
