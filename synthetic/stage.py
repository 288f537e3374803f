"""The scene without sticks: a background and layers of things, drawn once for each clip."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from cv2.typing import MatLike

from synthetic.easel import Easel, footprint, hull, lay_over
from synthetic.motion import StickMotion
from synthetic.puppet import Look, body_polygons
from synthetic.scene import GROUND_SHAPES, TOWARDS_CAMERA, Scene, Thing
from synthetic.shapes import draw_thing
from synthetic.textures import any_colour, fractal, texture
from synthetic.view import Camera

BODY = -2
CLUTTER = -1
_FAR_PX = 2000.0
_SMALL_PX = 480  # up to this width, things are drawn at twice the size and reduced


@dataclass(frozen=True, eq=False)
class Layer:
    """A thing as an image to be drawn over whatever is behind it.

    Args:
        index: Index among the scene's things, or `CLUTTER`, or `BODY`.
        colour: RGB premultiplied by opacity (h, w, 3), uint8.
        through: 255 minus opacity (h, w, 3), uint8.
        x_px: Column of its first pixel in the picture.
        y_px: Row of its first pixel.
    """

    index: int
    colour: np.ndarray
    through: np.ndarray
    x_px: int
    y_px: int


@dataclass(frozen=True, eq=False)
class Stage:
    """The camera's view without sticks.

    Args:
        background: Ground and wall (H, W, 3), uint8, RGB.
        layers: Things from far to near.
        front: Things in front of everything, including the sticks.
        shadow: Share of the light that a stick's shadow removes, 0 to 1.
        light: Direction to the light (3,), a unit vector.
        brightness: Brightness of upper surfaces.
    """

    background: np.ndarray
    layers: tuple[Layer, ...]
    front: tuple[Layer, ...]
    shadow: float
    light: np.ndarray
    brightness: float


def build_stage(
    scene: Scene, view: Camera, look: Look, motions: list[StickMotion], width_px: int, height_px: int
) -> Stage:
    """Draw the stage of a scene.

    Args:
        scene: Things and their places.
        view: The camera.
        look: Colours of the player, whose body is drawn in the "player" view.
        motions: Motions of the sticks, which give the positions of the shoulders.
        width_px: Width of the picture.
        height_px: Height of the picture.

    Returns:
        The stage.
    """
    rng = np.random.default_rng((scene.seed, 2))
    factor = 2 if width_px <= _SMALL_PX else 1
    texture_px = 128 if width_px <= 160 else 256 if width_px <= _SMALL_PX else 512
    angle = rng.uniform(0, 2 * math.pi)
    light = np.array([math.cos(angle), math.sin(angle) - 0.4, rng.uniform(0.8, 2.0)])
    light /= np.linalg.norm(light)
    ambient = rng.uniform(0.25, 0.7)
    fine, size = view.scaled(factor), (height_px * factor, width_px * factor)
    shadow = rng.uniform(0.15, 0.75) * (1 - 0.5 * ambient)
    ground = _ground(rng, scene, fine, size, texture_px)
    if scene.table_m:
        _draw_table(rng, Easel(ground, fine, light, ambient, texture_px), scene)
    things = [(i, thing) for i, thing in enumerate(scene.things) if thing.shape not in GROUND_SHAPES]
    things += [(CLUTTER, thing) for thing in scene.clutter]
    for _, thing in things:
        _cast_shadow(Easel(ground, fine, light, ambient, texture_px), thing, shadow)
    blur = float(rng.choice([0.0, 0.0, 0.6, 1.5])) * size[0] / 128
    soft = cv2.GaussianBlur(ground, (0, 0), blur) if blur else ground
    small = cv2.cvtColor(cv2.resize(soft, (width_px, height_px), interpolation=cv2.INTER_AREA), cv2.COLOR_RGBA2RGB)
    shine = _light_map(rng, (height_px, width_px))[..., None]
    lit = small * shine
    layers: list[Layer | None] = []
    front: list[Layer | None] = []
    if scene.view == "player":
        layers.append(
            _body(Easel(np.zeros((*size, 4), np.uint8), fine, light, ambient, texture_px), look, motions, factor)
        )
    nearest_m = min(thing.centre_m[1] for thing in scene.things)
    for index, thing in sorted(things, key=lambda entry: -entry[1].centre_m[1]):
        easel = Easel(np.zeros((*size, 4), np.uint8), fine, light, ambient, texture_px if index >= 0 else 64)
        draw_thing(easel, thing)
        before_all = index == CLUTTER and thing.centre_m[1] < nearest_m - 0.2 * scene.span_m
        (front if before_all else layers).append(_reduced(easel.canvas, index, factor, shine))
    return Stage(
        background=cv2.convertScaleAbs(lit),
        layers=tuple(layer for layer in layers if layer),
        front=tuple(layer for layer in front if layer),
        shadow=shadow,
        light=light,
        brightness=ambient + (1 - ambient) * light[2],
    )


def _body(easel: Easel, look: Look, motions: list[StickMotion], factor: int) -> Layer | None:
    """Draw the player behind the things."""
    colours = {"sleeve": 0.8 * look.sleeve, "skin": look.skin, "hair": 0.3 * look.skin}
    for polygon, name in body_polygons(motions, easel.view):
        easel.fill(polygon, (colours[name] * look.light).astype(np.float32))
    return _reduced(easel.canvas, BODY, factor)


def blend(picture: np.ndarray, layer: Layer, shift_px: tuple[float, float] = (0.0, 0.0), turn_rad: float = 0.0) -> None:
    """Draw a layer, shifted and rotated, over a picture (H, W, 3), uint8, in place."""
    colour, through, x, y = layer.colour, layer.through, layer.x_px, layer.y_px
    if turn_rad or shift_px != (0.0, 0.0):
        margin = 2 + math.ceil(max(map(abs, shift_px)) + abs(turn_rad) * max(colour.shape[:2]))
        height, width = colour.shape[:2]
        matrix = cv2.getRotationMatrix2D((0.5 * width, 0.9 * height), math.degrees(turn_rad), 1.0)
        matrix[:, 2] += [margin + shift_px[0], margin + shift_px[1]]
        size = (width + 2 * margin, height + 2 * margin)
        colour = cv2.warpAffine(colour, matrix, size)
        through = cv2.warpAffine(through, matrix, size, borderValue=(255, 255, 255))
        x, y = x - margin, y - margin
    top, left = max(0, y), max(0, x)
    bottom, right = min(picture.shape[0], y + colour.shape[0]), min(picture.shape[1], x + colour.shape[1])
    if bottom <= top or right <= left:
        return
    part = picture[top:bottom, left:right]
    rows, columns = slice(top - y, bottom - y), slice(left - x, right - x)
    lay_over(part, colour[rows, columns], through[rows, columns])


def _ground(rng: np.random.Generator, scene: Scene, view: Camera, size: tuple[int, int], texture_px: int) -> np.ndarray:
    """Draw wall and ground (H, W, 4), uint8, opaque, sometimes with the edge of a table or mat."""
    height, width = size
    tile_m = scene.span_m * rng.uniform(0.5, 1.1)
    shift = rng.uniform(0, 5, 2).tolist()
    points, distance = view.on_plane(height, width, 2, 0.0)
    x, y = (points[..., k] / tile_m + shift[k] for k in (0, 1))
    floor = _covered(texture(rng, scene.ground, texture_px), *((y, x) if rng.random() < 0.5 else (x, y)))
    outdoors = scene.ground in {"grass", "leaf", "gravel", "dirt"}
    if not outdoors and scene.view in {"close", "forearm"} and rng.random() < 0.4:
        edge = scene.span_m * np.array([rng.uniform(0.35, 0.8), rng.uniform(0.3, 0.6)])
        beyond = (np.abs(points[..., 0]) > edge[0]) | (points[..., 1] > edge[1])
        noise = cv2.resize(fractal(rng, 64, 5), (width, height))
        colour = 255 * any_colour(rng) * rng.uniform(0.2, 0.6)
        around = cv2.convertScaleAbs((1 + 0.2 * noise)[..., None] * colour.astype(np.float32))
        cv2.copyTo(around, beyond.astype(np.uint8), floor)
    if scene.wall is None:
        return cv2.cvtColor(floor, cv2.COLOR_RGB2RGBA)
    behind, wall_distance = view.on_plane(height, width, 1, scene.wall_y_m)
    is_wall = wall_distance < distance
    if is_wall.any():
        surface = texture(rng, scene.wall, texture_px)
        x, z = behind[..., 0] / tile_m + shift[0], behind[..., 2] / tile_m + shift[1]
        wall = _covered(surface * np.float32(rng.uniform(0.5, 1.0)), x, z)
        if scene.things[0].shape != "wall":
            wall = cv2.GaussianBlur(wall, (0, 0), rng.uniform(0.5, 4) * height / 128)
        cv2.copyTo(wall, is_wall.astype(np.uint8), floor)
    canvas = cv2.cvtColor(floor, cv2.COLOR_RGB2RGBA)
    if is_wall.any() and rng.random() < 0.6:
        _draw_fixtures(rng, Easel(canvas, view, TOWARDS_CAMERA, 1.0, texture_px), scene)
    return canvas


def _draw_fixtures(rng: np.random.Generator, easel: Easel, scene: Scene) -> None:
    """Draw fixtures on a wall: switches, pictures, a door frame, a skirting board."""
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.integers(4)
        width, height = ((0.08, 0.12), (0.35, 0.28), (0.1, 2.2), (6.0, 0.1))[kind] * rng.uniform(0.7, 1.3, 2)
        x = 0.0 if kind == 3 else rng.normal(0, 0.5) * scene.span_m
        z = 0.0 if kind > 1 else rng.uniform(0.15, 1.0) * max(0.6, scene.span_m)
        colour = any_colour(rng) if kind == 1 else np.full(3, rng.uniform(0.55, 0.95), np.float32)
        corners = np.array([[x, z], [x + width, z], [x + width, z + height], [x, z + height]]) - [0.5 * width, 0]
        for share, tone in ((1.06, 0.5), (1.0, 1.0), (0.6, 0.75)):
            middle = corners.mean(axis=0)
            part = middle + share * (corners - middle)
            polygon = easel.view.project(np.insert(part, 1, scene.wall_y_m, axis=1))
            if np.abs(polygon).max() < _FAR_PX:
                easel.fill(polygon, tone * colour)


def _covered(surface: np.ndarray, x: np.ndarray, y: np.ndarray) -> MatLike:
    """Return a plane covered with a texture (H, W, 3), uint8, mirrored at its edges.

    `x` and `y` (H, W) are positions on the plane in units of the texture's side.
    """
    last = np.float32(len(surface) - 1)
    columns, rows = (last * np.abs(1 - (place - 2 * np.floor(0.5 * place))).astype(np.float32) for place in (x, y))
    return cv2.remap(cv2.convertScaleAbs(surface, alpha=255), columns, rows, cv2.INTER_LINEAR)


def _draw_table(rng: np.random.Generator, easel: Easel, scene: Scene) -> None:
    thick_m = scene.table_m if rng.random() < 0.4 else 0.04  # a counter or a table
    size, centre = (rng.uniform(0.9, 1.6), rng.uniform(0.5, 0.7), thick_m), (0.0, 0.0, scene.table_m - thick_m)
    top = Thing(str(rng.choice(["wood", "plastic", "metal", "cloth"])), "slab", size, centre, 0.0, 1)
    for x in (-0.45, 0.45):
        foot = np.array([x * size[0], -0.2, 0.0])
        leg = easel.view.project(np.stack([foot, foot + np.array([0, 0, scene.table_m])]))
        px = 0.02 * float(easel.view.px_per_m(foot))
        easel.fill(
            np.stack([leg[0] - [px, 0], leg[0] + [px, 0], leg[1] + [px, 0], leg[1] - [px, 0]]),
            np.array([0.2, 0.18, 0.17], np.float32),
        )
    draw_thing(easel, top)


def _cast_shadow(ground: Easel, thing: Thing, depth: float) -> None:
    """Darken the ground in the soft shadow of a thing, including the area around its bottom."""
    bottom = footprint(thing)
    shift = thing.size_m[2] * np.array([-ground.light[0], -ground.light[1], 0.0]) / ground.light[2]
    outline = hull(ground.view.project(bottom), ground.view.project(bottom + shift))
    soft_px = max(1.0, ground.canvas.shape[0] / 50)
    reach_px = math.ceil(3 * soft_px)
    box = ground.bounds(np.concatenate([outline - reach_px, outline + reach_px]))
    if box is None or np.abs(outline).max() > 1e4:
        return
    part = ground.canvas[box]
    through: MatLike = np.full(part.shape[:2], 255, np.uint8)
    moved = np.rint(16 * (outline - [box[1].start, box[0].start])).astype(np.int32)
    cv2.fillConvexPoly(through, moved, round(255 * (1 - 1.2 * depth)), cv2.LINE_AA, 4)
    through = cv2.GaussianBlur(through, (0, 0), soft_px)
    cv2.multiply(part, cv2.cvtColor(through, cv2.COLOR_GRAY2RGBA), part, 1 / 255)


def _light_map(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return uneven light (H, W), float32: it falls off away from a centre, or shadows of things not seen lie in it."""
    height, width = size
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None]
    centre = rng.normal(0, 0.4, 2).astype(np.float32)
    fall = rng.uniform(0.0, 0.3) if rng.random() < 0.5 else 0.0
    light = np.maximum(0, 1.1 - np.float32(fall) * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2))
    kind = rng.choice(["even", "dappled", "edge", "glaring"], p=[0.58, 0.14, 0.16, 0.12])
    if kind == "glaring":
        return light * np.float32(rng.uniform(1.3, 1.9))
    if kind != "even":
        angle = rng.uniform(0, 2 * math.pi)
        cover = cv2.resize(fractal(rng, 64, rng.uniform(3, 9)), (width, height))
        if kind == "edge":
            cover = 2 * ((x - centre[0]) * np.float32(math.cos(angle)) + (y - centre[1]) * np.float32(math.sin(angle)))
        dark = np.float32(rng.uniform(0.25, 0.6))
        light *= 1.2 * (dark + (1 - dark) * np.clip(0.5 + cover / np.float32(rng.uniform(0.05, 0.8)), 0, 1))
    return light


def _reduced(canvas: np.ndarray, index: int, factor: int, shine: np.ndarray | None = None) -> Layer | None:
    """Return a drawn canvas as a layer at the picture's resolution, cropped to its content; None if it is empty.

    `shine` (H, W, 1) is the light by which its colours are multiplied.
    """
    left, top, width, height = cv2.boundingRect(cv2.extractChannel(canvas, 3))
    if width == 0 or height == 0:
        return None
    x, y, right, bottom = left // factor, top // factor, -(-(left + width) // factor), -(-(top + height) // factor)
    part: MatLike = canvas[y * factor : bottom * factor, x * factor : right * factor]
    if factor > 1:
        part = cv2.resize(part, (right - x, bottom - y), interpolation=cv2.INTER_AREA)
    through = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(part, 3)), cv2.COLOR_GRAY2RGB)
    colour = cv2.cvtColor(part, cv2.COLOR_RGBA2RGB)
    if shine is not None:
        colour = np.minimum(colour * shine[y:bottom, x:right], 255 - through).astype(np.uint8)
    return Layer(index, colour, through, x, y)
