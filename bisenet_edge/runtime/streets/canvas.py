"""Drawing into picture and label at once.

The canvas has four channels: blue, green, red and the train id. One call to OpenCV draws both, without
anti-aliasing, so that the label cannot be off by a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Tuple

import cv2
import numpy as np

from bisenet_edge.frame import Size
from bisenet_edge.runtime.streets.camera import NEAR_M, Camera

Bgr = Tuple[float, float, float]

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

HAZE_STEPS = 24
_LUT_LIMIT = 3000
_SHIFT = 4  # fixed-point bits of polygon corners: things move smoothly, not by whole pixels


class Texture:
    """A picture with coverage, and smaller copies of it for the distance.

    Attributes:
        levels: uint8 [h, w, 4] each, half the size of the one before; B, G, R, coverage (0 or 255).
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.levels: List[np.ndarray] = [pixels]
        while min(self.levels[-1].shape[:2]) >= 8 and len(self.levels) < 6:
            h, w = self.levels[-1].shape[:2]
            self.levels.append(cv2.resize(self.levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))

    def first(self, share: float) -> Texture:
        """The left part of it, `share` (0..1) of its width; no copy."""
        part = Texture.__new__(Texture)
        part.levels = [level[:, : max(1, round(level.shape[1] * share))] for level in self.levels]
        return part

    def level_for(self, minification: float) -> np.ndarray:
        """The copy to draw from when `minification` pixels of the original fall on one of the screen."""
        index = int(math.log2(max(minification, 1.0)) + 0.35)
        return self.levels[min(index, len(self.levels) - 1)]


@dataclass(frozen=True)
class Plane:
    """An upright rectangle from (x0, z0) to (x1, z1), y0 to y1; metres, z ahead of the camera."""

    x0_m: float
    z0_m: float
    x1_m: float
    z1_m: float
    bottom_m: float
    top_m: float


