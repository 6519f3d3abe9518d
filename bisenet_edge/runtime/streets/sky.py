"""The backdrop: sky with clouds, and what closes the view at the end of the street."""

from __future__ import annotations

import cv2
import numpy as np

from bisenet_edge.frame import Size
from bisenet_edge.runtime.streets.canvas import BUILDING, SKY, TREE
from bisenet_edge.runtime.streets.style import Style, generator
from bisenet_edge.runtime.streets.textures import noise

_MARGIN = 0.25  # of the width, on either side: room for bends


class Sky:
    """A picture wider than the frame, of which each frame shows a part."""

    def __init__(self, seed: int, style: Style, size: Size) -> None:
        rng = generator(seed, 1)
        self._margin = int(_MARGIN * size.width)
        self._rows = int(size.height * 0.72)
        w, h = size.width + 2 * self._margin, self._rows
        light = style.light
        down = np.linspace(0, 1, h // 2, dtype=np.float32)[:, None, None] ** 1.4
        zenith, horizon = np.array(light.zenith, np.float32), np.array(light.horizon, np.float32)
        small = zenith + (horizon - zenith) * down * np.ones((1, w // 2, 1), np.float32)
        self._add_clouds(small, rng, light.cloud)
        picture = np.zeros((h, w, 4), np.uint8)
        big = cv2.resize(
            np.clip(small, 0, 255).astype(np.uint8), (w, h), interpolation=cv2.INTER_LINEAR_EXACT
        )
        picture[..., :3] = big
        picture[..., 3] = SKY
        self._picture = picture
        self._skyline(rng, style, size)

    def _add_clouds(self, sky: np.ndarray, rng: np.random.Generator, cover: float) -> None:
        h, w = sky.shape[:2]
        dx, dy = rng.integers(0, 512, 2)
        field = np.roll(noise("cloud"), (int(dy), int(dx)), (0, 1))
        # Clouds near the horizon are seen edge-on: flatter and closer together.
        rows = (420 * (np.linspace(0, 1, h) ** 0.55)).astype(np.int32)
        field = cv2.resize(field[rows][:, :400], (w, h), interpolation=cv2.INTER_LINEAR)
        amount = np.clip((field + 2.2 * cover - 1.3) * 0.8, 0, 1)[..., None] * min(1.0, 0.25 + cover)
        shade = np.clip(1.0 - 0.16 * (field - 0.3), 0.7, 1.04)[..., None]
        bright = sky.max(axis=(0, 1)) * 0.5 + sky.max() * 0.55
        sky += (bright * shade - sky) * amount

    def _skyline(self, rng: np.random.Generator, style: Style, size: Size) -> None:
        """Distant roofs and trees, pale with haze, standing on the horizon."""
        picture = self._picture
        w, scale = picture.shape[1], size.width / 640.0
        self.horizon_row = int(self._rows * 0.92)
        haze = np.array(style.light.haze)
        x = 0
        while x < w:
            wide = int(rng.uniform(14, 60) * scale) + 2
            is_tree = rng.random() < 0.5
            tall = int(rng.uniform(6, 26) * scale) + 2
            base = np.array((60, 88, 72) if is_tree else (110, 118, 130)) * rng.uniform(0.8, 1.2)
            ink = tuple(float(c) for c in base * 0.55 + haze * 0.45)
            if is_tree:
                for _ in range(6):
                    at = (
                        int(x + rng.uniform(0, wide)),
                        int(self.horizon_row - 0.5 * tall * rng.uniform(0.6, 1.4)),
                    )
                    cv2.circle(picture, at, int(0.5 * tall) + 1, (*ink, TREE), -1)
            else:
                cv2.rectangle(
                    picture, (x, self.horizon_row - tall), (x + wide, self._rows), (*ink, BUILDING), -1
                )
            x += wide
        foot = tuple(float(c) for c in np.array((70, 92, 84)) * 0.55 + haze * 0.45)
        band = int(3 * scale) + 1
        cv2.rectangle(picture, (0, self.horizon_row - band), (w, self._rows), (*foot, TREE), -1)

    def draw(self, pixels: np.ndarray, horizon_px: float, pan_px: float) -> None:
        """Fill a canvas (uint8 [H, W, 4]) down to the horizon; `pan_px` moves the view to the right."""
        h, w = pixels.shape[:2]
        left = int(np.clip(self._margin - pan_px, 0, 2 * self._margin))
        offset = round(horizon_px) - self.horizon_row
        first, last = max(offset, 0), min(offset + self._rows, h)
        pixels[first:last] = self._picture[first - offset : last - offset, left : left + w]
        if first > 0:
            pixels[:first] = self._picture[0, left : left + w]
