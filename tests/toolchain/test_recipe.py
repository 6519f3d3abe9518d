from __future__ import annotations

import json

import numpy as np
import pytest

from bisenet_edge.errors import ConfigError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.toolchain.recipe import Recipe

MINIMAL = {"model": "bisenet-xception39", "data": ["synthetic:"]}


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_text('model = "bisenet-xception39"\ndata = ["synthetic:"]\n' + text)
        return path

    return write


def test_defaults_are_the_papers():
    recipe = Recipe.from_options(**MINIMAL)
    assert (recipe.batch, recipe.learning_rate, recipe.poly_power) == (16, 2.5e-2, 0.9)
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 1e-4)
    assert (recipe.scales, recipe.flip) == ((0.75, 1.0, 1.5, 1.75, 2.0), True)
    assert (recipe.class_weights, recipe.ohem_threshold, recipe.ema, recipe.init) == ("equal", 0, 0, "")
    assert (recipe.warmup_steps, recipe.jitter, recipe.aux_weight) == (0, 0.0, 1.0)
    assert recipe.crop_size == Size(480, 360)


def test_a_file_wins_over_defaults_and_options_over_the_file(toml):
    path = toml("epochs = 3\nbatch = 4\nlearning_rate = 1\n")
    recipe = Recipe.read(path, epochs=5, batch=None, data=())
    assert (recipe.epochs, recipe.batch, recipe.learning_rate) == (5, 4, 1)
    assert recipe.data == ("synthetic:",)
    assert Recipe.read(path, data=("camvid:x", "folder:y")).data == ("camvid:x", "folder:y")


def test_json_round_trip(toml):
    recipe = Recipe.read(toml("jitter = 0.2\nflip = false\n"))
    value = json.loads(json.dumps(recipe.to_json()))
    assert Recipe.build(value, "json") == recipe


def test_the_recipe_of_the_shipped_checkpoint_can_be_read():
    recipe = Recipe.read(shipped_checkpoint().with_suffix(".toml"))
    assert recipe.model == "bisenet-xception39"
    assert recipe.epochs > 0


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("epochs = 0", "epochs"),
        ("batch = -1", "batch"),
        ("learning_rate = 0.0", "learning_rate"),
        ("eval_every = 0", "eval_every"),
        ("scale_min = 0.5", "scale_min"),
        ("scales = []", "scales"),
        ("scales = [1.0, 0.0]", "scales"),
        ('scales = ["1"]', "scales"),
        ("scales = [true]", "scales"),
        ("scales = [inf]", "scales"),
        ("scales = [1.0, 0.001]", "scales"),
        ("scales = [1000]", "scales"),
        ("scale_min = 0.5\nscale_max = inf", "scale_max"),
        ("scale_min = 0.001\nscale_max = 1.0", "scale_min"),
        ("scale_min = -2.0\nscale_max = -1.0", "scale_min"),
        ("ohem_threshold = 1.0", "ohem_threshold"),
        ("ohem_threshold = nan", "ohem_threshold"),
        ("learning_rate = nan", "learning_rate"),
        ("learning_rate = inf", "learning_rate"),
        ("momentum = 1.0", "momentum"),
        ("weight_decay = -1e-4", "weight_decay"),
        ("jitter = 1.5", "jitter"),
        ("aux_weight = -1", "aux_weight"),
        ("warmup_steps = -5", "warmup_steps"),
        ("poly_power = -0.9", "poly_power"),
        ("seed = -1", "seed"),
        ("ema = 1.0", "ema"),
        ("scale_min = 1.5\nscale_max = 1.0", "scale_max"),
        ("loss_stride = 3", "loss_stride"),
        ('crop = "481x360"', "crop"),
        ('epochs = "3"', "epochs"),
        ("flip = 1", "flip"),
        ("epochs = true", "epochs"),
    ],
)
def test_values_out_of_range_are_refused_and_named(toml, line, word):
    with pytest.raises(ConfigError, match=f"'{word}'"):
        Recipe.read(toml(line + "\n"))


@pytest.mark.parametrize("scale", [0.1, 10])
def test_the_outermost_scales_can_be_drawn(scale):
    from bisenet_edge.dataset import Sample
    from bisenet_edge.toolchain.augment import augment

    recipe = Recipe.from_options(**MINIMAL, scales=[scale], crop="64x64")
    sample = Sample("tiny", np.full((4, 6, 3), 9, np.uint8), np.ones((4, 6), np.uint8))
    made = augment(sample, recipe, np.random.default_rng(0))
    assert made.image.shape == (64, 64, 3)
    assert (made.label == 1).any()


def test_data_sets_are_named(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('model = "bisenet-xception39"\ndata = [1]\n')
    with pytest.raises(ConfigError, match="'data'"):
        Recipe.read(path)


def test_misspelt_class_weights_get_the_nearest(toml):
    with pytest.raises(UsageError, match="class_weights") as caught:
        Recipe.read(toml('class_weights = "enett"\n'))
    assert caught.value.fix == "did you mean 'enet'?"


def test_classes_may_have_weights_of_their_own(toml):
    assert Recipe.read(toml("class_weights = { pole = 4, sign = 2.5 }\n")).class_weights == {
        "pole": 4,
        "sign": 2.5,
    }


@pytest.mark.parametrize("weight", ["0", "-1", "inf", "true", '"4"'])
def test_a_weight_that_is_no_positive_number_names_its_class(toml, weight):
    with pytest.raises(ConfigError, match="weight of class 'pole'"):
        Recipe.read(toml(f"class_weights = {{ pole = {weight} }}\n"))


@pytest.mark.parametrize("crop", ["0x0", "16x16", "9000x9000", "big"])
def test_a_crop_that_is_no_size_is_refused(toml, crop):
    with pytest.raises(UsageError):
        Recipe.read(toml(f'crop = "{crop}"\n'))


def test_a_misspelt_key_gets_the_nearest(toml):
    with pytest.raises(UsageError) as caught:
        Recipe.read(toml("learning_rat = 0.1\n"))
    assert caught.value.fix == "did you mean 'learning_rate'?"


@pytest.mark.parametrize("missing", ["model", "data"])
def test_model_and_data_have_no_default(missing):
    with pytest.raises(ConfigError, match=f"no '{missing}'") as caught:
        Recipe.from_options(**{**MINIMAL, missing: None})
    assert f"--{missing}" in caught.value.expected
