"""Vehicles as small meshes: bands from bumper to bumper over the roof, and two sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

import numpy as np

from bisenet_edge.runtime.streets.camera import NEAR_M, Camera
from bisenet_edge.runtime.streets.canvas import CAR, Bgr, Canvas

Profile = Tuple[Tuple[float, float, float], ...]

# Outline over the roof, rear to front: along / length, height / height, half width / half width.
# Nine points, eight bands: bumper, tail, rear window, roof, windscreen, bonnet, grille, bumper.
_HATCH: Profile = (
    (0.0, 0.16, 0.9), (0.0, 0.40, 1.0), (0.02, 0.62, 0.98), (0.11, 0.96, 0.74), (0.5, 1.0, 0.74),
    (0.70, 0.64, 0.95), (0.96, 0.52, 0.92), (1.0, 0.36, 0.96), (1.0, 0.16, 0.9),
)  # fmt: skip
_SALOON: Profile = (
    (0.0, 0.16, 0.9), (0.0, 0.40, 1.0), (0.02, 0.62, 0.96), (0.29, 0.97, 0.72), (0.55, 1.0, 0.72),
    (0.71, 0.64, 0.94), (0.97, 0.53, 0.92), (1.0, 0.36, 0.96), (1.0, 0.16, 0.9),
)  # fmt: skip
_VAN: Profile = (
    (0.0, 0.14, 0.95), (0.0, 0.34, 1.0), (0.0, 0.52, 1.0), (0.01, 0.98, 0.93), (0.76, 1.0, 0.93),
    (0.87, 0.56, 0.98), (0.98, 0.46, 0.95), (1.0, 0.30, 0.97), (1.0, 0.14, 0.92),
)  # fmt: skip
_BUS: Profile = (
    (0.0, 0.10, 0.97), (0.0, 0.22, 1.0), (0.0, 0.55, 1.0), (0.0, 0.94, 0.98), (0.985, 1.0, 0.98),
    (1.0, 0.42, 1.0), (1.0, 0.36, 1.0), (1.0, 0.20, 1.0), (1.0, 0.10, 0.97),
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A kind of vehicle; metres."""

    length_m: float
    width_m: float
    height_m: float
    profile: Profile


SHAPES = (
    Shape(3.9, 1.7, 1.46, _HATCH),
    Shape(4.2, 1.76, 1.5, _HATCH),
    Shape(4.5, 1.78, 1.42, _SALOON),
    Shape(4.6, 1.86, 1.72, _HATCH),
    Shape(5.0, 1.95, 2.05, _VAN),
    Shape(9.5, 2.5, 3.1, _BUS),
)
PAINTS: Tuple[Bgr, ...] = (
    (190, 192, 195), (225, 228, 230), (50, 48, 46), (36, 34, 150), (120, 70, 36), (120, 122, 126),
    (60, 80, 50), (90, 62, 44), (70, 110, 140), (30, 40, 96), (160, 150, 120), (40, 120, 170),
)  # fmt: skip
_CIRCLE = np.stack([np.cos(np.arange(10) * 0.2 * np.pi), np.sin(np.arange(10) * 0.2 * np.pi)], 1)


def _tint(bgr: Bgr, gain: float, sheen: float = 0.0) -> Bgr:
    return (
        min(bgr[0] * gain + sheen, 255.0),
        min(bgr[1] * gain + sheen, 255.0),
        min(bgr[2] * gain + sheen, 255.0),
    )


@dataclass(frozen=True)
class CarLook:
    """One vehicle: what it is, how it is painted and how bright its two flanks are."""

    shape: Shape
    paint: Bgr
    braking: bool
    cargo: bool
    flank_gain: Tuple[float, float]


