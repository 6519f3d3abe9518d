"""What moves: cars in both directions, walkers on the pavements, cyclists at the road's edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional

import numpy as np

from bisenet_edge.runtime.streets import people
from bisenet_edge.runtime.streets.canvas import BICYCLIST, PEDESTRIAN, Bgr
from bisenet_edge.runtime.streets.cars import CarLook
from bisenet_edge.runtime.streets.style import Style, generator
from bisenet_edge.runtime.streets.things import Billboard, Car, Thing
from bisenet_edge.runtime.streets.world import car_look

_SLOT_ZERO = 1 << 24  # slots that come from behind have negative numbers; keys must not
_KEPT_SLOTS = 256


@dataclass(frozen=True)
class Lane:
    """An endless row of places that all move at one speed, some of them taken.

    Attributes:
        key: tells the lanes of a street apart.
        x_m: where across the road.
        speed_mps: along the road, negative towards us.
        spacing_m: from place to place.
        taken: share of places that are taken.
        nearest_m: nothing nearer than this ahead of the camera (for the lane the camera drives in).
        make: draws what is in a place.
        sight_m: not drawn farther off than this: people are a few pixels high there.
    """

    key: int
    x_m: float
    speed_mps: float
    spacing_m: float
    taken: float
    nearest_m: float
    make: Callable[[np.random.Generator], _Mover]
    sight_m: float = 200.0


class _Mover:
    """What takes a place in a lane; `at` puts it on the road at a moment."""

    def at(self, x_m: float, z_m: float, time_s: float) -> Thing:
        raise NotImplementedError


class _Driver(_Mover):
    def __init__(self, look: CarLook, towards: bool) -> None:
        self._look, self._towards = look, towards

    def at(self, x_m: float, z_m: float, time_s: float) -> Thing:
        return Car(x_m, z_m, self._towards, self._look)


class _Walker(_Mover):
    def __init__(self, rng: np.random.Generator, x_jitter_m: float, gain: Bgr, cycling: bool) -> None:
        self._design = int(rng.integers(people.CYCLISTS if cycling else people.PEOPLE))
        self._mirrored = bool(rng.random() < 0.5)
        self._phase = float(rng.uniform(0, people.PHASES))
        self._x_jitter_m = float(rng.uniform(-x_jitter_m, x_jitter_m))
        self._height = float(rng.uniform(0.9, 1.03))
        self._gain = gain
        self._cycling = cycling

    def at(self, x_m: float, z_m: float, time_s: float) -> Thing:
        phase = int(self._phase + time_s * people.PHASES * 1.1) % people.PHASES
        x = x_m + self._x_jitter_m
        if self._cycling:
            texture = people.cyclist(self._design, phase, self._mirrored)
            return Billboard(x, z_m, people.CYCLIST_M * self._height, texture, self._gain, BICYCLIST, 0.45)
        texture = people.pedestrian(self._design, phase, self._mirrored)
        return Billboard(x, z_m, people.PERSON_M * self._height, texture, self._gain, PEDESTRIAN, 0.3)


class Traffic:
    """Everything that moves in one street."""

    def __init__(self, seed: int, style: Style) -> None:
        self._seed = seed
        self._style = style
        self._lanes = _car_lanes(style) + _foot_lanes(style)
        self._slots: Dict[int, Optional[tuple]] = {}

    def between(self, first_m: float, last_m: float, time_s: float) -> List[Thing]:
        """What is in a stretch of the street at a moment."""
        things = []
        for lane in self._lanes:
            moved = lane.speed_mps * time_s
            low = max(first_m, first_m + 6.0 + lane.nearest_m) if lane.nearest_m else first_m
            high = min(last_m, first_m + lane.sight_m)
            nearest, farthest = ((z - moved) // lane.spacing_m for z in (low, high))
            for slot in range(int(nearest), int(farthest) + 1):
                taken = self._slot(lane, slot)
                if taken is None:
                    continue
                offset, mover = taken
                z = slot * lane.spacing_m + offset + moved
                if low <= z <= high:
                    things.append(mover.at(lane.x_m, z, time_s))
        return things

    def _slot(self, lane: Lane, slot: int) -> Optional[tuple]:
        key = lane.key * (_SLOT_ZERO * 2) + slot + _SLOT_ZERO
        if key not in self._slots:
            rng = generator(self._seed, 4, lane.key, slot + _SLOT_ZERO)
            if rng.random() >= lane.taken:
                found = None
            else:
                found = (float(rng.uniform(0, 0.4)) * lane.spacing_m, lane.make(rng))
            if len(self._slots) >= _KEPT_SLOTS:
                self._slots.pop(next(iter(self._slots)))
            self._slots[key] = found
        return self._slots[key]


def _car_lanes(style: Style) -> List[Lane]:
    road = style.road
    middle = 0.5 * (road.parking_m[0] - road.parking_m[1])
    own = middle + road.drive_side * 0.5 * road.lane_m
    other = middle - road.drive_side * 0.5 * road.lane_m

    def away(rng: np.random.Generator) -> _Mover:
        return _Driver(car_look(rng, style, 0.1), False)

    def towards(rng: np.random.Generator) -> _Mover:
        return _Driver(car_look(rng, style, 0.08), True)

    busy = style.traffic
    lanes = [
        Lane(1, own, style.speed_mps, 26.0, 0.8 * busy, 7.0, away),
        Lane(2, other, -9.0, 22.0, busy, 0.0, towards),
    ]
    if road.half_m - max(road.parking_m) > 1.5 * road.lane_m:
        lanes.append(Lane(3, own + road.drive_side * road.lane_m, 5.5, 24.0, 0.7 * busy, 0.0, away))
        lanes.append(Lane(4, other - road.drive_side * road.lane_m, -7.0, 24.0, busy, 0.0, towards))
    return lanes


def own_lane_m(style: Style) -> float:
    """Where across the road the camera drives."""
    road = style.road
    return 0.5 * (road.parking_m[0] - road.parking_m[1]) + road.drive_side * 0.5 * road.lane_m


def _foot_lanes(style: Style) -> List[Lane]:
    road = style.road
    lanes = []
    key = 10
    for side in (-1, 1):
        gain_value = round(0.5 + 0.6 * style.light.side_gain(side), 2)
        gain = (gain_value, gain_value, gain_value)

        def walker(rng: np.random.Generator, gain: Bgr = gain) -> _Mover:
            return _Walker(rng, 0.35 * road.pavement_m - 0.3, gain, False)

        def rider(rng: np.random.Generator, gain: Bgr = gain) -> _Mover:
            return _Walker(rng, 0.15, gain, True)

        x = side * (road.half_m + 0.55 * road.pavement_m)
        for speed, spacing in ((1.3, 7.0), (-1.2, 9.0), (0.0, 13.0)):
            lanes.append(Lane(key, x, speed, spacing, style.people, 0.0, walker, 95.0))
            key += 1
        parked = road.parking_m[0 if side < 0 else 1]
        edge = side * (road.half_m - parked - 0.55)
        along = 4.5 if side == road.drive_side else -5.0
        lanes.append(Lane(key, edge, along, 24.0, style.cyclists, 0.0, rider, 110.0))
        key += 1
    return lanes
