from __future__ import annotations

import numpy as np
import pytest

from bisenet_edge.dataset import Sample
from bisenet_edge.toolchain.augment import PAD_VALUE, augment
from bisenet_edge.toolchain.recipe import Recipe

CROP_HW = (32, 48)
BACKGROUND, SHAPE = 40, 220
CLASS = 7  # of the shape; 0 is the background, and a class in between does not occur


def recipe(**values):
    return Recipe("bisenet-xception39", ("synthetic:",), crop="48x32", **values)


def sample(height=60, width=80):
    """A bright rectangle, left of the middle, on background."""
    label = np.zeros((height, width), np.uint8)
    label[height // 4 : height // 2, width // 8 : width // 2] = CLASS
    image = np.where(label[..., None] == CLASS, SHAPE, BACKGROUND).astype(np.uint8).repeat(3, 2)
    return Sample("shape", image, label)


def rng(seed):
    return np.random.default_rng(seed)


def test_a_pure_function_of_the_seed():
    everything = recipe(jitter=0.3)
    first, again = (augment(sample(), everything, rng(3)) for _ in range(2))
    assert (first.image == again.image).all()
    assert (first.label == again.label).all()
    others = [augment(sample(), everything, rng(seed)) for seed in range(8)]
    assert len({o.image.tobytes() for o in others}) == 8


@pytest.mark.parametrize("hw", [(60, 80), (20, 30), (200, 20), (32, 48), (24, 400)])
def test_picture_and_label_stay_registered(hw):
    """Where the label says shape the picture is bright, through scaling, cropping, padding and mirroring."""
    seen = 0
    for seed in range(20):
        made = augment(sample(*hw), recipe(), rng(seed))
        assert made.image.shape == (*CROP_HW, 3)
        assert made.label.shape == CROP_HW
        assert made.image.dtype == made.label.dtype == np.uint8
        assert made.image.flags.c_contiguous
        assert made.label.flags.c_contiguous
        bright = made.image[..., 0] > (SHAPE + BACKGROUND) // 2
        assert set(np.unique(made.label)) <= {0, CLASS, 255}
        # Along the edges bilinear and nearest sampling may differ by a pixel.
        wrong = (bright != (made.label == CLASS)) & (made.label != 255)
        inner = ~np.pad(edge_of(made.label), 1)[1:-1, 1:-1]
        assert not (wrong & inner & (made.image[..., 0] != PAD_VALUE)).any(), seed
        seen += (made.label == CLASS).any()
    assert seen > 5


def edge_of(label):
    """Pixels with another label in their 3x3 neighbourhood."""
    padded = np.pad(label, 1, mode="edge")
    height, width = label.shape
    shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.any([s != label for s in shifted], axis=0)


def test_what_is_padded_is_grey_and_ignored():
    made = augment(sample(16, 16), recipe(scale_min=1.0, scale_max=1.0), rng(0))
    assert (made.label != 255).sum() == 16 * 16
    assert (made.image[made.label == 255] == PAD_VALUE).all()
    rows, columns = np.nonzero(made.label != 255)
    assert (np.ptp(rows), np.ptp(columns)) == (15, 15)


def test_padding_stays_grey_when_the_light_varies_by_contrast_alone():
    made = augment(sample(16, 16), recipe(scale_min=1.0, scale_max=1.0, jitter=0.2), rng(1))
    padding = made.image[made.label == 255]
    assert (padding == padding[0]).all()
    assert 128 * 0.8 - 1 <= padding[0, 0] <= 128 * 1.2 + 1


def test_a_picture_is_mirrored_about_half_the_time():
    picture = Sample("p", sample(*CROP_HW).image, sample(*CROP_HW).label)
    same = recipe(scale_min=1.0, scale_max=1.0)
    made = [augment(picture, same, rng(seed)) for seed in range(60)]
    mirrored = [(m.label == picture.label[:, ::-1]).all() for m in made]
    plain = [(m.label == picture.label).all() for m in made]
    assert all(a != b for a, b in zip(mirrored, plain))
    assert 15 < sum(mirrored) < 45
    never = recipe(scale_min=1.0, scale_max=1.0, flip=False)
    assert all((augment(picture, never, rng(seed)).label == picture.label).all() for seed in range(10))


def test_scaling_covers_its_range():
    fixed = {"flip": False}
    areas = []
    for scale in (0.5, 1.0, 2.0):
        made = augment(sample(40, 60), recipe(scale_min=scale, scale_max=scale, **fixed), rng(0))
        areas.append((made.label != 255).mean())
    assert areas[0] == pytest.approx(20 * 30 / (32 * 48))
    assert areas[1:] == [1.0, 1.0]
    twice = augment(sample(40, 60), recipe(scale_min=2.0, scale_max=2.0, **fixed), rng(0))
    # Rows repeat: twice as large.
    assert np.mean(twice.label[::2] == twice.label[1::2]) > 0.95


def test_light_leaves_labels_alone_and_changes_the_picture():
    plain = augment(sample(), recipe(), rng(5))
    lit = augment(sample(), recipe(jitter=0.3), rng(5))
    assert (plain.label == lit.label).all()
    assert (plain.image != lit.image).any()
