"""Things drawn into a layer of the picture, by shape: boxes, cylinders, cups, heaps, sheets, plants, stones, pools."""

import math
from collections.abc import Callable

import cv2
import numpy as np

from synthetic.easel import CIRCLE, Easel, footprint, hull
from synthetic.scene import UP, WATER_LEVEL, Thing
from synthetic.textures import any_colour, fractal, mean_colour, texture

GLOSS = {
    "metal": 0.75, "glass": 0.9, "ceramic": 0.65, "plastic": 0.4, "plastic-bag": 0.35, "water": 0.6, "tile": 0.25,
    "wood": 0.1,
}  # fmt: skip


def draw_thing(easel: Easel, thing: Thing) -> None:
    """Draw a thing; `synthetic.stage` draws ground and walls."""
    rng = np.random.default_rng((thing.seed, 1))
    surface = texture(rng, thing.material, easel.texture_px)
    _DRAWERS[thing.shape](easel, thing, surface, rng)


def _box(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    bottom = footprint(thing)
    top = bottom + thing.size_m[2] * UP
    opacity = 0.45 if thing.material == "glass" else 1.0
    for i in range(4):
        j = (i + 1) % 4
        edge = bottom[j] - bottom[i]
        normal = np.cross(edge, UP) / np.linalg.norm(edge)
        if normal @ (easel.view.position_m - bottom[i]) > 0:
            easel.face(np.stack([top[i], top[j], bottom[j], bottom[i]]), surface, 0.85 * easel.shade(normal), opacity)
    easel.face(top[[3, 2, 1, 0]], surface, easel.shade(UP), opacity)
    easel.edge_light(easel.view.project(top), 0.25 + 0.5 * GLOSS.get(thing.material, 0.0))


def _barrel(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator, opacity: float = 1.0) -> None:
    """Draw the side of an upright round thing, lit from the side, with a glossy streak."""
    taper = rng.uniform(0.6, 0.95) if thing.shape == "vessel" else rng.uniform(0.92, 1.0)
    outline = hull(easel.circle(thing, taper, 0.0), easel.circle(thing, 1.0, thing.size_m[2]))
    box = easel.bounds(outline)
    if box is None:
        return
    rows, columns = box
    size = (columns.stop - columns.start, rows.stop - rows.start)
    left, right = outline[:, 0].min(), outline[:, 0].max()
    across = np.clip((np.arange(columns.start, columns.stop) - left) / max(right - left, 1.0) * 2 - 1, -0.999, 0.999)
    normals = np.stack([across, -np.sqrt(1 - across**2), 0 * across], axis=1)
    matt = easel.ambient + (1 - easel.ambient) * np.maximum(0, normals @ easel.light)
    gloss = GLOSS.get(thing.material, 0.0)
    streak = gloss * np.exp(-(((across - 0.6 * easel.light[0] - 0.1) / 0.09) ** 2))
    streak += 0.4 * gloss * np.exp(-(((across + 0.55) / 0.06) ** 2))
    image = cv2.resize(surface, size) * matt[:, None].astype(np.float32) + streak[:, None].astype(np.float32)
    easel.fill_image(outline, image, opacity)


def _cylinder(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    is_glass = thing.material == "glass"
    _barrel(easel, thing, surface, rng, 0.4 if is_glass else 1.0)
    lid = easel.circle(thing, 1.0, thing.size_m[2])
    colour = mean_colour(surface) * np.float32(min(1.1, 0.15 + easel.shade(UP)))
    if thing.material == "wood":
        colour = np.minimum(1.25 * colour, 1)
    easel.fill(lid, colour, 0.35 if is_glass else 1.0)
    if rng.random() < 0.6:  # the rim of a lid, or the neck of a bottle
        easel.fill(easel.circle(thing, 0.82, thing.size_m[2]), 0.85 * colour, 0.4 if is_glass else 1.0)
    easel.edge_light(lid, 0.6 + GLOSS.get(thing.material, 0.0))


def _vessel(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    opacity = 0.4 if thing.material == "glass" else 1.0
    if thing.material in {"ceramic", "plastic"} and thing.size_m[0] < 0.13:
        _handle(easel, thing, mean_colour(surface))
    _barrel(easel, thing, surface, rng, opacity)
    rim = easel.circle(thing, 1.0, thing.size_m[2])
    colour = mean_colour(surface)
    easel.fill(rim, np.minimum(1.2 * colour, 1), opacity)
    easel.fill(easel.circle(thing, 0.9, thing.size_m[2]), 0.45 * colour, opacity)
    easel.fill(easel.circle(thing, 0.7, 0.35 * thing.size_m[2]), 0.65 * colour, 0.8 * opacity)
    easel.edge_light(rim, 1.0)


def _handle(easel: Easel, thing: Thing, colour: np.ndarray) -> None:
    side = math.copysign(1.0, math.sin(7 * thing.turn_rad))
    x, y, z = thing.centre_m
    middle = np.array([x + side * 0.55 * thing.size_m[0], y, z + 0.55 * thing.size_m[2]])
    size = 0.3 * thing.size_m[2] * easel.view.px_per_m(middle)
    ring = size * np.stack([np.cos(CIRCLE), np.sin(CIRCLE)], axis=1)
    easel.fill(easel.view.project(middle) + ring, 0.8 * colour)
    easel.fill(easel.view.project(middle) + 0.6 * ring, 0.25 * colour)


def _disc(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    _barrel(easel, thing, surface, rng)
    colour = mean_colour(surface) * np.float32(easel.shade(UP))
    easel.fill(easel.circle(thing, 1.0, thing.size_m[2]), np.minimum(1.1 * colour, 1))
    easel.fill(easel.circle(thing, 0.72, thing.size_m[2]), 0.85 * colour)
    easel.fill(easel.circle(thing, 0.66, 0.8 * thing.size_m[2]), colour)
    easel.edge_light(easel.circle(thing, 1.0, thing.size_m[2]), 0.8)


def _rail(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    low, high = footprint(thing), footprint(thing) + thing.size_m[2] * UP
    for x in (0.12, 0.88):  # posts
        foot = low[0] + x * (low[1] - low[0])
        px = 0.35 * thing.size_m[1] * easel.view.px_per_m(foot)
        post = easel.view.project(foot) + np.array([[-px, 0], [px, 0]])
        end = easel.view.project(foot * [1, 1, 0]) + np.array([[px, 0], [-px, 0]])
        easel.fill(np.concatenate([post, end]), 0.5 * mean_colour(surface))
    bands = 7
    for i in range(bands):  # a round bar, from top to bottom
        shares = np.array([i, i + 1]) / bands
        normal = np.array([0.0, -math.sin(math.pi * (i + 0.5) / bands), math.cos(math.pi * (i + 0.5) / bands)])
        gloss = GLOSS.get(thing.material, 0.0) * math.exp(-(((i - 1.5) / 0.8) ** 2))
        near = high[[3, 2]] + shares[0] * (low[[0, 1]] - high[[3, 2]])
        far = high[[3, 2]] + shares[1] * (low[[0, 1]] - high[[3, 2]])
        strip = mean_colour(surface[i * len(surface) // bands :][: max(2, len(surface) // bands)])
        easel.fill(
            easel.view.project(np.stack([near[0], near[1], far[1], far[0]])), strip * easel.shade(normal) + gloss
        )


def _drum(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    _barrel(easel, thing, surface, rng)
    metal = np.array([0.75, 0.76, 0.78], np.float32)
    for share, height in ((1.04, 1.0), (1.04, 0.93)):
        easel.fill(easel.circle(thing, share, height * thing.size_m[2]), 0.9 * metal if height == 1.0 else 0.5 * metal)
    head: np.ndarray = np.array([0.88, 0.87, 0.84], np.float32) if rng.random() < 0.7 else any_colour(rng)
    easel.fill(easel.circle(thing, 0.96, thing.size_m[2]), head * np.float32(easel.shade(UP)))


def _blob(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a heap with a bumpy, shaded surface: a dome of noise within an irregular outline."""
    x, y, z = thing.centre_m
    scale = easel.view.px_per_m(np.array([x, y, z + 0.5 * thing.size_m[2]]))
    width = thing.size_m[0] * scale
    flatness = max(0.25, easel.view.up[2])
    height = thing.size_m[2] * scale * flatness + 0.6 * thing.size_m[1] * scale * (1 - flatness)
    middle = easel.view.project(np.array([x, y, z + 0.45 * thing.size_m[2]]))
    roughness = {"rock": 0.12, "plastic-bag": 0.13, "cloth": 0.09, "paper": 0.12, "dirt": 0.06}.get(
        thing.material, 0.05
    )
    wobble = sum(rng.normal(0, roughness / k) * np.cos(k * CIRCLE + rng.uniform(0, 7)) for k in range(2, 7))
    outline = (1 + np.clip(wobble, -0.4, 0.4))[:, None] * np.stack([np.cos(CIRCLE), np.sin(CIRCLE)], axis=1)
    polygon = middle + 0.5 * outline * [width, height]
    box = easel.bounds(polygon)
    if box is None:
        return
    rows, columns = box
    across = (np.arange(columns.start, columns.stop, dtype=np.float32) - middle[0]) / (0.5 * width)
    down = (np.arange(rows.start, rows.stop, dtype=np.float32) - middle[1]) / (0.5 * height)
    dome = np.sqrt(np.maximum(0.02, 1.2 - across[None] ** 2 - down[:, None] ** 2))
    size = (len(across), len(down))
    creased = thing.material in {"plastic-bag", "paper", "cloth"}
    bumps = cv2.resize(fractal(rng, 64, 2.5, 1, 2 if creased else 3), size)
    if creased:
        bumps = 1 - np.abs(bumps)
    relief = dome + {"plastic": 0.0}.get(thing.material, 1.2 * roughness) * bumps
    slope_y, slope_x = np.gradient(relief, 2 / height, 2 / width) if min(size) > 1 else (0 * relief, 0 * relief)
    normals = np.stack([-slope_x, np.ones_like(relief) * 0.6, -slope_y], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    facing = normals @ np.array([easel.light[0], -easel.light[1], easel.light[2]], np.float32)
    matt = easel.ambient + (1 - easel.ambient) * np.maximum(0, facing)
    shiny = GLOSS.get(thing.material, 0.0) * np.maximum(0, facing) ** 16
    image = cv2.resize(surface, size) * matt[..., None] + shiny[..., None]
    easel.fill_image(polygon, image.astype(np.float32))


def _sheet(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    corners = footprint(thing) + thing.size_m[2] * UP
    corners[:, :2] += rng.normal(0, 0.04 * thing.size_m[0], (4, 2))
    folds = {"cloth": 0.18, "plastic-bag": 0.25, "paper": 0.08}.get(thing.material, 0.0)
    creases = 1 - folds * np.abs(fractal(rng, easel.texture_px, 2.5, 1.5))
    easel.face(corners - 0.8 * thing.size_m[2] * UP, surface, 0.4)
    easel.face(corners[[3, 2, 1, 0]], surface * creases[..., None], easel.shade(UP))


def _bush(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    """Draw leaves or blades throughout a dome, with the far and low ones darker."""
    n = 70
    blades = thing.material == "grass"
    radius = np.sqrt(rng.random(n)) * 0.5
    angle = rng.uniform(0, 2 * math.pi, n)
    level = rng.random(n) * np.sqrt(1 - (1.9 * radius).clip(0, 1) ** 2)
    place = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * level if blades else level], axis=1)
    points = np.array(thing.centre_m) + place * thing.size_m
    order = np.argsort(-points[:, 1] + 0.5 * points[:, 2])
    tips = points + np.column_stack([rng.normal(0, 0.15, (n, 2)), rng.uniform(0.3, 1.0, n)]) * thing.size_m
    scale = float(easel.view.px_per_m(np.array(thing.centre_m)))
    leaf_px = max(1.2, rng.uniform(0.012, 0.035) * scale)
    roots_px, tips_px = easel.view.project(points), easel.view.project(tips)
    pixels = surface.reshape(-1, 3)[rng.integers(0, surface.shape[0] ** 2, n)]
    if blades:
        side = np.array([max(0.6, 0.12 * leaf_px), 0])
        polygons = np.stack([roots_px - side, roots_px + side, tips_px], axis=1)
    else:
        turn = rng.uniform(0, math.pi, n)
        leaf = np.stack([leaf_px * 1.5 * np.cos(CIRCLE[::4]), leaf_px * 0.7 * np.sin(CIRCLE[::4])], axis=1)
        spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]).transpose(2, 0, 1)
        polygons = roots_px[:, None] + leaf @ spin
    light = 0.45 + 0.75 * (rng.random(n) if blades else level)
    easel.fill_all(polygons[order], (1.3 * light[:, None] * pixels)[order])


def _pile(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    """Draw stones, far ones first."""
    n = 110
    radius, angle = np.sqrt(rng.random(n)) * 0.5, rng.uniform(0, 2 * math.pi, n)
    place = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.9 - 3.2 * radius**2], axis=1)
    points = np.array(thing.centre_m) + np.maximum(place, [-1, -1, 0]) * thing.size_m
    scale = float(easel.view.px_per_m(np.array(thing.centre_m)))
    size_px = np.maximum(1.0, rng.uniform(0.012, 0.03, n) * scale)
    tint = mean_colour(surface) * 1.6
    rim = CIRCLE[:: 2 if size_px.max() > 6 else 4]
    order = np.argsort(-points[:, 1])
    round_stone = np.stack([np.cos(rim), 0.75 * np.sin(rim)], axis=1)
    stones = size_px[order, None, None] * round_stone * rng.uniform(0.8, 1.1, (n, len(rim), 1))
    middles = easel.view.project(points[order])[:, None]
    colours = np.minimum(tint * rng.uniform(0.6, 1.2, (n, 1)), 1)
    polygons = np.stack([middles + stones + [0.3, 0.5], middles + 0.9 * stones], axis=1)  # shaded side first
    tones = np.stack([0.35 * colours, easel.shade(UP) * colours], axis=1)
    easel.fill_all(polygons.reshape(2 * n, -1, 2), tones.reshape(2 * n, 3))


def _pool(easel: Easel, thing: Thing, surface: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a basin, tub or pond with water in it."""
    rim = footprint(thing) + thing.size_m[2] * UP
    basin: np.ndarray = any_colour(rng) if rng.random() < 0.5 else np.array([0.75, 0.75, 0.73], np.float32)
    if rng.random() < 0.6:
        brim = easel.circle(thing, 1.15, thing.size_m[2])
        easel.fill(hull(easel.circle(thing, 1.1, 0), brim), 0.6 * basin)
        easel.fill(brim, basin)
        easel.fill(easel.circle(thing, 1.05, thing.size_m[2]), 0.6 * basin)
        water = easel.circle(thing, 1.03, WATER_LEVEL * thing.size_m[2])
        box = easel.bounds(water)
        if box is not None:
            size = (box[1].stop - box[1].start, box[0].stop - box[0].start)
            easel.fill_image(water, cv2.resize(surface, size))
        return
    middle = rim.mean(axis=0)
    easel.face((middle + 1.12 * (rim - middle))[[3, 2, 1, 0]], basin[None, None] * np.ones((8, 8, 1), np.float32), 1.0)
    water = middle + 1.02 * (rim - middle) - (1 - WATER_LEVEL) * thing.size_m[2] * UP
    easel.face(water[[3, 2, 1, 0]], surface, 1.0)


_DRAWERS: dict[str, Callable[[Easel, Thing, np.ndarray, np.random.Generator], None]] = {
    "slab": _box,
    "cylinder": _cylinder,
    "vessel": _vessel,
    "disc": _disc,
    "rail": _rail,
    "drum": _drum,
    "blob": _blob,
    "sheet": _sheet,
    "bush": _bush,
    "pile": _pile,
    "pool": _pool,
}
