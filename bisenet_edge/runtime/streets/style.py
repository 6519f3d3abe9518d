"""The look of one street: everything that is drawn once per seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np

from bisenet_edge.runtime.streets.canvas import Bgr


def generator(*key: int) -> np.random.Generator:
    """A generator of its own for each key, equal on every run."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(key))))


@dataclass(frozen=True)
class Light:
    """Sun and weather.

    Attributes:
        sun_side: -1 left, 1 right: the facades on the other side are lit.
        sun: 0 overcast to 1 bright.
        zenith, horizon, haze: colours of the sky and of distant air.
        haze_per_m: extinction.
        cloud: 0 clear to 1 covered.
        exposure: gain per channel of the camera.
        noise: standard deviation of the sensor's noise, grey levels.
        blur_px: standard deviation of the lens blur.
    """

    sun_side: int
    sun: float
    zenith: Bgr
    horizon: Bgr
    haze: Bgr
    haze_per_m: float
    cloud: float
    exposure: Bgr
    noise: float
    blur_px: float

    def side_gain(self, side: int) -> float:
        """Brightness of a wall that faces the road from `side` (-1 left, 1 right)."""
        return 0.82 + self.sun * (-0.3 if side == self.sun_side else 0.28)


@dataclass(frozen=True)
class Road:
    """Cross-section, in metres; x = 0 is the middle of the road.

    Attributes:
        drive_side: -1 where people drive on the left.
        half_m: half the width of the road, parking included.
        lane_m: width of one lane.
        parking_m: width of the parking strip on the left and on the right, 0 = none.
        pavement_m: width of each pavement.
        setback_m: from the pavement to the facades, left and right.
        verge: what lies there: train id of grass (tree) or paving (pavement).
        asphalt: its grey level in full light.
    """

    drive_side: int
    half_m: float
    lane_m: float
    parking_m: Tuple[float, float]
    pavement_m: float
    setback_m: Tuple[float, float]
    verge: int
    asphalt: float


@dataclass(frozen=True)
class Style:
    """All that a seed decides about a street."""

    light: Light
    road: Road
    camera_height_m: float
    half_fov_tan: float
    horizon: float
    speed_mps: float
    bend_per_m: float
    bend_phase: float
    season: int
    floors: Tuple[int, int]
    gap: float
    greenery: float
    fences: float
    parked: float
    traffic: float
    people: float
    cyclists: float
    street_furniture: float


def _light(rng: np.random.Generator) -> Light:
    kind = rng.choice(4, p=[0.42, 0.28, 0.17, 0.13])  # sunny, cloudy, overcast, dusk
    sun = float((rng.uniform(0.6, 1.0), rng.uniform(0.2, 0.5), 0.05, rng.uniform(0.0, 0.4))[kind])
    zenith = ((205, 140, 80), (205, 170, 130), (205, 198, 192), (120, 92, 78))[kind]
    horizon = ((238, 222, 200), (238, 230, 222), (232, 228, 225), (150, 165, 200))[kind]
    jitter = rng.uniform(0.93, 1.07) * rng.uniform(0.97, 1.03, 3)
    level = float(
        (rng.uniform(0.9, 1.2), rng.uniform(0.8, 1.1), rng.uniform(0.7, 1.05), rng.uniform(0.4, 0.7))[kind]
    )
    cast = level * rng.uniform(0.96, 1.04, 3)
    haze = tuple(float(0.93 * c) for c in horizon)
    return Light(
        sun_side=int(rng.choice([-1, 1])),
        sun=sun,
        zenith=_bgr(np.array(zenith) * jitter),
        horizon=_bgr(np.array(horizon) * (0.5 + 0.5 * jitter)),
        haze=(haze[0], haze[1], haze[2]),
        haze_per_m=float(rng.uniform(0.0012, 0.005) * (1.8 if kind == 2 else 1.0)),
        cloud=float((rng.uniform(0.0, 0.4), rng.uniform(0.5, 0.9), 1.0, rng.uniform(0.2, 1.0))[kind]),
        exposure=_bgr(cast),
        noise=float(rng.uniform(1.5, 4.0) + (2.0 if kind == 3 else 0.0)),
        blur_px=float(rng.uniform(0.4, 0.65)),
    )


def _bgr(values: np.ndarray) -> Bgr:
    return float(values[0]), float(values[1]), float(values[2])


def _road(rng: np.random.Generator) -> Road:
    lane = float(rng.uniform(2.9, 3.7))
    lanes = int(rng.choice([1, 2], p=[0.8, 0.2]))
    strips = (rng.random(2) < 0.6) * 2.1
    setback = np.where(rng.random(2) < 0.65, 0.0, rng.uniform(1.5, 5.0, 2))
    return Road(
        drive_side=int(rng.choice([-1, 1], p=[0.7, 0.3])),
        half_m=lane * lanes + float(strips.max()),
        lane_m=lane,
        parking_m=(float(strips[0]), float(strips[1])),
        pavement_m=float(rng.uniform(2.0, 5.0)),
        setback_m=(float(setback[0]), float(setback[1])),
        verge=int(rng.choice([4, 5])),
        asphalt=float(rng.uniform(84, 132)),
    )


def make_style(seed: int) -> Style:
    """Draw the look of street `seed`."""
    rng = generator(seed, 0)
    low = int(rng.integers(1, 4))
    return Style(
        light=_light(rng),
        road=_road(rng),
        camera_height_m=float(rng.uniform(1.2, 1.75)),
        half_fov_tan=float(rng.uniform(0.5, 0.66)),
        horizon=float(rng.uniform(0.44, 0.58)),
        speed_mps=float(rng.uniform(7.0, 9.0)),
        bend_per_m=float(rng.normal(0.0, 0.0013)),
        bend_phase=float(rng.uniform(0, 6.283)),
        season=int(rng.choice(4, p=[0.45, 0.2, 0.15, 0.2])),
        floors=(low, low + int(rng.integers(0, 3))),
        gap=float(rng.uniform(0.05, 0.45)),
        greenery=float(rng.uniform(0.25, 1.0)),
        fences=float(rng.uniform(0.25, 0.85)),
        parked=float(rng.uniform(0.15, 0.8)),
        traffic=float(rng.uniform(0.2, 0.75)),
        people=float(rng.uniform(0.1, 0.65)),
        cyclists=float(rng.uniform(0.1, 0.6)),
        street_furniture=float(rng.uniform(0.3, 1.0)),
    )
