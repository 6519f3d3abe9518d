"""Procedural surfaces: noise, facades, fences, hedges. Made once per process and shared by all streets."""

from __future__ import annotations

from functools import lru_cache
from typing import Tuple

import cv2
import numpy as np

from bisenet_edge.runtime.streets.canvas import Texture
from bisenet_edge.runtime.streets.style import generator

_PX_PER_M = 22
_BAY_M = 3.0
_FLOOR_M = 3.1
FACADES = 24
"""How many facade designs there are; with widths, floors and tints, few houses look alike. With 2 to 6 floors
they take about 60 MB, and a street needs most of them."""
BAYS = 6
"""Windows side by side in a facade; narrower houses show the first few."""

_WALLS = (
    (74, 92, 142), (96, 120, 170), (60, 74, 118), (150, 176, 196), (205, 215, 222), (170, 190, 205),
    (128, 142, 150), (185, 190, 188), (110, 150, 185), (140, 140, 150), (150, 190, 215), (88, 100, 122),
)  # fmt: skip
_SHOPS = (
    (60, 110, 40),
    (130, 60, 30),
    (40, 40, 170),
    (50, 50, 55),
    (30, 120, 190),
    (110, 40, 90),
    (150, 120, 40),
)


@lru_cache(maxsize=None)
def noise(kind: str) -> np.ndarray:
    """Tileable noise, float32 [512, 512], mean 0, deviation 1: "grain", "patch" or "cloud"."""
    rng = generator(11, {"grain": 1, "patch": 2, "cloud": 3}[kind])
    total = np.zeros((512, 512), np.float32)
    first, weight = {"grain": (256, 0.75), "patch": (16, 0.7), "cloud": (4, 0.58)}[kind]
    cells, amplitude = first, 1.0
    while cells <= 512:
        tile = rng.normal(size=(cells, cells)).astype(np.float32)
        wide = np.pad(tile, ((2, 2), (2, 2)), mode="wrap")
        scale = 512 // cells
        big = cv2.resize(wide, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += amplitude * big[2 * scale : 2 * scale + 512, 2 * scale : 2 * scale + 512]
        cells, amplitude = cells * 2, amplitude * weight
    return (total - total.mean()) / total.std()


def opaque(bgr: np.ndarray) -> Texture:
    """A texture without holes from a float or uint8 [h, w, 3] picture."""
    h, w = bgr.shape[:2]
    pixels = np.full((h, w, 4), 255, np.uint8)
    pixels[..., :3] = np.clip(bgr, 0, 255)
    return Texture(pixels)


def _wall(rng: np.random.Generator, h: int, w: int, colour: np.ndarray) -> np.ndarray:
    """A wall of brick or render, streaked by rain: float32 [h, w, 3]."""
    wall = np.empty((h, w, 3), np.float32)
    wall[:] = colour
    coarse = cv2.resize(noise("patch"), (w, h), interpolation=cv2.INTER_LINEAR)
    wall *= (1.0 + 0.06 * coarse)[..., None]
    if rng.random() < 0.55:  # courses of brick
        rows = 1.0 - 0.12 * ((np.arange(h) % 4) == 0)
        wall *= rows[:, None, None].astype(np.float32)
        fine = noise("grain")[:, : min(512, w)]
        wall[: min(h, 512), : fine.shape[1]] *= (1.0 + 0.07 * fine[: min(h, 512)])[..., None]
    wall *= np.linspace(1.05, 0.93, h, dtype=np.float32)[:, None, None]
    return wall


def _window(wall: np.ndarray, box: Tuple[int, int, int, int], rng: np.random.Generator, look: int) -> None:
    """One window with frame, sill, glass that mirrors the sky, and sometimes a curtain."""
    x0, y0, x1, y1 = box
    frame = (225, 228, 230) if look % 3 else (60, 62, 70)
    cv2.rectangle(wall, (x0 - 2, y0 - 3), (x1 + 2, y1 + 2), frame, -1)
    glass = rng.uniform(0.5, 1.25)
    half = (y0 + y1) // 2
    cv2.rectangle(wall, (x0, y0), (x1, y1), (92 * glass, 78 * glass, 64 * glass), -1)
    sheen = np.array([[x0, y0], [x1, y0], [x0, half + 4]], np.int32)
    cv2.fillConvexPoly(wall, sheen, (150 * glass, 132 * glass, 112 * glass))
    if rng.random() < 0.3:
        cv2.rectangle(wall, (x0, y0), (x0 + (x1 - x0) // 3, y1), (170, 185, 190), -1)
    if look % 2:
        cv2.line(wall, (x0, half), (x1, half), frame, 1)
        cv2.line(wall, ((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1), frame, 1)
    cv2.rectangle(wall, (x0 - 3, y1 + 2), (x1 + 3, y1 + 4), (190, 195, 198), -1)
    cv2.line(wall, (x0 - 3, y1 + 5), (x1 + 3, y1 + 5), (55, 58, 62), 1)


def _shop(wall: np.ndarray, top: int, rng: np.random.Generator) -> None:
    """A shop front over the whole width: fascia, awning or not, panes, door."""
    h, w = wall.shape[:2]
    paint = np.array(_SHOPS[int(rng.integers(len(_SHOPS)))]) * rng.uniform(0.8, 1.3)
    colour = tuple(float(c) for c in paint)
    cv2.rectangle(wall, (0, top), (w, h), tuple(0.6 * c for c in colour), -1)
    cv2.rectangle(wall, (0, top), (w, top + 16), colour, -1)
    for x in range(int(rng.integers(6, 20)), w - 12, 5):  # lettering
        if rng.random() < 0.75:
            cv2.rectangle(wall, (x, top + 5), (x + 3, top + 11), (225, 235, 240), -1)
    pane = int(rng.integers(30, 56))
    for x in range(4, w - 8, pane):
        lit = rng.uniform(0.6, 1.6)
        right = min(x + pane - 4, w - 4)
        cv2.rectangle(wall, (x, top + 20), (right, h - 10), (70 * lit, 74 * lit, 76 * lit), -1)
        for _ in range(4):
            gx, gy = int(rng.integers(x, right)), int(rng.integers(top + 34, h - 12))
            cv2.rectangle(wall, (gx, gy), (min(gx + 9, right), h - 11), tuple(rng.uniform(40, 200, 3)), -1)
        cv2.line(wall, (x, top + 22), (right, top + 46), (150, 145, 140), 2)
    if rng.random() < 0.35:
        for x in range(0, w, 12):
            stripe = (230, 235, 238) if (x // 12) % 2 else colour
            cv2.rectangle(wall, (x, top + 16), (x + 11, top + 30), stripe, -1)


@lru_cache(maxsize=None)
def facade(design: int, floors: int) -> Texture:
    """The front of a house: BAYS windows wide, `floors` high, ground floor included."""
    bays = BAYS
    rng = generator(12, design)
    h, w = int(_PX_PER_M * _FLOOR_M * floors), int(_PX_PER_M * _BAY_M * bays)
    base = np.array(_WALLS[design % len(_WALLS)], np.float32) * rng.uniform(0.85, 1.1)
    wall = _wall(rng, h, w, base)
    look, shop, strip = int(rng.integers(6)), rng.random() < 0.4, rng.random() < 0.2
    tall, wide = rng.uniform(0.45, 0.62), rng.uniform(0.36, 0.6)
    pitch_x, pitch_y = w / bays, h / floors
    for floor in range(floors):
        top = int(pitch_y * (floor + 0.2))
        bottom = int(top + pitch_y * tall)
        if strip and floor < floors - 1:
            for bay in range(bays * 2):
                x = int(pitch_x * bay / 2)
                _window(wall, (x + 3, top, int(x + pitch_x / 2 - 3), bottom), rng, 0)
            continue
        for bay in range(bays):
            x0 = int(pitch_x * (bay + 0.5 - wide / 2))
            if floor == floors - 1 and bay == design % 3 and not shop:
                door = tuple(float(c) for c in rng.uniform(20, 150, 3))
                cv2.rectangle(wall, (x0, top), (x0 + 26, h), (205, 210, 212), -1)
                cv2.rectangle(wall, (x0 + 3, top + 4), (x0 + 23, h), door, -1)
                continue
            _window(wall, (x0, top, int(x0 + pitch_x * wide), bottom), rng, look)
        if look < 3:
            ledge = int(pitch_y * floor)
            cv2.rectangle(wall, (0, ledge), (w, ledge + 3), tuple(float(c) for c in base * 1.2), -1)
    if shop:
        _shop(wall, int(pitch_y * (floors - 1)) + 4, rng)
    wall[:4] = base * 0.7
    wall[:, :2] *= 0.75
    cv2.line(wall, (w - 5, 0), (w - 5, h), (70, 70, 72), 2)  # the rain pipe
    return opaque(wall)


@lru_cache(maxsize=16)
def gable(design: int) -> Texture:
    """A windowless side wall."""
    rng = generator(12, design)
    base = np.array(_WALLS[design % len(_WALLS)], np.float32) * rng.uniform(0.85, 1.1)
    wall = _wall(rng, 192, 192, base * 0.9)
    if design % 3 == 0:
        _window(wall, (70, 60, 96, 92), rng, 1)
    return opaque(wall)


@lru_cache(maxsize=64)
def fence(design: int, panels: int) -> Texture:
    """Panels of five metres of fence: slats, railings, a low brick wall or metal sheets."""
    rng = generator(13, design)
    h, w = 48, 192
    kind = design % 4
    wood = np.array(((70, 105, 140), (60, 62, 60), (80, 98, 140), (150, 150, 148))[kind]) * rng.uniform(
        0.8, 1.2
    )
    panel = np.empty((h, w, 3), np.float32)
    panel[:] = wood
    if kind == 0:
        for x in range(0, w, 6):
            panel[:, x : x + 6] *= rng.uniform(0.82, 1.15)
            panel[:, x] *= 0.5
        panel[8:10] *= 0.8
    elif kind == 1:
        panel[:] = (62, 80, 74)
        panel[:, ::6] = panel[:, 1::6] = 40.0 + 40.0 * (design % 3)
        panel[2:5] = panel[-8:-5] = 46.0
    elif kind == 2:
        panel[::5] *= 1.3
        panel[:6] = (170, 178, 182)
    else:
        panel[:, ::16] *= 0.6
        panel[:, 1::16] *= 1.25
    panel *= (1.0 + 0.07 * noise("grain")[:h, :w])[..., None]
    return opaque(np.tile(panel, (1, panels, 1)))


@lru_cache(maxsize=8)
def hedge(design: int) -> Texture:
    """Six metres of hedge with an uneven top."""
    rng = generator(14, design)
    h, w = 72, 256
    leaf = noise("patch")[:h, :w] * 0.16 + noise("grain")[100 : 100 + h, :w] * 0.2
    light = np.linspace(1.25, 0.6, h, dtype=np.float32)[:, None]
    pixels = np.full((h, w, 4), 255, np.uint8)
    base = np.array(((52, 96, 76), (48, 84, 70), (40, 78, 58))[design % 3], np.float32)
    pixels[..., :3] = np.clip(base * (light * (1.0 + leaf))[..., None], 0, 255)
    edge = 6 + 4 * cv2.GaussianBlur(rng.normal(size=(1, w)).astype(np.float32), (0, 0), 3)[0] * 3
    pixels[..., 3] = np.where(np.arange(h)[:, None] + leaf * 8 > edge, 255, 0)
    return Texture(pixels)