class _Drawing:
    """One vehicle on one frame."""

    def __init__(
        self, canvas: Canvas, camera: Camera, look: CarLook, place: Tuple[float, float, bool]
    ) -> None:
        self.canvas, self.camera, self.look = canvas, camera, look
        self.x_m, self.ahead_m, self.towards = place
        shape = look.shape
        self.scale = np.array([0.5 * shape.width_m, shape.height_m, shape.length_m])
        self.depth = max(self.ahead_m, 1.0)
        self.outline = np.array(shape.profile)
        left = self.outline[:, [2, 1, 0]] * (-1, 1, 1)
        both = self.pixels(np.concatenate([left, left * (-1, 1, 1)]))
        self.left_px, self.right_px = both[:9], both[9:]
        self.tall_px = camera.focal_px * shape.height_m / self.depth
        """Height on the screen: what would be smaller than a pixel or two is left out."""

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """From fractions (aside, up, along) to pixels; float [N, 3] to [N, 2]."""
        world = points * self.scale
        if self.towards:
            world[:, 0] *= -1
            world[:, 2] = self.scale[2] - world[:, 2]
        world[:, 0] += self.x_m
        world[:, 2] += self.ahead_m
        return self.camera.project(world)

    def fill(self, points: np.ndarray, bgr: Bgr) -> None:
        self.canvas.polygon(points, bgr, CAR, self.depth)

    def band(self, i: int, low: float, high: float, wide: float, shift: float = 0.0) -> np.ndarray:
        """Part of band `i`: `low` to `high` of its height, `wide` of its width, moved aside by `shift`."""
        a, b = self.left_px[i], self.left_px[i + 1]
        c, d = self.right_px[i], self.right_px[i + 1]
        l0, l1, r0, r1 = a + (b - a) * low, a + (b - a) * high, c + (d - c) * low, c + (d - c) * high
        s, e = 0.5 - 0.5 * wide + shift, 0.5 + 0.5 * wide + shift
        return np.array([l0 + (r0 - l0) * s, l1 + (r1 - l1) * s, l1 + (r1 - l1) * e, l0 + (r0 - l0) * e])

    def facing(self) -> List[bool]:
        """Which bands face the camera: one truth for each."""
        outline = self.outline * self.scale[[2, 1, 0]]
        step, start = outline[1:] - outline[:-1], outline[:-1]
        eye = self.scale[2] + self.ahead_m if self.towards else -self.ahead_m
        towards = step[:, 0] * (self.camera.height_m - start[:, 1]) - step[:, 1] * (eye - start[:, 0])
        return [bool(t > 0) for t in towards]

    def bands(self) -> None:
        paint = self.look.paint
        gain = {0: 0.5, 1: 0.82, 3: 1.12, 5: 1.1, 6: 0.85, 7: 0.5}
        order = range(8) if self.towards else range(7, -1, -1)
        seen = self.facing()
        for i in order:
            if not seen[i]:
                continue
            self.fill(self.band(i, 0, 1, 1), _tint(paint, gain.get(i, 0.9), 12.0 if i in (3, 5) else 0.0))
            if i in (2, 4):
                self.fill(self.band(i, 0.08, 0.9, 0.88), (74, 66, 58))
                if self.tall_px > 20.0:  # the sky in the upper half
                    self.fill(self.band(i, 0.5, 0.9, 0.86), (128, 116, 102))
        if self.tall_px < 12.0:
            return
        if seen[1]:
            lamp = (60.0, 60.0, 255.0) if self.look.braking else (36.0, 30.0, 150.0)
            for side in (-0.41, 0.41):
                self.fill(self.band(1, 0.45, 0.95, 0.17, side), lamp)
            self.fill(self.band(1, 0.1, 0.4, 0.3), (70, 190, 210))
            self.fill(self.band(0, 0.0, 0.3, 0.9), (24, 24, 26))
        if seen[6]:
            self.fill(self.band(6, 0.1, 0.7, 0.5), (30, 30, 32))
            for side in (-0.39, 0.39):
                self.fill(self.band(6, 0.1, 0.95, 0.2, side), (235, 242, 245))
            self.fill(self.band(7, 0.1, 0.45, 0.3), (220, 225, 228))
            self.fill(self.band(7, 0.6, 1.0, 0.8), (26, 26, 28))

    def tyres(self) -> None:
        """The wheels as seen from the end, under the bumper."""
        end = 1.0 if self.towards else 0.0
        for side in (-0.82, 0.82):
            box = [
                [side - 0.13, 0, end],
                [side - 0.13, 0.3, end],
                [side + 0.13, 0.3, end],
                [side + 0.13, 0, end],
            ]
            self.fill(self.pixels(np.array(box) * (1, 1, 0.86) + (0, 0, 0.07)), (22, 22, 24))

    def flank(self, right: bool) -> None:
        edge = self.right_px if right else self.left_px
        near, far = (8, 0) if self.towards else (0, 8)
        outwards = right != self.towards
        if (edge[far, 0] < edge[near, 0]) == outwards:
            return
        gain = self.look.flank_gain[int(outwards)]
        paint = self.look.paint
        sign = 1.0 if right else -1.0
        self.fill(edge[[0, 1, 2, 5, 6, 7, 8]], _tint(paint, 0.8 * gain))
        self.fill(edge[[2, 3, 4, 5]], _tint(paint, 0.9 * gain))
        glass = edge[[2, 3, 4, 5]] + (edge[[2, 3, 4, 5]].mean(0) - edge[[2, 3, 4, 5]]) * 0.16
        if self.look.shape.profile is _VAN and self.look.cargo:
            glass = glass[[1, 2]][[0, 1, 1, 0]] * 0.25 + glass[[3, 2, 2, 3]] * 0.75  # the cab only
        self.fill(glass, (70 * gain, 64 * gain, 58 * gain))
        if self.tall_px < 20.0:
            return
        mid = 0.5 * (glass[[0, 1]] + glass[[3, 2]])
        self.fill(
            np.array(
                [mid[0], mid[1], mid[1] + (glass[2] - mid[1]) * 0.1, mid[0] + (glass[3] - mid[0]) * 0.1]
            ),
            _tint(paint, 0.7 * gain),
        )
        if self.tall_px < 16.0:
            return
        sill = np.array([[sign, 0.2, 0.03], [sign, 0.3, 0.03], [sign, 0.3, 0.97], [sign, 0.2, 0.97]])
        self.fill(self.pixels(sill), _tint(paint, 0.5 * gain))
        self.wheels(sign)

    def wheels(self, sign: float) -> None:
        """Both wheels of a side: tyre, rim, hub; the inner rings are the outer one, shrunk."""
        radius = 0.31 if self.scale[1] < 2.5 else 0.48
        rings = np.full((20, 3), sign * 0.99)
        for i, along in enumerate((0.19, 0.81)):
            rings[10 * i : 10 * i + 10, 1] = (radius + radius * _CIRCLE[:, 1]) / self.scale[1]
            rings[10 * i : 10 * i + 10, 2] = along + radius * _CIRCLE[:, 0] / self.scale[2]
        outlines = self.pixels(rings)
        for ring in (outlines[:10], outlines[10:]):
            centre = ring.mean(0)
            self.fill(ring, (24, 24, 26))
            if self.tall_px > 24.0:
                self.fill(centre + (ring - centre) * 0.58, (150, 150, 152))
                self.fill(centre + (ring - centre) * 0.2, (60, 60, 62))


