"""The camera's geometry: from points of the world to pixels, and from pixels to planes."""

import math
from dataclasses import dataclass

import numpy as np

from synthetic.scene import Scene

NEAREST_M = 0.05
SUBPIXEL_BITS = 3  # of the fixed point in which what moves is drawn
FAR_PX = 4000.0  # points further out are moved in before they are drawn


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    Args:
        position_m: Where it is (3,).
        right: Direction of the picture's rows (3,), a unit vector, as the next two.
        up: Against the direction of the columns (3,).
        forward: Into the picture (3,).
        focal_px: Focal length.
        centre_px: Where the optical axis meets the picture (2,), x and y.
    """

    position_m: np.ndarray
    right: np.ndarray
    up: np.ndarray
    forward: np.ndarray
    focal_px: float
    centre_px: np.ndarray

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Pixels (..., 2), x and y, of points (..., 3); points behind the camera count as just before it."""
        seen = (points_m - self.position_m) @ np.stack([self.right, -self.up, self.forward], axis=1)
        depth = np.maximum(seen[..., 2:], NEAREST_M)
        return self.centre_px + self.focal_px * seen[..., :2] / depth

    def px_per_m(self, points_m: np.ndarray) -> np.ndarray:
        """Size in pixels (...) of a metre at points (..., 3)."""
        return self.focal_px / np.maximum((points_m - self.position_m) @ self.forward, NEAREST_M)

    def scaled(self, factor: float) -> "Camera":
        """The same camera with more pixels."""
        centre = (self.centre_px + 0.5) * factor - 0.5
        return Camera(self.position_m, self.right, self.up, self.forward, self.focal_px * factor, centre)

    def on_plane(self, height_px: int, width_px: int, axis: int, value_m: float) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel's ray meets the plane on which one coordinate has a value.

        Args:
            height_px: Height of the picture.
            width_px: Width of the picture.
            axis: Coordinate that is constant, 0 to 2.
            value_m: Its value.

        Returns:
            Points (H, W, 3), float32, and distances (H, W), float32, infinite where the ray does not meet it.
        """
        x = (np.arange(width_px) - self.centre_px[0]) / self.focal_px
        y = (np.arange(height_px) - self.centre_px[1]) / self.focal_px
        across = (self.forward[:, None] + self.right[:, None] * x).astype(np.float32)[:, None]
        rays = across - (self.up[:, None] * y).astype(np.float32)[..., None]  # (3, H, W), whose planes lie together
        share = rays[axis] * np.float32(1 / (value_m - self.position_m[axis]))
        distance = np.where(share > 1e-6, 1 / np.maximum(share, 1e-6), np.float32(np.inf))
        points = self.position_m.astype(np.float32)[:, None, None] + rays * np.minimum(distance, 1e3)
        return np.moveaxis(points, 0, -1), distance


def draw_camera(rng: np.random.Generator, scene: Scene, width_px: int, height_px: int) -> Camera:
    """Sets up the camera of a scene.

    Args:
        rng: Source of where exactly it points.
        scene: What it looks at.
        width_px: Width of the picture.
        height_px: Height of the picture.

    Returns:
        The camera.
    """
    elevation = scene.elevation_rad
    forward = np.array([0.0, math.cos(elevation), -math.sin(elevation)])
    right, up = np.array([1.0, 0.0, 0.0]), np.array([0.0, math.sin(elevation), math.cos(elevation)])
    cos, sin = math.cos(scene.roll_rad), math.sin(scene.roll_rad)
    right, up = cos * right + sin * up, cos * up - sin * right
    tallest_m = max((thing.size_m[2] for thing in scene.things if thing.shape not in {"ground", "wall"}), default=0.0)
    off_centre = 0.28 if rng.random() < 0.1 else 0.07  # now and then strikes lie at the edge or beyond it
    focus = np.array([rng.normal(0, off_centre) * scene.span_m, 0.0, scene.table_m + 0.5 * tallest_m])
    if scene.things[0].shape == "wall":
        focus[2] = 0.3
    focus += up * rng.normal(0.08 if scene.view == "close" else 0.12, 0.6 * off_centre) * scene.span_m
    distance_m = scene.span_m * scene.distance_spans
    centre = 0.5 * np.array([width_px - 1.0, height_px - 1.0])
    return Camera(focus - distance_m * forward, right, up, forward, width_px * scene.distance_spans, centre)
