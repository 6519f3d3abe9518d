"""What stands along the street: generated chunk by chunk, so that a drive has no end."""

from __future__ import annotations

from typing import Dict, List, Tuple

import numpy as np

from bisenet_edge.runtime.streets import foliage, plates, textures
from bisenet_edge.runtime.streets.canvas import FENCE, TREE, Bgr
from bisenet_edge.runtime.streets.cars import PAINTS, SHAPES, CarLook
from bisenet_edge.runtime.streets.style import Style, generator
from bisenet_edge.runtime.streets.things import Billboard, Building, Car, Post, SideRoad, Thing, Wall

CHUNK_M = 60.0
_KEPT_CHUNKS = 12
_LAST_MARGIN_M = 20.0  # a house counts when most of it is within sight
_ROOFS = ((62, 66, 78), (58, 70, 116), (72, 72, 76), (50, 60, 92))


def _tint(rng: np.random.Generator, gain: float, spread: float) -> Bgr:
    values = np.round(gain * (1.0 + rng.uniform(-spread, spread, 3)), 2)
    return float(values[0]), float(values[1]), float(values[2])


def car_look(rng: np.random.Generator, style: Style, buses: float) -> CarLook:
    """Draw a vehicle: its kind, paint and the light on its flanks."""
    kind = len(SHAPES) - 1 if rng.random() < buses else int(rng.integers(len(SHAPES) - 1))
    paint = np.array(PAINTS[int(rng.integers(len(PAINTS)))]) * rng.uniform(0.85, 1.15)
    light = style.light
    return CarLook(
        shape=SHAPES[kind],
        paint=(float(paint[0]), float(paint[1]), float(paint[2])),
        braking=bool(rng.random() < 0.35),
        cargo=bool(rng.random() < 0.5),
        # The left flank looks left: it is lit like a facade on the right.
        flank_gain=(light.side_gain(1), light.side_gain(-1)),
    )


