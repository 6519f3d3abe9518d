from __future__ import annotations

from dataclasses import replace

import pytest

from bisenet_edge.errors import ConfigError, UsageError
from bisenet_edge.resources import data_folder
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.toolchain.quant.calibration_recipe import CalibrationRecipe, Coverage, ListedImage
from bisenet_edge.toolchain.quant.select_frames import PART_PER_CLASS

SHA = "0123456789abcdef" * 4
IMAGES = (ListedImage("a", SHA), ListedImage("b", SHA[::-1]))
COVERAGE = (Coverage("road", 2, 7, 0.25, 0.333333), Coverage("sky", 0, 0, 0.0, 0.0))
RECIPE = CalibrationRecipe("camvid:data", 2, 3, IMAGES, COVERAGE, "why these")
HEAD = 'data = "synthetic:"\ncount = 1\nseed = 0\n'
IMAGE = f'[[image]]\nname = "a"\nsha256 = "{SHA}"\n'
COVERED = '[[coverage]]\nclass = "a"\nimages = 1\navailable = 1\npixels = 0.5\nsplit_pixels = 0.5\n'


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("path", sorted(data_folder("calibration").glob("*.toml")), ids=lambda p: p.name)
def test_every_shipped_recipe_lists_pictures_of_its_train_split_that_cover_every_class(path):
    recipe = CalibrationRecipe.read(path)
    train = open_dataset(recipe.data, "train")
    names = [image.name for image in recipe.images]
    assert len(names) == len(set(names)) == recipe.count >= 16
    assert set(names) <= set(train.names())
    assert [coverage.name for coverage in recipe.coverage] == list(train.labels.names)
    for coverage in recipe.coverage:
        assert 0 < coverage.available <= len(train)
        assert coverage.images >= min(coverage.available, recipe.count // PART_PER_CLASS)
    assert sum(c.pixels for c in recipe.coverage) == pytest.approx(1, abs=1e-5)
    assert sum(c.split_pixels for c in recipe.coverage) == pytest.approx(1, abs=1e-5)
    assert recipe.comment


def test_the_default_recipe_is_shipped():
    assert (data_folder("calibration") / "streets.toml").is_file()


def test_what_is_written_is_what_is_read(written):
    assert CalibrationRecipe.read(written(RECIPE.to_toml())) == replace(RECIPE, file="recipe.toml")
    plain = CalibrationRecipe("synthetic:", 8, 1)
    assert CalibrationRecipe.read(written(plain.to_toml())) == replace(plain, file="recipe.toml")


@pytest.mark.parametrize(
    "name", ['"quoted"', "back\\slash", "line\nfeed\ttab\x00\x1f", "\x7f", "Straße 日本 🚗"]
)
def test_any_text_survives(written, name):
    recipe = replace(RECIPE, data=name, comment=name, images=(ListedImage(name, SHA),))
    assert CalibrationRecipe.read(written(recipe.to_toml())) == replace(recipe, file="recipe.toml")


def test_a_name_that_is_no_text_is_refused_not_mangled():
    with pytest.raises(ConfigError, match="cannot hold") as caught:
        replace(RECIPE, images=(ListedImage("caf\udce9", SHA),)).to_toml()
    assert caught.value.got == "'caf\\udce9'"


def test_provenance_names_the_file_when_there_is_one():
    told = RECIPE.provenance()
    assert told == {
        "data": "camvid:data",
        "split": "train",
        "count": 2,
        "seed": 3,
        "images": [{"name": "a", "sha256": SHA}, {"name": "b", "sha256": SHA[::-1]}],
        "coverage": [
            {"class": "road", "images": 2, "available": 7, "pixels": 0.25, "split_pixels": 0.333333},
            {"class": "sky", "images": 0, "available": 0, "pixels": 0.0, "split_pixels": 0.0},
        ],
    }
    assert replace(RECIPE, file="mine.toml").provenance() == {**told, "recipe": "mine.toml"}


def test_other_data_keeps_count_and_seed_alone():
    recipe = replace(RECIPE, file="mine.toml").with_data("camvid:x")
    assert recipe == CalibrationRecipe("camvid:x", 2, 3)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ('data = "synthetic:"\ncount = 3\n', ConfigError, "seed"),
        (HEAD.replace("1", '"1"'), ConfigError, "'count' has the wrong type"),
        (HEAD.replace("count", "cuont"), UsageError, "did you mean 'count'?"),
        (HEAD.replace("seed = 0", "seed = -1"), ConfigError, "'seed' is negative"),
        (HEAD + 'images = ["a"]\n', UsageError, "did you mean 'image'?"),
        (HEAD + 'image = ["a"]\n', ConfigError, "[[image]] 1 is not a table"),
        (HEAD + IMAGE + '[[image]]\nname = "b"\n', ConfigError, "[[image]] 2: a key is missing"),
        (HEAD + IMAGE.replace("sha256", "sha265"), UsageError, "did you mean 'sha256'?"),
        (HEAD + IMAGE.replace(SHA, SHA.upper()), ConfigError, "the sha256 of 'a' is none"),
        (HEAD + IMAGE.replace(SHA, SHA[1:]), ConfigError, "the sha256 of 'a' is none"),
        (HEAD + IMAGE.replace('"a"', "1"), ConfigError, "'name' has the wrong type"),
        (HEAD + COVERED.replace("images = 1", "images = 0.5"), ConfigError, "[[coverage]] 1: 'images'"),
        (HEAD + COVERED.replace("class", "clas"), UsageError, "did you mean 'class'?"),
    ],
)
def test_a_recipe_that_cannot_be_used(written, text, error, says):
    with pytest.raises(error) as caught:
        CalibrationRecipe.read(written(text))
    assert says in str(caught.value)
    assert "recipe.toml" in str(caught.value)


def test_those_recipes_are_wrong_in_that_one_place_only(written):
    recipe = CalibrationRecipe.read(written(HEAD + IMAGE + COVERED))
    assert (recipe.images, recipe.coverage) == ((ListedImage("a", SHA),), (Coverage("a", 1, 1, 0.5, 0.5),))
