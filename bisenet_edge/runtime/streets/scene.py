"""One street and one drive along it."""

from __future__ import annotations

from typing import Tuple

import cv2
import numpy as np

from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.streets.camera import Camera
from bisenet_edge.runtime.streets.canvas import Canvas
from bisenet_edge.runtime.streets.ground import Ground
from bisenet_edge.runtime.streets.sky import Sky
from bisenet_edge.runtime.streets.style import generator, make_style
from bisenet_edge.runtime.streets.traffic import Traffic, own_lane_m
from bisenet_edge.runtime.streets.world import World

_FAR_M = 150.0
_BEHIND_M = 6.0


class Scene:
    """A street as the camera of a car sees it, with the 11 classes of CamVid.

    Every frame depends on the seed, the size and the time alone, so frames can be drawn in any order. One
    scene serves one thread: it draws all its frames on one canvas.

    Args:
        seed: which street, 0 or above.
        size: of the frames.

    Raises:
        UsageError: the seed is negative or not a whole number.
    """

    def __init__(self, seed: int, size: Size) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise UsageError(
                "a street needs a seed",
                got=repr(seed),
                expected="a whole number, 0 or above",
                fix="for example Scene(7, Size(640, 360))",
            )
        self.seed = int(seed)
        self.size = size
        style = make_style(self.seed)
        self._style = style
        self._canvas = Canvas(size, style.light.haze, style.light.haze_per_m)
        self._sky = Sky(self.seed, style, size)
        self._ground = Ground(self.seed, style)
        self._world = World(self.seed, style)
        self._traffic = Traffic(self.seed, style)
        self._exposure = self._exposure_table()
        self._noise = self._noise_sheet()

    def _exposure_table(self) -> np.ndarray:
        """The camera's response: gain per channel and a soft shoulder; uint8 [1, 256, 3]."""
        level = np.arange(256, dtype=np.float64)[:, None] / 255.0 * np.array(self._style.light.exposure)
        level = np.where(level > 0.8, 0.8 + 0.2 * np.tanh((level - 0.8) / 0.2), level)
        contrast = level + 0.12 * level * (level - 0.5) * np.clip(1.0 - level, 0, 1) * 4
        return np.clip(contrast * 255.0, 0, 255).astype(np.uint8)[None]

    def _noise_sheet(self) -> np.ndarray:
        """Sensor noise larger than the frame, of which each frame takes another part; int16 [H, W, 3]."""
        rng = generator(self.seed, 5)
        h, w = self.size.height + 64, self.size.width + 64
        tile = (rng.standard_normal((200, 200, 3), dtype=np.float32) * self._style.light.noise).astype(
            np.int16
        )
        return np.ascontiguousarray(np.tile(tile, (h // 200 + 1, w // 200 + 1, 1))[:h, :w])

    def camera(self, time_s: float) -> Camera:
        """Where the camera is after `time_s` seconds."""
        style = self._style
        z = style.speed_mps * time_s
        shake = np.sin(time_s * 7.1) + 0.6 * np.sin(time_s * 11.3 + 1.0)
        bend = style.bend_per_m + 0.0014 * np.sin(z / 90.0 + style.bend_phase)
        return Camera(
            x_m=own_lane_m(style) + 0.12 * float(np.sin(time_s * 0.4 + style.bend_phase)),
            height_m=style.camera_height_m,
            z_m=z,
            focal_px=0.5 * self.size.width / style.half_fov_tan,
            centre_px=0.5 * self.size.width,
            horizon_px=self.size.height * (style.horizon + 0.0016 * float(shake)),
            yaw=0.02 * float(np.sin(time_s * 0.33 + 2.0 * style.bend_phase)),
            bend_per_m=float(bend),
        )

    def render(self, time_s: float) -> Tuple[np.ndarray, np.ndarray]:
        """Draw the frame at a moment of the drive.

        Args:
            time_s: seconds since its start, 0 or above.

        Returns:
            the picture, uint8 [H, W, 3], BGR, and its label, uint8 [H, W], train ids 0..10. Both are new
            arrays: the caller may keep or change them.

        Raises:
            UsageError: the time is negative or not finite.
        """
        if not np.isfinite(time_s) or time_s < 0:
            raise UsageError("a drive starts at 0 s", got=repr(time_s), expected="seconds, 0 or above")
        camera, canvas = self.camera(float(time_s)), self._canvas
        pan = camera.focal_px * (camera.yaw + 0.5 * camera.bend_per_m * 120.0)
        self._sky.draw(canvas.pixels, camera.horizon_px, pan)
        self._ground.draw(canvas.pixels, camera)
        light = self._style.light
        self._ground.haze(canvas.pixels, camera, np.array(light.haze), light.haze_per_m)
        first, last = camera.z_m - _BEHIND_M, camera.z_m + _FAR_M
        things = self._world.between(first, last) + self._traffic.between(first, last, float(time_s))
        things.sort(key=lambda thing: -thing.far_z_m)
        for thing in things:
            thing.shadow(canvas, camera)
        for thing in things:
            thing.draw(canvas, camera)
        return self._develop(float(time_s)), cv2.extractChannel(canvas.pixels, 3)

    def _develop(self, time_s: float) -> np.ndarray:
        """Lens, exposure and sensor."""
        image = cv2.cvtColor(self._canvas.pixels, cv2.COLOR_BGRA2BGR)
        sigma = self._style.light.blur_px
        image = cv2.LUT(cv2.GaussianBlur(image, (3, 3), sigma), self._exposure)
        rng = generator(self.seed, 6, int(time_s * 1000.0))
        y, x = (int(v) for v in rng.integers(0, 64, 2))
        h, w = self.size.hw
        return cv2.add(image, self._noise[y : y + h, x : x + w], dtype=cv2.CV_8U)