class Canvas:
    """One frame being drawn, far things first.

    Attributes:
        pixels: uint8 [H, W, 4]: B, G, R, train id.
    """

    def __init__(self, size: Size, haze: Bgr, haze_per_m: float) -> None:
        self.width, self.height = size.width, size.height
        self.pixels = np.zeros((size.height, size.width, 4), np.uint8)
        self._haze = haze
        self._haze_per_m = haze_per_m
        self._luts: Dict[Tuple[Bgr, int, int], np.ndarray] = {}

    def _haze_step(self, ahead_m: float) -> int:
        return int(HAZE_STEPS * (1.0 - math.exp(-self._haze_per_m * max(ahead_m - 4.0, 0.0))))

    def colour(self, bgr: Bgr, train_id: int, ahead_m: float) -> Tuple[float, float, float, float]:
        """`bgr` as seen through `ahead_m` of air, with the label."""
        clear = math.exp(-self._haze_per_m * max(ahead_m - 4.0, 0.0))
        a, haze = 1.0 - clear, self._haze
        return (
            min(255.0, bgr[0] * clear + haze[0] * a),
            min(255.0, bgr[1] * clear + haze[1] * a),
            min(255.0, bgr[2] * clear + haze[2] * a),
            float(train_id),
        )

    def polygon(self, points: np.ndarray, bgr: Bgr, train_id: int, ahead_m: float) -> None:
        """Fill a convex polygon; points float [N, 2] in pixels."""
        corners = (points * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(self.pixels, corners, self.colour(bgr, train_id, ahead_m), cv2.LINE_8, _SHIFT)

    def lut(self, gain: Bgr, train_id: int, ahead_m: float) -> np.ndarray:
        """Light, haze and label as one table: uint8 [1, 256, 4]; coverage becomes the train id."""
        step = self._haze_step(ahead_m)
        key = (gain, train_id, step)
        table = self._luts.get(key)
        if table is None:
            a = step / HAZE_STEPS
            ramp = np.arange(256, dtype=np.float32)[:, None] * (np.asarray(gain, np.float32) * (1 - a))
            table = np.full((1, 256, 4), train_id, np.uint8)
            table[0, :, :3] = np.clip(ramp + np.asarray(self._haze, np.float32) * a, 0, 255)
            if len(self._luts) >= _LUT_LIMIT:
                self._luts.clear()
            self._luts[key] = table
        return table

    def _window(self, low: np.ndarray, high: np.ndarray) -> Tuple[int, int, int, int]:
        """The part of the frame between two corners: left, top, right, bottom; empty if right <= left."""
        left, top = max(int(low[0]), 0), max(int(low[1]), 0)
        return left, top, min(int(high[0]) + 2, self.width), min(int(high[1]) + 2, self.height)

    def _stamp(self, patch: np.ndarray, table: np.ndarray, left: int, top: int) -> None:
        _, mask = cv2.threshold(cv2.extractChannel(patch, 3), 127, 255, cv2.THRESH_BINARY)
        h, w = mask.shape
        cv2.copyTo(cv2.LUT(patch, table), mask, self.pixels[top : top + h, left : left + w])

    def plane(self, camera: Camera, plane: Plane, texture: Texture, gain: Bgr, train_id: int) -> None:
        """Draw a texture on an upright plane (a facade, a fence, a hedge, a board)."""
        near, far = plane.z0_m, plane.z1_m
        if max(near, far) <= NEAR_M * 1.5:
            return
        a, b = camera.aside_m(plane.x0_m, near), camera.aside_m(plane.x1_m, far)
        # Texture position (s, t) in 0..1 to homogeneous pixels: exact perspective, also behind the lens.
        f, cx, hy = camera.focal_px, camera.centre_px, camera.horizon_px
        to_pixels = np.array(
            [
                [cx * (far - near) + f * (b - a), 0.0, cx * near + f * a],
                [
                    hy * (far - near),
                    f * (plane.top_m - plane.bottom_m),
                    hy * near + f * (camera.height_m - plane.top_m),
                ],
                [far - near, 0.0, near],
            ]
        )
        first = 0.0 if near >= NEAR_M else (NEAR_M - near) / (far - near)
        corners = np.array([[first, 1, 1, first], [0, 0, 1, 1], [1, 1, 1, 1]], np.float64)
        flat = to_pixels @ corners
        points = (flat[:2] / flat[2]).T
        left, top, right, bottom = self._window(points.min(0), points.max(0))
        if right <= left or bottom <= top:
            return
        nearest = max(min(near, far), 2.0)
        texels_per_m = texture.levels[0].shape[0] / (plane.top_m - plane.bottom_m)
        level = texture.level_for(texels_per_m * nearest * 1.25 / f)
        h, w = level.shape[:2]
        shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
        matrix = shift @ to_pixels @ np.diag([1.0 / w, 1.0 / h, 1.0])
        patch = cv2.warpPerspective(level, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        self._stamp(patch, self.lut(gain, train_id, 0.5 * (nearest + far)), left, top)

    def sprite(self, texture: Texture, foot: np.ndarray, height_px: float, table: np.ndarray) -> None:
        """Draw a texture facing the camera.

        Args:
            texture: what to draw.
            foot: float [2]: pixel of the middle of its lower edge.
            height_px: its height on the screen.
            table: from `lut`.
        """
        h0, w0 = texture.levels[0].shape[:2]
        width_px = height_px * w0 / h0
        low = np.array([foot[0] - 0.5 * width_px, foot[1] - height_px])
        left, top, right, bottom = self._window(low, np.array([foot[0] + 0.5 * width_px, foot[1]]))
        if right <= left or bottom <= top or height_px < 1.5:
            return
        level = texture.level_for(h0 / height_px)
        scale = height_px / level.shape[0]
        matrix = np.array(
            [
                [width_px / level.shape[1], 0, low[0] - left],
                [0, scale, low[1] - top],
            ]
        )
        patch = cv2.warpAffine(level, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        self._stamp(patch, table, left, top)

    def shadow(self, points: np.ndarray, strength: float) -> None:
        """Darken the picture, not the label, inside a convex polygon: float [N, 2] pixels."""
        left, top, right, bottom = self._window(points.min(0), points.max(0))
        if right <= left or bottom <= top:
            return
        window = self.pixels[top:bottom, left:right]
        mask = np.zeros(window.shape[:2], np.uint8)
        corners = ((points - (left, top)) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(mask, corners, 255, cv2.LINE_8, _SHIFT)
        table = np.empty((1, 256, 4), np.uint8)
        table[0] = np.arange(256)[:, None]
        table[0, :, :3] = (np.arange(256) * (1.0 - strength))[:, None]
        cv2.copyTo(cv2.LUT(window, table), mask, window)
