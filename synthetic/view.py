"""Camera geometry: projection of world points to pixels, and of pixels to planes."""

import math
from dataclasses import dataclass

import numpy as np

from synthetic.scene import Scene

NEAREST_M = 0.05
SUBPIXEL_BITS = 3  # fractional bits of the fixed point coordinates of moving things
FAR_PX = 4000.0  # coordinates are limited to this before drawing


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    Args:
        position_m: Position (3,).
        right: Direction along the picture's rows (3,), a unit vector like the next two.
        up: Direction against the picture's columns (3,).
        forward: Direction into the picture (3,).
        focal_px: Focal length.
        centre_px: Pixel at which the optical axis meets the picture (2,), x and y.
    """

    position_m: np.ndarray
    right: np.ndarray
    up: np.ndarray
    forward: np.ndarray
    focal_px: float
    centre_px: np.ndarray

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Return pixels (..., 2), x and y, of points (..., 3); points behind the camera are moved to just before it."""
        seen = (points_m - self.position_m) @ np.stack([self.right, -self.up, self.forward], axis=1)
        depth = np.maximum(seen[..., 2:], NEAREST_M)
        return self.centre_px + self.focal_px * seen[..., :2] / depth

    def px_per_m(self, points_m: np.ndarray) -> np.ndarray:
        """Return the size in pixels (...) of a metre at points (..., 3)."""
        return self.focal_px / np.maximum((points_m - self.position_m) @ self.forward, NEAREST_M)

    def scaled(self, factor: float) -> "Camera":
        """Return the same camera with `factor` times the resolution."""
        centre = (self.centre_px + 0.5) * factor - 0.5
        return Camera(self.position_m, self.right, self.up, self.forward, self.focal_px * factor, centre)

    def on_plane(self, height_px: int, width_px: int, axis: int, value_m: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the points at which the rays of all pixels meet the plane on which one coordinate is constant.

        Args:
            height_px: Height of the picture.
            width_px: Width of the picture.
            axis: Index of the constant coordinate, 0 to 2.
            value_m: Its value.

        Returns:
            Points (H, W, 3), float32, and distances (H, W), float32, infinite where the ray does not meet it.
        """
        x = (np.arange(width_px) - self.centre_px[0]) / self.focal_px
        y = (np.arange(height_px) - self.centre_px[1]) / self.focal_px
        across = (self.forward[:, None] + self.right[:, None] * x).astype(np.float32)[:, None]
        rays = across - (self.up[:, None] * y).astype(np.float32)[..., None]  # (3, H, W), contiguous planes
        share = rays[axis] * np.float32(1 / (value_m - self.position_m[axis]))
        distance = np.where(share > 1e-6, 1 / np.maximum(share, 1e-6), np.float32(np.inf))
        points = self.position_m.astype(np.float32)[:, None, None] + rays * np.minimum(distance, 1e3)
        return np.moveaxis(points, 0, -1), distance


def draw_camera(rng: np.random.Generator, scene: Scene, width_px: int, height_px: int) -> Camera:
    """Draw the camera of a scene.

    Args:
        rng: Random generator for the exact direction.
        scene: Scene to look at.
        width_px: Width of the picture.
        height_px: Height of the picture.

    Returns:
        The camera.
    """
    sideways, ahead = math.sin(scene.azimuth_rad), math.cos(scene.azimuth_rad)
    level, steep = math.cos(scene.elevation_rad), math.sin(scene.elevation_rad)
    forward = np.array([sideways * level, ahead * level, -steep])
    right, up = np.array([ahead, -sideways, 0.0]), np.array([sideways * steep, ahead * steep, level])
    cos, sin = math.cos(scene.roll_rad), math.sin(scene.roll_rad)
    right, up = cos * right + sin * up, cos * up - sin * right
    tallest_m = max((thing.size_m[2] for thing in scene.things if thing.shape not in {"ground", "wall"}), default=0.0)
    off_centre = 0.25 if rng.random() < 0.06 else 0.05  # sometimes strikes lie at the edge or outside
    focus = np.array([rng.normal(0, off_centre) * scene.span_m, 0.0, scene.table_m + 0.5 * tallest_m])
    if scene.things[0].shape == "wall":
        focus[2] = 0.3
    above = 0.0 if scene.things[0].shape == "wall" else 0.08 if scene.view == "close" else 0.12
    focus += up * rng.normal(above, 0.6 * off_centre) * scene.span_m
    if scene.view in {"forearm", "arm"}:  # show the hand beside what it strikes
        towards = np.array([math.cos(scene.player_rad), 0.6 * math.sin(scene.player_rad), 0.0])
        focus += rng.uniform(0.1, 0.32) * scene.span_m * towards
    distance_m = scene.span_m * scene.distance_spans
    centre = 0.5 * np.array([width_px - 1.0, height_px - 1.0])
    return Camera(focus - distance_m * forward, right, up, forward, width_px * scene.distance_spans, centre)
