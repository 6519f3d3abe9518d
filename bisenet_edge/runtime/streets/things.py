"""What stands or moves in a street. Each thing knows its place and how to draw itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Protocol, Tuple

import numpy as np

from bisenet_edge.runtime.streets.camera import NEAR_M, Camera
from bisenet_edge.runtime.streets.canvas import BUILDING, POLE, ROAD, SIGN, Bgr, Canvas, Plane, Texture
from bisenet_edge.runtime.streets.cars import CarLook, car_shadow, draw_car


class Thing(Protocol):
    """Something on the street.

    `far_z_m` is the end farthest along the road (world metres): things are drawn in falling order of it.
    """

    @property
    def far_z_m(self) -> float: ...

    def shadow(self, canvas: Canvas, camera: Camera) -> None:
        """Draw what lies on the ground under it."""

    def draw(self, canvas: Canvas, camera: Camera) -> None:
        """Draw it."""


@dataclass(frozen=True)
class Building:
    """A house along the road: facade, side wall, roof.

    Attributes:
        side: -1 left of the road, 1 right.
        x_m: distance of the facade from the middle of the road.
        z_m, length_m: from where along the road, and how far.
        height_m, roof_m: height of the eaves, and of the ridge above them (0: flat).
        front, end: textures of the facade and of the side wall.
        front_gain, end_gain: light on either.
        roof_bgr: colour of the roof.
        sign: a board over the shop: texture and distance along the facade.
    """

    side: int
    x_m: float
    z_m: float
    length_m: float
    height_m: float
    roof_m: float
    front: Texture
    end: Texture
    front_gain: Bgr
    end_gain: Bgr
    roof_bgr: Bgr
    sign: Optional[Tuple[Texture, float]]

    @property
    def far_z_m(self) -> float:
        return self.z_m + self.length_m

    def shadow(self, canvas: Canvas, camera: Camera) -> None:
        return

    def draw(self, canvas: Canvas, camera: Camera) -> None:
        near, far = self.z_m - camera.z_m, self.far_z_m - camera.z_m
        x, deep = self.side * self.x_m, self.side * (self.x_m + 8.0)
        if near > NEAR_M * 1.5:
            wall = Plane(x, near, deep, near, 0.0, self.height_m)
            canvas.plane(camera, wall, self.end, self.end_gain, BUILDING)
        self._roof(canvas, camera, near, far)
        canvas.plane(
            camera, Plane(x, near, x, far, 0.0, self.height_m), self.front, self.front_gain, BUILDING
        )
        if self.sign and near + self.sign[1] > 2.0:
            at = near + self.sign[1]
            canvas.plane(
                camera, Plane(x, at, x - self.side * 0.9, at, 2.9, 3.7), self.sign[0], (1.0, 1.0, 1.0), SIGN
            )

    def _roof(self, canvas: Canvas, camera: Camera, near: float, far: float) -> None:
        if self.roof_m <= 0.0:
            return
        eave, ridge = self.side * (self.x_m - 0.25), self.side * (self.x_m + 4.0)
        top = self.height_m + self.roof_m
        a, b = max(near, NEAR_M), far
        gable = np.array(
            [
                [self.side * self.x_m, self.height_m, a],
                [ridge, top, a],
                [self.side * (self.x_m + 8.0), self.height_m, a],
            ]
        )
        slope = np.array(
            [[eave, self.height_m - 0.1, a], [ridge, top, a], [ridge, top, b], [eave, self.height_m - 0.1, b]]
        )
        depth = max(0.5 * (near + far), 1.0)
        if near > NEAR_M:
            wall = tuple(0.55 * (c + 60.0) * g for c, g in zip(self.roof_bgr, self.end_gain))
            canvas.polygon(camera.project(gable), (wall[0], wall[1], wall[2]), BUILDING, depth)
        gain = self.front_gain[0]
        tiles = (self.roof_bgr[0] * gain, self.roof_bgr[1] * gain, self.roof_bgr[2] * gain)
        canvas.polygon(camera.project(slope), tiles, BUILDING, depth)
        for along in (0.2, 0.8):  # chimneys
            z = near + along * self.length_m
            if z > 2.0:
                stack = np.array(
                    [
                        [ridge - 0.5, top - 0.4, z],
                        [ridge - 0.5, top + 1.1, z],
                        [ridge + 0.5, top + 1.1, z],
                        [ridge + 0.5, top - 0.4, z],
                    ]
                )
                canvas.polygon(
                    camera.project(stack), (70.0 * gain, 84.0 * gain, 112.0 * gain), BUILDING, depth
                )


@dataclass(frozen=True)
class Wall:
    """A fence or a hedge along the road (`x1_m` == `x0_m`) or across it."""

    x0_m: float
    x1_m: float
    z_m: float
    length_m: float
    height_m: float
    texture: Texture
    gain: Bgr
    train_id: int

    @property
    def far_z_m(self) -> float:
        return self.z_m + self.length_m

    def shadow(self, canvas: Canvas, camera: Camera) -> None:
        return

    def draw(self, canvas: Canvas, camera: Camera) -> None:
        near, far = self.z_m - camera.z_m, self.far_z_m - camera.z_m
        plane = Plane(self.x0_m, near, self.x1_m, far, 0.0, self.height_m)
        canvas.plane(camera, plane, self.texture, self.gain, self.train_id)


@dataclass(frozen=True)
class Billboard:
    """A flat figure that always faces the camera: a tree, a walker, a cyclist."""

    x_m: float
    z_m: float
    height_m: float
    texture: Texture
    gain: Bgr
    train_id: int
    shadow_m: float

    @property
    def far_z_m(self) -> float:
        return self.z_m

    def shadow(self, canvas: Canvas, camera: Camera) -> None:
        ahead = self.z_m - camera.z_m
        if not 2.0 < ahead < 40.0 or self.shadow_m <= 0:
            return
        r = self.shadow_m
        ring = ((-1, 0), (-0.7, 0.7), (0, 1), (0.7, 0.7), (1, 0), (0.7, -0.7), (0, -1), (-0.7, -0.7))
        points = np.array([[self.x_m + a * r, 0.0, ahead + 0.8 * b * r] for a, b in ring])
        canvas.shadow(camera.project(points), 0.4)

    def draw(self, canvas: Canvas, camera: Camera) -> None:
        ahead = self.z_m - camera.z_m
        if ahead < 2.2:
            return
        foot = camera.project(np.array([[self.x_m, 0.0, ahead]]))[0]
        table = canvas.lut(self.gain, self.train_id, ahead)
        canvas.sprite(self.texture, foot, self.height_m * camera.focal_px / ahead, table)


@dataclass(frozen=True)
class Post:
    """A pole, with what it carries: a lamp on an arm, plates, or nothing (a bollard).

    Attributes:
        arm_m: reach of the lamp's arm, towards the road; 0 = none.
        plates: texture, height of its lower edge and its own height, each.
    """

    x_m: float
    z_m: float
    height_m: float
    half_m: float
    bgr: Bgr
    arm_m: float
    plates: Tuple[Tuple[Texture, float, float], ...]

    @property
    def far_z_m(self) -> float:
        return self.z_m

    def shadow(self, canvas: Canvas, camera: Camera) -> None:
        return

    def draw(self, canvas: Canvas, camera: Camera) -> None:
        ahead = self.z_m - camera.z_m
        if ahead < 1.2:
            return
        # Never thinner than the eye, and CamVid's annotators, would draw it.
        half = max(self.half_m, 0.75 * ahead / camera.focal_px)
        self._upright(canvas, camera, ahead, half)
        x, top = self.x_m, self.height_m
        if self.arm_m:
            reach = x - np.sign(x) * self.arm_m
            arm = [
                [x, top - half, ahead],
                [x, top + half, ahead],
                [reach, top + 0.35 + half, ahead],
                [reach, top + 0.3 - half, ahead],
            ]
            canvas.polygon(camera.project(np.array(arm)), self.bgr, POLE, ahead)
            tip = reach - np.sign(x) * 0.6
            lamp = [
                [reach, top + 0.2, ahead],
                [reach, top + 0.42, ahead],
                [tip, top + 0.4, ahead],
                [tip, top + 0.22, ahead],
            ]
            canvas.polygon(camera.project(np.array(lamp)), (205, 212, 216), POLE, ahead)
        for texture, low, tall in self.plates:
            foot = camera.project(np.array([[x, low, ahead - 0.05]]))[0]
            table = canvas.lut((1.0, 1.0, 1.0), SIGN, ahead)
            canvas.sprite(texture, foot, tall * camera.focal_px / ahead, table)

    def _upright(self, canvas: Canvas, camera: Camera, ahead: float, half: float) -> None:
        x, top = self.x_m, self.height_m
        lit = ((-half, half, 0.75), (-half, -half * 0.1, 1.15))
        for left, right, gain in lit if ahead < 40.0 else lit[:1]:
            box = [
                [x + left, 0, ahead],
                [x + left, top, ahead],
                [x + right, top, ahead],
                [x + right, 0, ahead],
            ]
            ink = (self.bgr[0] * gain, self.bgr[1] * gain, self.bgr[2] * gain)
            canvas.polygon(camera.project(np.array(box)), ink, POLE, ahead)


@dataclass(frozen=True)
class Car:
    """A vehicle, parked or driving; `z_m` is its nearer end."""

    x_m: float
    z_m: float
    towards: bool
    look: CarLook

    @property
    def far_z_m(self) -> float:
        # Its nearer half decides: people step off the kerb beside a car, not inside it.
        return self.z_m + 0.5 * self.look.shape.length_m

    def shadow(self, canvas: Canvas, camera: Camera) -> None:
        if self.z_m - camera.z_m < 70.0:
            car_shadow(canvas, camera, self.look, (self.x_m, self.z_m - camera.z_m, self.towards))

    def draw(self, canvas: Canvas, camera: Camera) -> None:
        draw_car(canvas, camera, self.look, (self.x_m, self.z_m - camera.z_m, self.towards))


@dataclass(frozen=True)
class SideRoad:
    """A street that joins from one side: asphalt over pavement and verge."""

    side: int
    x_m: float
    z_m: float
    length_m: float
    bgr: Bgr

    @property
    def far_z_m(self) -> float:
        return self.z_m + self.length_m

    def shadow(self, canvas: Canvas, camera: Camera) -> None:
        near, far = self.z_m - camera.z_m, self.far_z_m - camera.z_m
        if far <= NEAR_M:
            return
        reach = self.side * (self.x_m + 40.0)
        kerb = self.side * self.x_m
        flare = 1.5
        corners = [[kerb, 0, near - flare], [kerb, 0, far + flare], [reach, 0, far], [reach, 0, near]]
        canvas.polygon(camera.project(np.array(corners)), self.bgr, ROAD, max(0.5 * (near + far), 1.0))

    def draw(self, canvas: Canvas, camera: Camera) -> None:
        return
