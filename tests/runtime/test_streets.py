"""The generated streets: exact, repeatable, moving, and street-like."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import lru_cache

import cv2
import numpy as np
import pytest

from bisenet_edge.errors import DatasetError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.runtime.streets import Scene, SyntheticDataset
from bisenet_edge.runtime.streets.canvas import BUILDING, CAR, PEDESTRIAN, POLE, ROAD, SKY, Canvas
from bisenet_edge.runtime.streets.scene import Camera
from bisenet_edge.runtime.streets.things import Post

SMALL = Size(240, 180)


@lru_cache(maxsize=1)
def forty():
    """Forty streets, small: (image, label) each."""
    return [Scene(seed, SMALL).render(3.0 + 2.5 * seed) for seed in range(40)]


def digest(seed: int, time_s: float) -> str:
    image, label = Scene(seed, SMALL).render(time_s)
    return hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest()


def test_same_seed_same_frames_whatever_was_drawn_before():
    fresh = Scene(3, SMALL).render(7.25)
    used = Scene(3, SMALL)
    for time_s in (0.0, 500.0, 7.2, 90.0):
        used.render(time_s)
    again = used.render(7.25)
    assert np.array_equal(fresh[0], again[0])
    assert np.array_equal(fresh[1], again[1])
    assert digest(3, 7.25) != digest(4, 7.25)


def test_same_frames_in_another_process():
    code = f"import sys; sys.path.insert(0, {str(sys.path[0])!r}); "
    code += (
        "import hashlib; from bisenet_edge.frame import Size; "
        "from bisenet_edge.runtime.streets import Scene; "
        "i, l = Scene(5, Size(240, 180)).render(11.5); "
        "print(hashlib.sha256(i.tobytes() + l.tobytes()).hexdigest())"
    )
    env = {"PYTHONHASHSEED": "77", "PYTHONPATH": ":".join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == digest(5, 11.5)


def test_frames_are_the_callers_to_keep():
    scene = Scene(1, SMALL)
    image, label = scene.render(1.0)
    kept = image.copy(), label.copy()
    scene.render(2.0)
    assert np.array_equal(image, kept[0])
    assert np.array_equal(label, kept[1])


@pytest.mark.parametrize("size", [Size(320, 180), Size(641, 359), Size(1280, 720), Size(33, 200)])
def test_any_size(size):
    image, label = Scene(2, size).render(4.0)
    assert image.shape == (*size.hw, 3)
    assert image.dtype == np.uint8
    assert label.shape == size.hw
    assert label.dtype == np.uint8
    assert label.max() < len(CAMVID)


def test_layout_scales_with_the_size():
    _, small = Scene(2, Size(320, 180)).render(4.0)
    _, large = Scene(2, Size(1280, 720)).render(4.0)
    agreement = np.mean(large[2::4, 2::4] == small)
    assert agreement > 0.93


def test_every_class_occurs_and_no_other_value():
    counts = sum(np.bincount(label.ravel(), minlength=256) for _, label in forty())
    assert (counts[: len(CAMVID)] > 0).all(), dict(zip(CAMVID.names, counts))
    assert counts[len(CAMVID) :].sum() == 0


def test_class_frequencies_resemble_a_street():
    counts = sum(np.bincount(label.ravel(), minlength=11) for _, label in forty())
    share = dict(zip(CAMVID.names, counts / counts.sum()))
    assert 0.22 < share["road"] < 0.45
    assert 0.15 < share["building"] < 0.38
    assert 0.10 < share["sky"] < 0.32
    for name, least in (("tree", 0.03), ("car", 0.02), ("pavement", 0.02), ("pole", 0.003), ("sign", 0.002)):
        assert least < share[name] < 0.2, (name, share[name])
    for name in ("fence", "pedestrian", "bicyclist"):
        assert share[name] > 0.0007, (name, share[name])


def test_sky_above_road_below():
    for _, label in forty():
        rows = np.arange(SMALL.height)[:, None] * np.ones((1, SMALL.width))
        assert rows[label == ROAD].mean() > 0.6 * SMALL.height
        if (label == SKY).any():
            assert rows[label == SKY].max() < 0.7 * SMALL.height


def test_streets_differ():
    means = np.array([image.mean(axis=(0, 1)) for image, _ in forty()])
    assert means.std(axis=0).min() > 10.0
    road_share = np.array([np.mean(label == ROAD) for _, label in forty()])
    assert road_share.std() > 0.02


def test_picture_and_label_are_registered():
    """Edges of the picture lie on edges of the label, and get weaker when the label is moved."""

    def contrast(shift: int) -> float:
        found = []
        for image, label in forty()[:12]:
            grey = image.astype(np.float32).mean(axis=2)
            step = np.abs(grey[:, 2:] - grey[:, :-2])[:, 10:-10]
            moved = np.roll(label, shift, axis=1)
            border = (moved[:, 2:] != moved[:, 1:-1]) | (moved[:, 1:-1] != moved[:, :-2])
            found.append(step[border[:, 10:-10]].mean())
        return float(np.mean(found))

    best = contrast(0)
    for shift in (-4, -2, 2, 4):
        assert contrast(shift) < 0.95 * best, shift


def test_sky_is_brighter_than_road():
    brighter = [
        image[label == SKY].mean() > image[label == ROAD].mean()
        for image, label in forty()
        if np.mean(label == SKY) > 0.02
    ]
    assert np.mean(brighter) > 0.85


def test_consecutive_frames_differ_a_little():
    scene = Scene(6, SMALL)
    (first, label), (second, later), (_, much_later) = (scene.render(t) for t in (20.0, 20.04, 24.0))
    assert 1.0 < np.abs(first.astype(int) - second).mean() < 30.0
    assert 0.85 < np.mean(label == later) < 1.0
    assert np.mean(label == much_later) < np.mean(label == later)


def test_time_runs_for_ten_minutes():
    scene = Scene(8, Size(160, 120))
    for time_s in (0.0, 60.0, 300.0, 601.0):
        _, label = scene.render(time_s)
        assert np.mean(label == ROAD) > 0.1
        assert len(np.unique(label)) >= 5


def test_camera_drives_forward_at_town_speed():
    for seed in range(10):
        scene = Scene(seed, SMALL)
        assert 6.0 < scene.camera(1.0).z_m - scene.camera(0.0).z_m < 10.0


def test_a_standing_thing_grows_and_sinks_as_it_comes_nearer():
    post = Post(x_m=3.0, z_m=30.0, height_m=3.0, half_m=0.1, bgr=(90.0, 90.0, 90.0), arm_m=0.0, plates=())
    foot, tall = [], []
    for driven_m in (0.0, 10.0, 20.0):
        camera = Camera(0.0, 1.5, driven_m, 200.0, 120.0, 90.0, 0.0, 0.0)
        canvas = Canvas(SMALL, (200.0, 200.0, 200.0), 0.003)
        post.draw(canvas, camera)
        rows, columns = np.nonzero(canvas.pixels[..., 3] == POLE)
        foot.append(int(rows.max()))
        tall.append(int(np.ptp(rows)))
        assert abs(columns.mean() - (120.0 + 200.0 * 3.0 / (30.0 - driven_m))) < 1.5
        assert abs(rows.max() - (90.0 + 200.0 * 1.5 / (30.0 - driven_m))) < 1.5
    assert foot == sorted(foot)
    assert tall[2] > 1.9 * tall[1] > 2.5 * tall[0]


def test_label_follows_the_picture():
    """Move the label by the picture's optical flow: that explains the next label better than no motion."""
    better = []
    for seed in (0, 2, 9, 14, 17, 21):
        scene = Scene(seed, SMALL)
        (first, label), (second, later) = scene.render(30.0), scene.render(30.2)
        grey = [cv2.cvtColor(i, cv2.COLOR_BGR2GRAY) for i in (first, second)]
        flow = cv2.calcOpticalFlowFarneback(grey[1], grey[0], None, 0.5, 4, 13, 5, 7, 1.5, 0)
        x, y = np.meshgrid(np.arange(SMALL.width), np.arange(SMALL.height))
        maps = (x + flow[..., 0]).astype(np.float32), (y + flow[..., 1]).astype(np.float32)
        moved = cv2.remap(label, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        inner = slice(20, -20), slice(30, -30)
        better.append(np.mean(moved[inner] == later[inner]) - np.mean(label[inner] == later[inner]))
    assert np.mean(better) > 0.005


def test_cars_and_people_stand_on_the_ground():
    for _, label in forty():
        height = SMALL.height
        for train_id in (CAR, PEDESTRIAN):
            rows = np.nonzero(label == train_id)[0]
            if len(rows) > 30:
                assert rows.max() > 0.42 * height
        assert not (label[-1] == BUILDING).all()


def test_dataset_is_what_it_says():
    data = SyntheticDataset("train", 3, SMALL, seed=4)
    assert data.uri == f"synthetic:?count=3&seed=4&size={SMALL}"
    assert (data.split, data.labels, len(data)) == ("train", CAMVID, 3)
    samples = list(data)
    assert [s.name for s in samples] == [f"synthetic-train-4-{i:06d}" for i in range(3)]
    assert np.array_equal(data[1].image, samples[1].image)
    assert not np.array_equal(samples[0].label, samples[1].label)
    with pytest.raises(IndexError):
        data[3]
    with pytest.raises(IndexError):
        data[-1]


def test_train_and_val_share_no_street():
    seeds = {}
    for split in ("train", "val"):
        sets = [SyntheticDataset(split, 500, SMALL, seed) for seed in (0, 1, 7)]
        seeds[split] = [data.scene_seed(i) for data in sets for i in range(500)]
        assert len(set(seeds[split])) == 1500
    assert not set(seeds["train"]) & set(seeds["val"])
    images = [SyntheticDataset(split, 1, SMALL)[0].image for split in ("train", "val")]
    assert not np.array_equal(*images)


@pytest.mark.parametrize("seed", [-1, 1.5, "7", True])
def test_bad_seed(seed):
    with pytest.raises(UsageError, match="whole number"):
        Scene(seed, SMALL)


@pytest.mark.parametrize("time_s", [-0.1, float("nan"), float("inf")])
def test_bad_time(time_s):
    with pytest.raises(UsageError, match="0 or above"):
        Scene(0, SMALL).render(time_s)


def test_bad_dataset_arguments():
    with pytest.raises(UsageError, match="did you mean 'train'"):
        SyntheticDataset("trian", 3, SMALL)
    with pytest.raises(DatasetError, match="count 0"):
        SyntheticDataset("val", 0, SMALL)
    with pytest.raises(DatasetError, match="0 or above"):
        SyntheticDataset("val", 1, SMALL, seed=-2)
