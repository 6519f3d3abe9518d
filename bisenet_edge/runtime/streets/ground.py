"""Road, pavements and verges: one strip of texture, repeated along the street, seen in perspective."""

from __future__ import annotations

from typing import List

import cv2
import numpy as np

from bisenet_edge.runtime.streets.camera import Camera
from bisenet_edge.runtime.streets.canvas import PAVEMENT, ROAD, TREE
from bisenet_edge.runtime.streets.style import Style, generator
from bisenet_edge.runtime.streets.textures import noise

_CELL_X_M, _CELL_Z_M = 0.04, 0.05
_COLUMNS, _ROWS = 800, 480
_PERIOD_M = _ROWS * _CELL_Z_M
_FARTHEST_M = 400.0
_SHRINK = (1, 4, 16)  # along the street, where the perspective squeezes most


class Ground:
    """The street's surface.

    The label is a channel of the texture. Neighbouring surfaces have neighbouring train ids (road 3, pavement
    4, grass 5), so that interpolating between them cannot make up a class that is not there.
    """

    def __init__(self, seed: int, style: Style) -> None:
        self._style = style
        rng = generator(seed, 2)
        self._x = (np.arange(_COLUMNS) - _COLUMNS / 2 + 0.5) * _CELL_X_M
        self._colour = np.empty((_ROWS, _COLUMNS, 3), np.float32)
        self._label = np.full(_COLUMNS, ROAD, np.uint8)
        self._surfaces(rng)
        self._markings(rng)
        self._sunlight(rng)
        self._levels = self._shrunk()

    def _surfaces(self, rng: np.random.Generator) -> None:
        """Asphalt, paving and grass: one colour per column, times one brightness per cell."""
        road, x = self._style.road, np.abs(self._x)
        kerb, beyond = x > road.half_m, x > road.half_m + road.pavement_m
        grassy = beyond & (road.verge == TREE)
        flags = np.array([0.97, 1.0, 1.02]) * rng.uniform(120, 178)
        profile = np.empty((_COLUMNS, 3), np.float32)
        profile[:] = np.array([1.03, 1.0, 0.985]) * road.asphalt
        # Tyres polish two tracks per lane.
        profile *= 1.0 + 0.03 * np.cos(2 * np.pi * self._x / (road.lane_m * 0.5))[:, None]
        profile[(x <= road.half_m) & (x > road.half_m - 0.22)] *= 0.78  # gutter
        profile[kerb] = flags
        profile[kerb & (x < road.half_m + 0.16)] = flags * 1.12
        profile[grassy] = np.array([58, 108, 92]) * rng.uniform(0.8, 1.2)
        self._label[kerb] = PAVEMENT
        self._label[grassy] = TREE
        texture = 1.0 + self._spread("patch", rng, np.where(grassy, 0.12, 0.045))
        texture += self._spread("grain", rng, np.where(grassy, 0.16, 0.065))
        # Joints between flagstones.
        paved = kerb & ~grassy
        across, along = int(rng.integers(12, 24)), int(rng.integers(10, 20))
        texture[::along] *= np.where(paved, 0.84, 1.0).astype(np.float32)
        texture[:, np.flatnonzero(paved)[::across]] *= 0.86
        cv2.multiply(cv2.merge([texture] * 3), np.broadcast_to(profile, self._colour.shape), self._colour)
        self._patches(rng)

    @staticmethod
    def _spread(kind: str, rng: np.random.Generator, amount: np.ndarray) -> np.ndarray:
        """Noise over the whole strip, `amount` (float [columns]) strong: float32 [rows, columns]."""
        sheet = noise(kind)
        first = int(rng.integers(512 - _ROWS))
        rows = sheet[first : first + _ROWS]
        return np.hstack([rows, rows[::-1, : _COLUMNS - 512]]) * amount.astype(np.float32)

    def _patches(self, rng: np.random.Generator) -> None:
        """Repairs, manholes and cracks."""
        half = self._style.road.half_m
        for _ in range(int(rng.integers(1, 5))):
            a, b = (
                int((v + _COLUMNS / 2 * _CELL_X_M) / _CELL_X_M)
                for v in np.sort(rng.uniform(-half, half - 0.5, 2))
            )
            z = int(rng.integers(0, _ROWS - 80))
            self._colour[z : z + int(rng.integers(20, 80)), a:b] *= rng.uniform(0.8, 1.12)
        for _ in range(2):
            at = (
                int(_COLUMNS / 2 + rng.uniform(-half, half) / _CELL_X_M * 0.8),
                int(rng.integers(20, _ROWS - 20)),
            )
            cv2.ellipse(self._colour, at, (8, 6), 0, 0, 360, (70, 72, 74), -1)
            cv2.ellipse(self._colour, at, (8, 6), 0, 0, 360, (90, 92, 94), 1)

    def _stripe(self, x_m: float, half_m: float, dash: slice, ink: tuple) -> None:
        columns = np.abs(self._x - x_m) < half_m
        part = self._colour[dash]
        part[:, columns] = part[:, columns] * 0.2 + np.array(ink, np.float32) * 0.8

    def _markings(self, rng: np.random.Generator) -> None:
        road = self._style.road
        white, yellow = (222, 226, 226), (60, 180, 214)
        middle = 0.5 * (road.parking_m[0] - road.parking_m[1])
        dash_count = int(rng.choice([3, 4, 6]))
        step = _ROWS // dash_count
        kind = rng.random()
        for i in range(dash_count):
            dash = slice(i * step, i * step + int(step * rng.uniform(0.45, 0.5)))
            if kind < 0.8:
                self._stripe(middle, 0.06, dash, white)
            if road.half_m > 5.5:
                for side in (-1, 1):
                    self._stripe(side * road.lane_m, 0.055, dash, white)
        if kind >= 0.8:
            self._stripe(middle, 0.07, slice(0, _ROWS), white)
        edge = rng.random()
        for side, parking in ((-1, road.parking_m[0]), (1, road.parking_m[1])):
            if parking:
                for z in range(0, _ROWS, _ROWS // 4):
                    self._stripe(side * (road.half_m - 1.0), 1.0, slice(z, z + 2), white)
            elif edge < 0.45:
                for gap in (0.3, 0.5):
                    self._stripe(side * (road.half_m - gap), 0.05, slice(0, _ROWS), yellow)

    def _sunlight(self, rng: np.random.Generator) -> None:
        """The houses on the sun's side throw their shadow on the street; its edge follows their roofs."""
        light, road = self._style.light, self._style.road
        self._colour *= 0.9 + 0.16 * light.sun
        if light.sun < 0.3:
            return
        reach = rng.uniform(-1.0, 1.3) * road.half_m
        steps = np.repeat(rng.uniform(-1.2, 1.2, 8), _ROWS // 8)
        dark = light.sun_side * self._x[None, :] > reach + steps[:, None]
        soft = cv2.blur(dark.astype(np.float32), (9, 9), borderType=cv2.BORDER_REFLECT)
        cool = np.array([0.62, 0.56, 0.53], np.float32)
        self._colour *= 1.0 - soft[..., None] * (1.0 - cool) * (0.5 + 0.5 * light.sun)

    def _shrunk(self) -> List[np.ndarray]:
        base = np.empty((_ROWS, _COLUMNS, 4), np.uint8)
        base[..., :3] = np.clip(self._colour, 0, 255)
        base[..., 3] = self._label
        del self._colour
        levels = []
        for shrink in _SHRINK:
            small = (
                cv2.resize(base, (_COLUMNS, _ROWS // shrink), interpolation=cv2.INTER_AREA)
                if shrink > 1
                else base
            )
            levels.append(np.vstack([small, small[:2]]))  # the first rows again: no seam where it repeats
        return levels

    def draw(self, pixels: np.ndarray, camera: Camera) -> None:
        """Fill a canvas (uint8 [H, W, 4]) below the horizon."""
        h, w = pixels.shape[:2]
        first = int(np.ceil(camera.horizon_px))
        if first >= h:
            return
        rows = np.arange(first, h) + 0.5
        ahead = np.minimum(camera.focal_px * camera.height_m / (rows - camera.horizon_px), _FARTHEST_M)
        step_m = ahead * ahead / (camera.focal_px * camera.height_m)
        level = np.searchsorted([3.0 * _CELL_Z_M, 12.0 * _CELL_Z_M], step_m)
        left = camera.x_m - (camera.yaw + 0.5 * camera.bend_per_m * ahead) * ahead
        scale = ahead / camera.focal_px
        start = (left - camera.centre_px * scale) / _CELL_X_M + _COLUMNS / 2 - 0.5
        columns = np.arange(w, dtype=np.float32) + 0.5
        map_x = np.multiply.outer((scale / _CELL_X_M).astype(np.float32), columns)
        map_x += start.astype(np.float32)[:, None]
        along = np.mod(ahead + camera.z_m, _PERIOD_M) / _CELL_Z_M
        for i, shrink in enumerate(_SHRINK):
            inside = np.flatnonzero(level == i)
            if not len(inside):
                continue
            a, b = int(inside[0]), int(inside[-1]) + 1
            row = (along[a:b] / shrink).astype(np.float32)
            map_y = np.repeat(row[:, None], w, axis=1)
            cv2.remap(
                self._levels[i], map_x[a:b], map_y, cv2.INTER_LINEAR, pixels[first + a : first + b],
                cv2.BORDER_REPLICATE,
            )  # fmt: skip

    def haze(self, pixels: np.ndarray, camera: Camera, haze: np.ndarray, haze_per_m: float) -> None:
        """Fade the far end of the ground into the air."""
        h = pixels.shape[0]
        first = int(np.ceil(camera.horizon_px))
        last = min(h, int(camera.horizon_px + camera.focal_px * camera.height_m / 12.0) + 1)
        if first >= last:
            return
        rows = np.arange(first, last) + 0.5
        ahead = np.minimum(camera.focal_px * camera.height_m / (rows - camera.horizon_px), _FARTHEST_M)
        a = (1.0 - np.exp(-haze_per_m * np.maximum(ahead - 4.0, 0.0))).astype(np.float32)[:, None, None]
        part = pixels[first:last, :, :3]
        part[:] = part * (1 - a) + haze.astype(np.float32) * a
