"""Trees, drawn once per process."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from bisenet_edge.runtime.streets.canvas import Texture
from bisenet_edge.runtime.streets.style import generator

TREES = 7
"""Designs per season."""
_W, _H = 224, 288

_LEAVES = (
    ((48, 110, 72), (40, 92, 62), (58, 120, 96)),  # summer
    ((60, 140, 110), (84, 150, 120), (70, 120, 80)),  # spring
    ((34, 96, 160), (40, 120, 172), (44, 84, 120)),  # autumn
    ((52, 66, 70), (50, 62, 76), (56, 66, 66)),  # winter
)


def _branch(
    pixels: np.ndarray, rng: np.random.Generator, start: np.ndarray, angle: float, length: float
) -> None:
    """Draw a limb and, on it, thinner ones."""
    end = start + length * np.array([np.sin(angle), -np.cos(angle)])
    thick = max(1, int(length / 9))
    tone = rng.uniform(0.8, 1.2)
    colour = (44 * tone, 54 * tone, 64 * tone, 255)
    cv2.line(pixels, tuple(int(v) for v in start), tuple(int(v) for v in end), colour, thick)
    if length < 9:
        return
    for turn in (-1, 1, 0):
        # Twigs strive upwards, or the tree becomes an umbrella.
        bend = 0.85 * angle + turn * rng.uniform(0.25, 0.55) + rng.normal(0, 0.12)
        _branch(pixels, rng, end, bend, length * rng.uniform(0.58, 0.8))


def _crown(pixels: np.ndarray, rng: np.random.Generator, season: int) -> None:
    """Blobs of leaves, lit from above left; a mirrored copy serves a sun on the right."""
    base = np.array(_LEAVES[season][int(rng.integers(3))], np.float64) * rng.uniform(0.85, 1.15)
    slim, centre_y = rng.uniform(0.72, 1.0), 0.40 * _H
    count = 620
    angle, radius = rng.uniform(0, 6.283, count), np.sqrt(rng.random(count))
    lumpy = 0.82 + 0.18 * np.sin(angle * 3 + rng.uniform(0, 6)) * np.cos(angle * 2)
    x = _W / 2 + 0.45 * _W * slim * lumpy * radius * np.cos(angle)
    y = centre_y + 0.36 * _H * lumpy * radius * np.sin(angle)
    light = 1.0 - 0.42 * (x - _W / 2) / _W - 0.75 * (y - centre_y) / _H
    depth = rng.random(count)
    order = np.argsort(depth + 0.35 * light)
    for i in order:
        tone = light[i] * (0.55 + 0.55 * depth[i]) * rng.uniform(0.85, 1.15)
        colour = np.minimum(base * tone + 14 * (tone > 1), 255)
        size = int(rng.integers(3, 10))
        cv2.circle(pixels, (int(x[i]), int(y[i])), size, (colour[0], colour[1], colour[2], 255), -1)
    # Leaves: small dots in and around the crown break the round outlines.
    spots = rng.normal(0, 1, (1800, 2)) * 4
    pick = rng.integers(0, count, 1800)
    for i, (dx, dy) in zip(pick, spots):
        tone = light[i] * rng.uniform(0.5, 1.45)
        colour = np.minimum(base * tone, 255)
        place = (int(x[i] + 2 * dx), int(y[i] + 2 * dy))
        cv2.circle(pixels, place, int(rng.integers(1, 3)), (colour[0], colour[1], colour[2], 255), -1)


@lru_cache(maxsize=None)
def tree(design: int, season: int, mirrored: bool) -> Texture:
    """A tree of about 7:9 width to height; seasons: 0 summer, 1 spring, 2 autumn, 3 winter (bare)."""
    rng = generator(21, design, season)
    leaf = _LEAVES[season][0]
    pixels = np.zeros((_H, _W, 4), np.uint8)
    pixels[..., :3] = tuple(int(0.8 * c) for c in leaf)  # no dark fringe where coverage ends
    evergreen = season == 3 and design % 3 == 0
    foot = np.array([_W / 2, _H - 1.0])
    _branch(pixels, rng, foot, rng.normal(0, 0.04), _H * (0.27 if season == 3 else 0.19))
    cv2.line(pixels, (_W // 2, _H), (_W // 2, int(_H * 0.72)), (46, 58, 70, 255), 9)
    cv2.line(pixels, (_W // 2 + 2, _H), (_W // 2 + 2, int(_H * 0.72)), (34, 42, 50, 255), 4)
    if season != 3 or evergreen:
        _crown(pixels, rng, 0 if evergreen else season)
    return Texture(np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels)
