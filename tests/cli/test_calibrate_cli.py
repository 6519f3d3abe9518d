"""`calibrate select`: the recipe it writes, what it says of it, and what it refuses."""

from __future__ import annotations

import json
import shlex

import cv2
import numpy as np
import pytest

from bisenet_edge.artifact import Artifact
from bisenet_edge.toolchain.quant.calibration_recipe import CalibrationRecipe

STREETS = "synthetic:?count=6&size=64x64"
LABELS = 'name = "my yard"\n' + "".join(
    f'[[class]]\nname = "{name}"\ncolor = [{i}, 0, 0]\n' for i, name in enumerate(("grass", "path", "hen"))
)


@pytest.fixture
def yard(workplace):
    """Ten pictures of grass and path, one class each, of which every fifth is val; nowhere a hen."""
    root = workplace / "data"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    (root / "labels.toml").write_text(LABELS)
    rng = np.random.default_rng(0)
    for index in range(10):
        picture = rng.integers(0, 256, (16, 20, 3), np.uint8)
        assert cv2.imwrite(str(root / "images" / f"{index}.png"), picture)
        assert cv2.imwrite(str(root / "labels" / f"{index}.png"), np.full((16, 20), index % 2, np.uint8))
    return "folder:data"


def test_the_recipe_is_written_and_its_coverage_told(yard, workplace, bisenet_edge):
    code, out, err = bisenet_edge("calibrate", "select", "--data", yard, "--count", "4", "--seed", "1")
    assert (code, err) == (0, "")
    path = workplace / "calibration" / "my-yard-4-seed1.toml"
    recipe = CalibrationRecipe.read(path)
    assert (recipe.data, recipe.count, recipe.seed, len(recipe.images)) == (yard, 4, 1, 4)
    lines = out.splitlines()
    assert lines[0] == "calibration/my-yard-4-seed1.toml"
    for coverage in recipe.coverage:
        row = next(line.split() for line in lines if line.startswith(coverage.name))
        shares = [f"{100 * share:.2f}" for share in (coverage.pixels, coverage.split_pixels)]
        assert row[1:] == [str(coverage.images), str(coverage.available), *shares]
    assert "warning: no picture of the train split shows hen" in lines
    assert lines[-1] == (
        "next: bisenet-edge export --int8 --calibration calibration/my-yard-4-seed1.toml --data folder:data"
    )
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_json_is_what_the_recipe_says(yard, workplace, bisenet_edge):
    words = ("calibrate", "select", "--data", yard, "--count", "3", "--out", "mine.toml")
    code, out, err = bisenet_edge(*words, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told == {
        "path": "mine.toml",
        **CalibrationRecipe.read(workplace / "mine.toml").provenance(),
    }
    assert len(told["images"]) == 3
    first = (workplace / "mine.toml").read_bytes()
    assert bisenet_edge(*words)[0] == 0
    assert (workplace / "mine.toml").read_bytes() == first


def test_too_few_pictures_for_all_classes_is_said(yard, bisenet_edge):
    code, out, _ = bisenet_edge("calibrate", "select", "--data", yard, "--count", "1")
    assert code == 0
    # Eight train pictures: four of grass (0, 2, 6, 8) and four of path (1, 3, 5, 7); grass is first.
    assert "warning: too few pictures to show path; give a larger --count" in out.splitlines()


def test_export_takes_the_recipe_and_names_it(workplace, bisenet_edge):
    code, out, err = bisenet_edge("calibrate", "select", "--data", STREETS, "--count", "2")
    assert (code, err) == (0, "")
    path = "calibration/synthetic-2-seed0.toml"
    recipe = CalibrationRecipe.read(workplace / path)
    command = out.splitlines()[-1].removeprefix("next: ")
    assert command == f"bisenet-edge export --int8 --calibration {path}"
    code, _, err = bisenet_edge(*shlex.split(command)[1:], "--res", "64x64")
    assert (code, err) == (0, "")
    manifest = Artifact.open(workplace / "artifacts" / "bisenet-xception39-64x64-int8").manifest
    assert {key: manifest.calibration[key] for key in recipe.provenance()} == recipe.provenance()
    assert manifest.calibration["recipe"] == "synthetic-2-seed0.toml"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("selct --data folder:data", 2, "did you mean 'select'?"),
        ("select", 2, "--data"),
        ("select --data folder:data --count 0", 2, "--count"),
        ("select --data folder:data --seed -1", 2, "--seed"),
        ("select --data foldr:data", 2, "did you mean 'folder'?"),
        ("select --data folder:data --count 9", 1, "got:      9 of 8 in folder:data train"),
        ("select --data folder:data --count 2 --out data/labels.toml", 1, "something else stands"),
        ("select --data folder:data --count 2 --out data", 1, "something else stands"),
        ("select --data folder:data --count 2 --out data/labels.toml/a.toml", 1, "cannot write here"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(yard, workplace, bisenet_edge, words, code, says):
    before = {path: path.stat().st_mtime_ns for path in workplace.rglob("*") if path.is_file()}
    found, out, err = bisenet_edge("calibrate", *shlex.split(words))
    assert (found, out) == (code, "")
    assert says in err
    assert "Traceback" not in err
    assert {path: path.stat().st_mtime_ns for path in workplace.rglob("*") if path.is_file()} == before
    assert not (workplace / "calibration").exists()


def test_a_validation_picture_among_the_train_pictures_is_refused(yard, workplace, bisenet_edge):
    images = workplace / "data" / "images"
    (images / "0.png").write_bytes((images / "4.png").read_bytes())  # 4 and 9 are val
    code, out, err = bisenet_edge("calibrate", "select", "--data", yard, "--count", "8")
    assert (code, out) == (1, "")
    assert "a validation image is in the calibration list" in err
    assert "0, the same pixels as 4 of the val split" in err
    assert not (workplace / "calibration").exists()