def draw_car(canvas: Canvas, camera: Camera, look: CarLook, place: Tuple[float, float, bool]) -> None:
    """Draw a vehicle.

    Args:
        place: road x of its middle, distance ahead of its nearer end (metres), and whether it faces us.
    """
    _, ahead_m, _ = place
    if ahead_m + look.shape.length_m < NEAR_M:
        return
    drawing = _Drawing(canvas, camera, look, place)
    columns = np.concatenate([drawing.left_px[:, 0], drawing.right_px[:, 0]])
    if columns.max() < 0 or columns.min() > canvas.width:
        return
    if drawing.tall_px > 12.0:
        drawing.tyres()
    drawing.flank(False)
    drawing.flank(True)
    drawing.bands()


def car_shadow(canvas: Canvas, camera: Camera, look: CarLook, place: Tuple[float, float, bool]) -> None:
    """The dark patch under a vehicle."""
    x, ahead, _ = place
    half, length = 0.56 * look.shape.width_m, look.shape.length_m
    if ahead + length < NEAR_M:
        return
    corners = ((-half, -0.2), (-half, length + 0.2), (half, length + 0.2), (half, -0.2))
    ground = np.array([[x + a, 0.0, ahead + b] for a, b in corners])
    canvas.shadow(camera.project(ground), 0.62)
