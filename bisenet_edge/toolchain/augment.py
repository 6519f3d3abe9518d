"""Random scale, crop, mirror and light (section 4.1 of the paper), a pure function of a seed.

Nothing here keeps state: the same (seed, epoch, index) gives the same picture, which is what lets a
killed training run go on as if it had not been killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from bisenet_edge.dataset import Sample
from bisenet_edge.labels import IGNORE_INDEX
from bisenet_edge.toolchain.recipe import Recipe

PAD_VALUE = 128  # the mean, i.e. 0 after normalisation: what a convolution's own padding looks like


@dataclass(frozen=True)
class Augmented:
    """A training crop: image uint8 [h, w, 3] BGR, label uint8 [h, w] with 255 = ignored."""

    image: np.ndarray
    label: np.ndarray


def augment(sample: Sample, recipe: Recipe, rng: np.random.Generator) -> Augmented:
    """Scale, crop (padding where the picture is too small), mirror and vary the light."""
    height, width = recipe.crop_size.hw
    scale = float(
        rng.uniform(recipe.scale_min, recipe.scale_max) if recipe.scale_max else rng.choice(recipe.scales)
    )
    # The window of the source that becomes the crop; only that window is resized.
    window_h, window_w = round(height / scale), round(width / scale)
    source_h, source_w = sample.label.shape
    top = int(rng.integers(0, max(source_h - window_h, 0) + 1))
    left = int(rng.integers(0, max(source_w - window_w, 0) + 1))
    image = sample.image[top : top + window_h, left : left + window_w]
    label = sample.label[top : top + window_h, left : left + window_w]
    out_h = min(height, round(image.shape[0] * scale))
    out_w = min(width, round(image.shape[1] * scale))
    image = cv2.resize(image, (out_w, out_h), interpolation=cv2.INTER_LINEAR)
    label = cv2.resize(label, (out_w, out_h), interpolation=cv2.INTER_NEAREST_EXACT)
    if (out_h, out_w) != (height, width):
        image, label = _pad(image, label, (height, width), rng)
    if recipe.flip and rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    if recipe.jitter > 0:
        image = _vary_light(image, recipe.jitter, rng)
    return Augmented(np.ascontiguousarray(image), np.ascontiguousarray(label))


def batches(samples: Sequence[Sample], recipe: Recipe, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Augmented batches of one epoch: images uint8 [N, H, W, 3], labels uint8 [N, H, W].

    The last batch is filled up from the start of the order, so that all are of one size. The next
    batch is made in a second thread while the network works on this one.
    """
    order = np.random.default_rng([recipe.seed, epoch]).permutation(len(samples))
    starts = range(0, len(order), recipe.batch)

    def make(start: int) -> tuple[np.ndarray, np.ndarray]:
        positions = range(start, start + recipe.batch)
        made = [
            augment(samples[order[p % len(order)]], recipe, np.random.default_rng([recipe.seed, epoch, p]))
            for p in positions
        ]
        return np.stack([m.image for m in made]), np.stack([m.label for m in made])

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(make, starts[0])
        for following in [*starts[1:], None]:
            ready = pending.result()
            if following is not None:
                pending = pool.submit(make, following)
            yield ready


def _pad(
    image: np.ndarray, label: np.ndarray, hw: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    top = int(rng.integers(0, hw[0] - image.shape[0] + 1))
    left = int(rng.integers(0, hw[1] - image.shape[1] + 1))
    sides = (top, hw[0] - image.shape[0] - top, left, hw[1] - image.shape[1] - left)
    padded = cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=(PAD_VALUE,) * 3)
    return padded, cv2.copyMakeBorder(label, *sides, cv2.BORDER_CONSTANT, value=(IGNORE_INDEX,))


def _vary_light(image: np.ndarray, jitter: float, rng: np.random.Generator) -> np.ndarray:
    contrast, brightness = rng.uniform(1 - jitter, 1 + jitter, 2)
    table = (np.arange(256) - PAD_VALUE) * contrast * brightness + PAD_VALUE * brightness
    return np.asarray(cv2.LUT(image, np.clip(table, 0, 255).round().astype(np.uint8)))