class World:
    """Static things of one street."""

    def __init__(self, seed: int, style: Style) -> None:
        self._seed = seed
        self._style = style
        self._chunks: Dict[int, List[Thing]] = {}

    def between(self, first_m: float, last_m: float) -> List[Thing]:
        """Everything that stands, at least in part, in a stretch of the street."""
        things: List[Thing] = []
        # Nothing reaches beyond its chunk.
        for chunk in range(int(first_m // CHUNK_M), int(last_m // CHUNK_M) + 1):
            things.extend(self._chunk(chunk))
        return [t for t in things if first_m < t.far_z_m < last_m + _LAST_MARGIN_M]

    def _chunk(self, index: int) -> List[Thing]:
        found = self._chunks.get(index)
        if found is None:
            found = []
            for side in (-1, 1):
                # Chunk -1 lies behind the start; keys must not be negative.
                found.extend(
                    _Side(generator(self._seed, 3, index + 8, side + 1), self._style, side).build(index)
                )
            if len(self._chunks) >= _KEPT_CHUNKS:
                del self._chunks[min(self._chunks)]
            self._chunks[index] = found
        return found


class _Side:
    """One side of one chunk."""

    def __init__(self, rng: np.random.Generator, style: Style, side: int) -> None:
        self.rng, self.style, self.side = rng, style, side
        road = style.road
        self.kerb = road.half_m
        self.line = road.half_m + road.pavement_m + road.setback_m[0 if side < 0 else 1]
        self.gain = style.light.side_gain(side)
        self.things: List[Thing] = []
        self.junctions: List[Tuple[float, float]] = []

    def build(self, index: int) -> List[Thing]:
        z, end = index * CHUNK_M, (index + 1) * CHUNK_M
        while z < end - 4.0:
            width = min(float(self.rng.uniform(6.0, 19.0)), end - z)
            pick = self.rng.random()
            if pick < 0.06 and end - z > 12.0:
                width = self._junction(z)
            elif pick < 0.06 + self.style.gap:
                self._garden(z, width)
            else:
                self._house(z, width)
            z += width
        self._furniture(index * CHUNK_M)
        self._parked(index * CHUNK_M)
        return self.things

    def _house(self, z: float, width: float) -> None:
        rng, style = self.rng, self.style
        floors = int(rng.integers(style.floors[0], style.floors[1] + 1)) + 1
        design = int(rng.integers(textures.FACADES))
        pitched = rng.random() < 0.6 and floors < 5
        tint = _tint(rng, self.gain, 0.06)
        board = None
        if style.road.setback_m[0 if self.side < 0 else 1] == 0 and rng.random() < 0.6:
            board = (plates.sign(int(rng.choice([4, 6, 7]))), float(rng.uniform(1.0, width - 1.0)))
        roof = _ROOFS[int(rng.integers(len(_ROOFS)))]
        back = float(rng.uniform(0.0, 0.5)) if rng.random() < 0.5 else 0.0
        self.things.append(
            Building(
                side=self.side,
                x_m=self.line + back,
                z_m=z,
                length_m=width,
                height_m=3.1 * floors + float(rng.uniform(0.0, 0.8)),
                roof_m=float(rng.uniform(1.8, 3.2)) if pitched else 0.0,
                front=textures.facade(design, floors).first(max(1, round(width / 3.0)) / textures.BAYS),
                end=textures.gable(design % textures.FACADES % 12),
                front_gain=tint,
                end_gain=_tint(rng, 0.72 + 0.1 * style.light.sun, 0.04),
                roof_bgr=(float(roof[0]), float(roof[1]), float(roof[2])),
                sign=board,
            )
        )
        if self.line - self.kerb > style.road.pavement_m + 1.0:
            self._boundary(z, width)

    def _boundary(self, z: float, width: float) -> None:
        """What separates a garden from the pavement."""
        rng, x = self.rng, self.side * (self.kerb + self.style.road.pavement_m + 0.1)
        if rng.random() < self.style.fences:
            texture = textures.fence(int(rng.integers(12)), max(1, round(width / 5.0)))
            self.things.append(
                Wall(
                    x, x, z, width, float(rng.uniform(0.8, 1.9)), texture, _tint(rng, self.gain, 0.05), FENCE
                )
            )
        elif rng.random() < 0.7:
            texture = textures.hedge(int(rng.integers(6)))
            self.things.append(
                Wall(x, x, z, width, float(rng.uniform(0.9, 2.2)), texture, _tint(rng, self.gain, 0.05), TREE)
            )

    def _garden(self, z: float, width: float) -> None:
        """A gap between houses: trees, and a fence or a hedge in front of them."""
        rng = self.rng
        for _ in range(int(rng.integers(2, 6))):
            self._tree(float(self.line + rng.uniform(2.5, 12.0)), float(z + rng.uniform(0, width)), 1.25)
        x = self.side * (self.line + 14.0)
        texture = textures.hedge(int(rng.integers(6)))
        self.things.append(Wall(x, x, z, width, 4.0, texture, _tint(rng, 0.75 * self.gain, 0.05), TREE))
        self._boundary(z, width)

    def _junction(self, z: float) -> float:
        width = float(self.rng.uniform(7.0, 10.0))
        # Lit like the main road (ground.py), and mostly out of the sun.
        grey = self.style.road.asphalt * (0.86 + 0.1 * self.style.light.sun)
        self.things.append(
            SideRoad(self.side, self.kerb - 0.05, z + 1.0, width - 2.0, (grey * 1.02, grey, grey * 0.98))
        )
        self.junctions.append((z - 6.0, z + width + 6.0))
        x = self.side * (self.kerb + 0.5)
        if self.rng.random() < 0.6:
            heads = ((plates.traffic_light(int(self.rng.integers(3))), 2.3, 1.0),)
            self.things.append(Post(x, z - 1.0, 3.3, 0.06, (70, 72, 74), 0.0, heads))
        return width

    def _tree(self, x: float, z: float, size: float) -> None:
        rng, style = self.rng, self.style
        texture = foliage.tree(int(rng.integers(foliage.TREES)), style.season, style.light.sun_side > 0)
        tint = _tint(rng, 0.85 + 0.2 * style.light.sun, 0.1)
        height = float(rng.uniform(5.0, 9.5)) * size
        self.things.append(Billboard(self.side * x, z, height, texture, tint, TREE, 0.0))

    def _furniture(self, start: float) -> None:
        """Lamps, signs, bollards, street trees."""
        rng, style = self.rng, self.style
        x = self.side * (self.kerb + 0.45)
        for z in np.arange(start + 6.0 + 15.0 * (self.side > 0), start + CHUNK_M, 30.0):
            if rng.random() < style.street_furniture:
                high = float(rng.uniform(5.5, 8.5))
                self.things.append(Post(x, float(z), high, 0.1, (92, 96, 98), 1.4, ()))
        for _ in range(int(rng.poisson(5.0 * style.street_furniture))):
            z = float(start + rng.uniform(0, CHUNK_M))
            metal = plates.sign(int(rng.integers(plates.SIGNS)))
            size = float(rng.uniform(0.75, 1.2))
            carried = [(metal, 2.1, size)]
            if rng.random() < 0.25:
                carried.append((plates.sign(4), 2.1 - 0.5, 0.45))
            self.things.append(Post(x, z, 2.15 + size, 0.055, (120, 122, 124), 0.0, tuple(carried)))
        if rng.random() < 0.3 * style.street_furniture:
            first = float(start + rng.uniform(0, 40))
            for i in range(int(rng.integers(3, 8))):
                self.things.append(Post(x, first + 1.8 * i, 1.0, 0.09, (52, 54, 58), 0.0, ()))
        if rng.random() < 0.25 * style.fences:
            z = float(start + rng.uniform(0, 30))
            texture = textures.fence(1, 3)
            self.things.append(
                Wall(x, x, z, float(rng.uniform(8, 24)), 1.1, texture, _tint(rng, self.gain, 0.05), FENCE)
            )
        if rng.random() < style.greenery and style.road.pavement_m > 2.2:
            for z in np.arange(start + 3.0, start + CHUNK_M, float(rng.uniform(8, 18))):
                self._tree(self.kerb + 0.9, float(z + rng.uniform(-1, 1)), 0.95)

    def _parked(self, start: float) -> None:
        rng, style = self.rng, self.style
        if style.road.parking_m[0 if self.side < 0 else 1] <= 0:
            return
        z = start + float(rng.uniform(0.5, 3.0))
        ours = self.side == style.road.drive_side
        while z < start + CHUNK_M - 5.5:
            look = car_look(rng, style, 0.0)
            free = all(z + look.shape.length_m < a or z > b for a, b in self.junctions)
            if free and rng.random() < style.parked:
                towards = (not ours) if rng.random() < 0.85 else ours
                x = self.side * (self.kerb - 1.08 + float(rng.uniform(-0.12, 0.12)))
                self.things.append(Car(x, z, towards, look))
            z += look.shape.length_m + float(rng.uniform(0.7, 1.8))
