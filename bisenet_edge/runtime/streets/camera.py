"""A pinhole camera above a flat ground, looking along a road that may bend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR_M = 0.7
"""Nothing nearer than this is drawn. At the road's edge it lies far outside the picture, so vertices may be
clamped to it without a visible error."""


@dataclass(frozen=True)
class Camera:
    """Where the camera is and what it sees; x points right, y up, z forward along the road, in metres.

    The bend of the road is a sideways shift that grows with the square of the distance: straight lines across
    and upright lines stay straight, so that one formula serves walls, sprites and ground.

    Attributes:
        x_m, height_m, z_m: position in the world; y = 0 is the ground.
        focal_px: focal length.
        centre_px, horizon_px: principal point: column, and row of the horizon.
        yaw: tangent of the heading's offset from the road.
        bend_per_m: curvature of the road.
    """

    x_m: float
    height_m: float
    z_m: float
    focal_px: float
    centre_px: float
    horizon_px: float
    yaw: float
    bend_per_m: float

    def aside_m(self, x_m: float, ahead_m: float) -> float:
        """Distance right of the optical axis of a point at road coordinate `x_m`, `ahead_m` away."""
        return x_m - self.x_m + (self.yaw + 0.5 * self.bend_per_m * ahead_m) * ahead_m

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixel positions of points.

        Args:
            points: float [N, 3]: road x, height, distance ahead (metres). Distances below NEAR_M count as it.

        Returns:
            float [N, 2]: column, row.
        """
        ahead = np.maximum(points[:, 2], NEAR_M)
        out = np.empty((len(points), 2))
        scale = self.focal_px / ahead
        # In place, because this runs some hundred times per frame on a few points.
        np.subtract(points[:, 0], self.x_m, out=out[:, 0])
        np.subtract(self.height_m, points[:, 1], out=out[:, 1])
        out *= scale[:, None]
        out[:, 0] += (0.5 * self.focal_px * self.bend_per_m) * ahead
        out += (self.centre_px + self.focal_px * self.yaw, self.horizon_px)
        return out
