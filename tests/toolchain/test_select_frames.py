from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bisenet_edge.errors import CalibrationError, ConfigError, DatasetError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.resources import data_folder
from bisenet_edge.runtime.datasets import open_dataset, sample_sha256
from bisenet_edge.toolchain.quant.select_frames import CalibrationRecipe, choose, load, network_frame

DATA = "synthetic:?count=6&seed=0&size=64x48"
RECIPE = CalibrationRecipe(DATA, count=3, seed=0)
SIZE = Size(64, 48)


def names(frames):
    return [image["name"] for image in frames.provenance["images"]]


@pytest.mark.parametrize("path", sorted(data_folder("calibration").glob("*.toml")), ids=lambda p: p.name)
def test_every_shipped_recipe_can_be_read_and_its_list_is_what_the_seed_gives(path):
    recipe = CalibrationRecipe.read(path)
    assert recipe.count >= 16
    dataset = open_dataset(recipe.data, "train")
    assert len(dataset) >= recipe.count
    if recipe.images:
        assert len(recipe.images) == recipe.count
        chosen = choose(len(dataset), recipe.count, recipe.seed)
        # Names without drawing all the pictures.
        assert recipe.images[0] == dataset[chosen[0]].name
        assert recipe.images[-1] == dataset[chosen[-1]].name


def test_the_default_recipe_is_shipped():
    assert (data_folder("calibration") / "streets.toml").is_file()


def test_the_choice_is_seeded_and_without_repetition():
    first = choose(400, 64, 0)
    assert first == choose(400, 64, 0) == sorted(set(first))
    assert len(first) == 64
    assert first[0] >= 0
    assert first[-1] < 400
    assert first != choose(400, 64, 1)
    assert first != list(range(64))
    assert choose(5, 5, 3) == [0, 1, 2, 3, 4]


def test_provenance_names_every_picture_with_its_hash():
    steps = []
    frames = load(RECIPE, SIZE, lambda *step: steps.append(step))
    dataset = open_dataset(DATA, "train")
    chosen = [dataset[i] for i in choose(6, 3, 0)]
    assert {k: v for k, v in frames.provenance.items() if k != "images"} == {
        "data": DATA,
        "split": "train",
        "count": 3,
        "seed": 0,
    }
    assert frames.provenance["images"] == [{"name": s.name, "sha256": sample_sha256(s)} for s in chosen]
    assert all((f == s.image).all() for f, s in zip(frames.frames, chosen))
    assert steps == [("reading calibration images", done, 3) for done in (1, 2, 3)]


def test_no_validation_picture_is_ever_used():
    assert all("-train-" in name for name in names(load(RECIPE, SIZE)))


def test_frames_are_fitted_to_the_network_and_padded_to_its_stride():
    frames = load(replace(RECIPE, count=1), Size(97, 63)).frames
    assert [f.shape for f in frames] == [(64, 104, 3)]
    assert frames[0].dtype == np.uint8
    # 64x48 into 97x63 is 84 pixels wide.
    assert (frames[0][:, 84:] == 128).all()
    assert (frames[0][63:] == 128).all()


def test_a_frame_is_no_view_of_a_buffer_that_is_used_again():
    image = np.zeros((30, 40, 3), np.uint8)
    frame = network_frame(image, SIZE)
    image[:] = 9
    assert not (frame[:, :40] == 9).any()


@pytest.mark.parametrize("count", [0, -1, 7])
def test_more_pictures_than_there_are_or_none(count):
    with pytest.raises(CalibrationError, match="this many") as caught:
        load(replace(RECIPE, count=count), SIZE)
    assert caught.value.got == f"{count} of 6 in {DATA} train"
    assert caught.value.expected == "1 to 6"


def test_other_pictures_than_the_recipe_lists_are_refused():
    listed = tuple(names(load(RECIPE, SIZE)))
    assert names(load(replace(RECIPE, images=listed), SIZE)) == list(listed)
    for wrong in (listed[::-1], listed[:2], ("other", *listed[1:])):
        with pytest.raises(CalibrationError, match="recipe lists"):
            load(replace(RECIPE, images=wrong), SIZE)
    with pytest.raises(CalibrationError, match="recipe lists"):
        load(replace(RECIPE, images=listed, seed=1), SIZE)


def test_other_data_drops_the_list():
    recipe = replace(RECIPE, images=("a",)).with_data("camvid:x")
    assert recipe == CalibrationRecipe("camvid:x", 3, 0, ())


def test_a_data_set_that_is_not_there_is_not_replaced(tmp_path):
    with pytest.raises(DatasetError):
        load(replace(RECIPE, data=f"camvid:{tmp_path / 'none'}"), SIZE)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('data = "synthetic:"\ncount = 3\n', ConfigError),
        ('data = "synthetic:"\ncount = "3"\nseed = 0\n', ConfigError),
        ('data = "synthetic:"\ncount = 3\nsede = 0\n', UsageError),
    ],
)
def test_a_recipe_that_cannot_be_used(tmp_path, text, error):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(error):
        CalibrationRecipe.read(path)
