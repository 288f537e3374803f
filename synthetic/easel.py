"""Tools that draw things: a layer with camera and light, and operations that draw faces, circles and edges into it."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from cv2.typing import MatLike

from synthetic.scene import Thing
from synthetic.view import Camera

_SUBPIXEL_BITS = 4
CIRCLE = np.linspace(0, 2 * math.pi, 28, endpoint=False)


@dataclass(frozen=True, eq=False)
class Easel:
    """The layer a thing is drawn on, with camera and light.

    Args:
        canvas: Layer (H, W, 4), uint8: RGB premultiplied by opacity, and opacity. Methods draw into it.
        view: Camera, in pixels of the canvas.
        light: Direction to the light (3,), a unit vector.
        ambient: Share of the light that comes from all directions, 0 to 1.
        texture_px: Side of the textures in pixels.
    """

    canvas: np.ndarray
    view: Camera
    light: np.ndarray
    ambient: float
    texture_px: int

    def shade(self, normal: np.ndarray) -> float:
        """Return the brightness of a matt surface with a unit normal (3,)."""
        return self.ambient + (1 - self.ambient) * max(0.0, float(normal @ self.light))

    def fill(self, polygon_px: np.ndarray, colour: np.ndarray, opacity: float = 1.0) -> None:
        """Fill a polygon (K, 2) with a colour (3,), 0 to 1."""
        box = self.bounds(polygon_px)
        if box is None:
            return
        if opacity == 1:
            cv2.fillPoly(self.canvas, [_fixed(polygon_px)], _paint(colour), cv2.LINE_AA, _SUBPIXEL_BITS)
        else:
            size = self.canvas[box].shape[:2]
            self.fill_image(polygon_px, np.full((*size, 3), colour, np.float32), opacity)

    def fill_all(self, polygons_px: np.ndarray, colours: np.ndarray) -> None:
        """Fill small polygons (N, K, 2) one after the other, each with its colour (N, 3), 0 to 1."""
        for polygon, colour in zip(_fixed(polygons_px), colours, strict=True):
            cv2.fillPoly(self.canvas, [polygon], _paint(colour), cv2.LINE_AA, _SUBPIXEL_BITS)

    def fill_image(self, polygon_px: np.ndarray, image: MatLike, opacity: float = 1.0) -> None:
        """Fill a polygon (K, 2) with an image (h, w, 3), float32, 0 to 1, that covers its `bounds`."""
        box = self.bounds(polygon_px)
        if box is None:
            return
        rows, columns = box
        part = self.canvas[box]
        mask = np.zeros(part.shape[:2], np.uint8)
        moved = _fixed(polygon_px - [columns.start, rows.start])
        cv2.fillPoly(mask, [moved], round(255 * opacity), cv2.LINE_AA, _SUBPIXEL_BITS)
        cover = cv2.merge([mask] * 4)
        paint = cv2.cvtColor(cv2.convertScaleAbs(image, alpha=255), cv2.COLOR_RGB2RGBA)
        lay_over(part, cv2.multiply(cover, paint, scale=1 / 255), cv2.bitwise_not(cover))

    def bounds(self, polygon_px: np.ndarray) -> tuple[slice, slice] | None:
        """Return the rows and columns of the canvas that contain a polygon (K, 2); None if it lies outside."""
        x, y, width, height = cv2.boundingRect(polygon_px.astype(np.float32))
        top, bottom = max(0, y - 1), min(self.canvas.shape[0], y + height + 1)
        left, right = max(0, x - 1), min(self.canvas.shape[1], x + width + 1)
        if bottom <= top or right <= left:
            return None
        return slice(top, bottom), slice(left, right)

    def face(self, corners_m: np.ndarray, image: np.ndarray, brightness: float, opacity: float = 1.0) -> None:
        """Draw a flat face, given by four corners (4, 3) and the texture that covers it."""
        corners_px = self.view.project(corners_m).astype(np.float32)
        box = self.bounds(corners_px)
        if box is None or np.abs(corners_px).max() > 1e5:
            return
        rows, columns = box
        n = len(image)
        source = np.array([[0, 0], [n, 0], [n, n], [0, n]], np.float32)
        matrix = cv2.getPerspectiveTransform(source, corners_px - np.array([columns.start, rows.start], np.float32))
        size = (columns.stop - columns.start, rows.stop - rows.start)
        warped = cv2.warpPerspective(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self.fill_image(corners_px, warped * np.float32(brightness), opacity)

    def circle(self, thing: Thing, share: float, height_m: float) -> np.ndarray:
        """Return the outline in pixels (K, 2) of a horizontal circle around the axis of a thing."""
        x, y, z = thing.centre_m
        radius = 0.5 * share * thing.size_m[0]
        points = np.stack(
            [x + radius * np.cos(CIRCLE), y + radius * np.sin(CIRCLE), np.full(len(CIRCLE), z + height_m)], axis=1
        )
        return self.view.project(points)

    def edge_light(self, polygon_px: np.ndarray, strength: float) -> None:
        """Draw a bright line around a face."""
        box = self.bounds(polygon_px)
        if box is None or np.abs(polygon_px).max() > 1 << 16:
            return
        part = self.canvas[box]
        line = np.zeros(part.shape[:2], np.uint8)
        moved = _fixed(polygon_px - [box[1].start, box[0].start])
        cv2.polylines(line, [moved], True, 255, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
        light = cv2.multiply(line, cv2.extractChannel(part, 3), scale=0.3 * strength / 255)
        cv2.add(part, cv2.merge([light, light, light, np.zeros_like(light)]), part)


def lay_over(part: np.ndarray, colour: MatLike, through: MatLike) -> None:
    """Composite `colour`, premultiplied by opacity, over `part` in place; `through` is 255 minus the opacity."""
    cv2.multiply(part, through, part, 1 / 255)
    cv2.add(part, colour, part)


def _fixed(points_px: np.ndarray) -> np.ndarray:
    """Convert points to the fixed-point format in which OpenCV draws."""
    return np.rint(points_px * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _paint(colour: np.ndarray) -> tuple[float, ...]:
    """Return an opaque canvas colour."""
    return (*np.clip(255 * colour, 0, 255).tolist(), 255.0)


def hull(*outlines: np.ndarray) -> np.ndarray:
    """Return the convex hull (K, 2), float32, of some outlines (k, 2)."""
    return cv2.convexHull(np.concatenate(outlines).astype(np.float32))[:, 0]


def footprint(thing: Thing) -> np.ndarray:
    """Return the corners of a thing's bottom (4, 3), counterclockwise seen from above, the near left one first."""
    width, depth, _ = thing.size_m
    cos, sin = math.cos(thing.turn_rad), math.sin(thing.turn_rad)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.5 * [width, depth]
    turned = corners @ np.array([[cos, sin], [-sin, cos]])
    return np.column_stack([turned + thing.centre_m[:2], np.full(4, thing.centre_m[2])])
