"""Pedestrians and cyclists as sprites with a few phases of movement, drawn once per process."""

from __future__ import annotations

from functools import lru_cache
from typing import Tuple

import cv2
import numpy as np

from bisenet_edge.runtime.streets.canvas import Texture
from bisenet_edge.runtime.streets.style import generator

PEOPLE = 18
CYCLISTS = 12
"""Designs."""
PHASES = 6
PERSON_M = 1.85
CYCLIST_M = 1.9
_PX = 160  # pixels per metre while drawing; halved afterwards, which smooths the outlines

_SKIN = ((150, 180, 225), (120, 155, 205), (80, 110, 160), (50, 70, 105))
_CLOTH = (
    (40, 40, 44), (60, 50, 46), (110, 70, 40), (50, 50, 150), (200, 205, 210), (90, 100, 110), (60, 90, 60),
    (130, 110, 60), (60, 140, 200), (90, 60, 100),
)  # fmt: skip

Point = Tuple[float, float]


class _Sketch:
    """A sheet with metres as units: x from the middle, y up from the ground."""

    def __init__(self, width_m: float, height_m: float) -> None:
        self.pixels = np.zeros((int(height_m * _PX), int(width_m * _PX), 4), np.uint8)
        self.pixels[..., :3] = 60
        self._middle = width_m / 2
        self._top = height_m

    def _at(self, point: Point) -> Tuple[int, int]:
        return int((point[0] + self._middle) * _PX), int((self._top - point[1]) * _PX)

    def limb(self, a: Point, b: Point, width_m: float, colour: np.ndarray) -> None:
        ink = (float(colour[0]), float(colour[1]), float(colour[2]), 255.0)
        cv2.line(self.pixels, self._at(a), self._at(b), ink, max(1, int(width_m * _PX)))

    def blob(self, centre: Point, half: Point, colour: np.ndarray, ring: int = -1) -> None:
        ink = (float(colour[0]), float(colour[1]), float(colour[2]), 255.0)
        axes = (max(1, int(half[0] * _PX)), max(1, int(half[1] * _PX)))
        cv2.ellipse(self.pixels, self._at(centre), axes, 0, 0, 360, ink, ring)

    def patch(self, points: Tuple[Point, ...], colour: np.ndarray) -> None:
        ink = (float(colour[0]), float(colour[1]), float(colour[2]), 255.0)
        cv2.fillPoly(self.pixels, [np.array([self._at(p) for p in points], np.int32)], ink)

    def texture(self, mirrored: bool) -> Texture:
        """Shade from left to right and halve."""
        h, w = self.pixels.shape[:2]
        small = cv2.resize(self.pixels, (w // 2, h // 2), interpolation=cv2.INTER_AREA)
        shade = np.linspace(1.22, 0.74, w // 2, dtype=np.float32)[None, :, None]
        small[..., :3] = np.minimum(small[..., :3] * shade, 255)
        return Texture(np.ascontiguousarray(small[:, ::-1]) if mirrored else small)


def _pick(rng: np.random.Generator, table: Tuple[Tuple[int, int, int], ...]) -> np.ndarray:
    return np.array(table[int(rng.integers(len(table)))], np.float64) * rng.uniform(0.8, 1.2)


def _head(sheet: _Sketch, rng: np.random.Generator, at: Point, helmet: bool) -> None:
    skin, hair = _pick(rng, _SKIN), np.array([30, 40, 55]) * rng.uniform(0.4, 2.4)
    back = rng.random() < 0.5
    sheet.blob(at, (0.085, 0.115), hair if back else skin)
    sheet.blob((at[0], at[1] + 0.05), (0.095, 0.08), _pick(rng, _CLOTH) * 1.3 if helmet else hair)


@lru_cache(maxsize=None)
def pedestrian(design: int, phase: int, mirrored: bool) -> Texture:
    """A walker, PERSON_M high and half as wide; even designs are seen from the front or back.

    Odd ones are seen from the side.
    """
    rng = generator(31, design)
    coat, trousers, shoes = _pick(rng, _CLOTH), _pick(rng, _CLOTH) * 0.8, np.array([30.0, 30, 34])
    skin = _pick(rng, _SKIN)
    sheet = _Sketch(0.9, PERSON_M)
    swing = float(np.sin(2 * np.pi * phase / PHASES))
    reach = 0.26 if design % 2 else 0.05
    lift = 0.0 if design % 2 else 0.06
    wide = 0.15 if design % 2 else 0.21
    for side in (-1, 1):
        step = side * swing
        hip, foot = (0.06 * side, 0.9), (0.07 * side + reach * step, 0.06 + max(0.0, lift * step))
        knee = (0.5 * (hip[0] + foot[0]) + 0.03, 0.5)
        sheet.limb(hip, knee, 0.15, trousers * (1.0 if side > 0 else 0.8))
        sheet.limb(knee, foot, 0.12, trousers * (1.0 if side > 0 else 0.8))
        sheet.limb(foot, (foot[0] + (0.1 if design % 2 else 0.02), foot[1] - 0.02), 0.08, shoes)
    for side in (-1, 1):
        hand = (wide * 1.15 * side - 0.8 * reach * side * swing, 0.82 + 0.5 * lift * side * swing)
        sheet.limb((wide * 0.9 * side, 1.4), hand, 0.095, coat * 0.85)
        sheet.blob(hand, (0.045, 0.05), skin)
    long = 0.62 if design % 3 == 0 else 0.84
    sheet.patch(
        ((-wide, 1.46), (-0.07, 1.53), (0.07, 1.53), (wide, 1.46), (wide * 0.92, long), (-wide * 0.92, long)),
        coat,
    )
    sheet.patch(((0.0, 1.5), (0.02, 1.5), (0.02, long), (0.0, long)), coat * 0.6)
    if design % 4 == 1:
        sheet.blob((-0.2, 0.95), (0.1, 0.16), _pick(rng, _CLOTH))
    _head(sheet, rng, (0.02, 1.68), False)
    return sheet.texture(mirrored)


def _bicycle(sheet: _Sketch, turn: float, frame: np.ndarray) -> None:
    """Wheels and frame; `turn` 0 is seen from behind, 1 from the side."""
    rubber = np.array([28.0, 28, 30])
    back, front = -0.5 * turn, 0.5 * turn
    rise = 0.06 * (1 - turn)  # the wheel that is farther away stands higher
    for x, y in ((front, 0.34 + rise), (back, 0.34)):
        sheet.blob((x, y), (0.34 * turn + 0.03, 0.34), rubber, 8 if turn > 0.2 else -1)
    sheet.limb((back, 0.34), (0.0, 0.85), 0.05, frame)
    sheet.limb((0.0, 0.35), (front * 0.85, 0.85), 0.05, frame)
    sheet.limb((0.0, 0.84), (front * 0.85, 0.88), 0.05, frame)
    sheet.limb((front, 0.34), (front * 0.8, 1.02), 0.05, frame)


@lru_cache(maxsize=None)
def cyclist(design: int, phase: int, mirrored: bool) -> Texture:
    """A rider, CYCLIST_M high and as wide, seen from behind, obliquely or (design % 3 == 2) from the side."""
    rng = generator(32, design)
    turn = (0.05, 0.4, 0.95)[design % 3]
    coat, trousers, frame = _pick(rng, _CLOTH) * 1.2, _pick(rng, _CLOTH) * 0.9, _pick(rng, _CLOTH)
    rubber, skin = np.array([28.0, 28, 30]), _pick(rng, _SKIN)
    sheet = _Sketch(CYCLIST_M, CYCLIST_M)
    back, front = -0.5 * turn, 0.5 * turn
    _bicycle(sheet, turn, frame)
    wide = 0.1 + 0.12 * (1 - turn)
    sheet.limb((front * 0.8 - wide, 1.05), (front * 0.8 + wide, 1.05), 0.05, rubber)
    lean, hips = (front * 0.55, 1.42), (back * 0.35, 0.95)
    for side in (1, -1):
        turned = 2 * np.pi * phase / PHASES + (np.pi if side > 0 else 0)
        pedal = (
            0.16 * turn * float(np.cos(turned)) + 0.09 * side * (1 - turn),
            0.34 + 0.16 * float(np.sin(turned)),
        )
        knee = (
            0.5 * (hips[0] + pedal[0]) + 0.2 * turn + 0.06 * side * (1 - turn),
            0.5 * (hips[1] + pedal[1]) + 0.08,
        )
        tone = 1.0 if side < 0 else 0.75
        sheet.limb(hips, knee, 0.15, trousers * tone)
        sheet.limb(knee, pedal, 0.11, trousers * tone)
        sheet.limb(pedal, (pedal[0] + 0.08 * turn, pedal[1] - 0.03), 0.08, rubber)
    trunk = 0.13 + 0.08 * (1 - turn)
    sheet.patch(
        (
            (hips[0] - trunk * 0.8, hips[1] - 0.05),
            (lean[0] - trunk, lean[1]),
            (lean[0] + trunk * 0.8, lean[1] + 0.03),
            (hips[0] + trunk * 0.8, hips[1] - 0.05),
        ),
        coat,
    )
    for side in (-1, 1):
        shoulder = (lean[0] + side * trunk * 0.8, lean[1] - 0.03)
        grip = (front * 0.8 + side * wide, 1.07)
        elbow = (
            0.5 * (shoulder[0] + grip[0]) + 0.07 * side * (1 - turn),
            0.5 * (shoulder[1] + grip[1]) - 0.03,
        )
        sheet.limb(shoulder, elbow, 0.1, coat * 0.85)
        sheet.limb(elbow, grip, 0.09, coat * 0.8)
        sheet.blob(grip, (0.04, 0.04), skin)
    _head(sheet, rng, (lean[0] + 0.08 * turn, lean[1] + 0.2), rng.random() < 0.6)
    return sheet.texture(mirrored)
