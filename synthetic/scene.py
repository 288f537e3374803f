"""Layout of a scene: the things that can be struck, the spots on them, and the camera's place.

World: metres, x to the right, y away from the camera, z up, the ground at z = 0.
"""

import math
from dataclasses import dataclass

import numpy as np

from synthetic.materials import MATERIALS, Range

GROUND_SHAPES = frozenset({"ground", "wall"})
UP = np.array([0.0, 0.0, 1.0])
TOWARDS_CAMERA = np.array([0.0, -1.0, 0.0])

# width, depth and height in metres by shape
# fmt: off
SIZES_M: dict[str, tuple[Range, Range, Range]] = {
    "ground": ((1.2, 3.0), (0.8, 2.5), (0.008, 0.03)), "wall": ((1.5, 4.0), (0.02, 0.06), (1.5, 2.6)),
    "slab": ((0.12, 0.45), (0.1, 0.35), (0.02, 0.16)), "cylinder": ((0.06, 0.22), (0.06, 0.22), (0.08, 0.28)),
    "vessel": ((0.07, 0.24), (0.07, 0.24), (0.05, 0.14)), "disc": ((0.14, 0.32), (0.14, 0.32), (0.01, 0.03)),
    "rail": ((0.5, 1.5), (0.02, 0.06), (0.02, 0.06)), "drum": ((0.2, 0.4), (0.2, 0.4), (0.12, 0.35)),
    "blob": ((0.1, 0.38), (0.1, 0.3), (0.06, 0.2)), "sheet": ((0.18, 0.5), (0.15, 0.45), (0.003, 0.02)),
    "bush": ((0.2, 0.5), (0.2, 0.4), (0.1, 0.3)), "pile": ((0.25, 0.6), (0.25, 0.5), (0.05, 0.12)),
    "pool": ((0.35, 1.0), (0.3, 0.8), (0.04, 0.12)),
}
# fmt: on
ROUND_SHAPES = frozenset({"cylinder", "vessel", "disc", "drum"})
SPAN_M = {"forearm": (0.5, 1.15), "close": (0.3, 0.6), "arm": (0.9, 1.5), "player": (1.6, 6.0)}
VIEWS = {"forearm": 5.5, "close": 1.5, "arm": 1.5, "player": 1.5}  # of camera, with their weights
TABLE_HEIGHT_M = 0.72
FOREARM_M = 0.27
GRAVITY_M_S2 = 9.81
WATER_LEVEL = 0.6  # of a pool, as a share of its height


@dataclass(frozen=True)
class Thing:
    """An object or a surface.

    Args:
        material: Name in `synthetic.materials.MATERIALS`.
        shape: Name in `SIZES_M`.
        size_m: Width, depth and height.
        centre_m: x, y and z of the middle of its bottom.
        turn_rad: Rotation about the vertical axis.
        seed: Seed of its sound and appearance.
    """

    material: str
    shape: str
    size_m: tuple[float, float, float]
    centre_m: tuple[float, float, float]
    turn_rad: float
    seed: int


@dataclass(frozen=True, eq=False)
class Spot:
    """A place that can be struck: a surface point (3,), its normal (3,), and its eccentricity from 0 (centre) to 1."""

    point_m: np.ndarray
    normal: np.ndarray
    eccentricity: float


@dataclass(frozen=True)
class Scene:
    """Things, surroundings and camera position.

    Args:
        things: Things that are struck, one or more.
        clutter: Things that are not struck.
        ground: Material of the ground.
        wall: Material of the wall behind, or None if there is no wall.
        wall_y_m: y coordinate of the wall.
        view: One of `VIEWS`: the forearm fills much of the picture, or mostly the stick, the whole arm, or a player is
            seen.
        span_m: Width of the camera's view at the things.
        azimuth_rad: Angle by which the camera is turned to the right.
        elevation_rad: Angle by which the camera looks down.
        roll_rad: Roll of the camera.
        distance_spans: Distance from the camera to the things, in spans: small for a wide-angle lens.
        player_rad: Direction from the things to the player, seen from above, anticlockwise from the right.
        table_m: Height of the table under the things; 0 if they stand on the ground.
        seed: Seed of the appearance.
    """

    things: tuple[Thing, ...]
    clutter: tuple[Thing, ...]
    ground: str
    wall: str | None
    wall_y_m: float
    view: str
    span_m: float
    azimuth_rad: float
    elevation_rad: float
    roll_rad: float
    distance_spans: float
    player_rad: float
    table_m: float
    seed: int


def log_uniform(rng: np.random.Generator, limits: Range) -> float:
    """Draw a number between two positive limits, uniformly on a logarithmic scale."""
    return float(np.exp(rng.uniform(math.log(limits[0]), math.log(limits[1]))))


def pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """Draw a name with probabilities proportional to the weights."""
    shares = np.array(list(weights.values()), float)
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene: one to four things of one or more materials, clutter, and a camera."""
    material = str(rng.choice(sorted(MATERIALS)))
    shapes = MATERIALS[material].shapes
    shape = pick(rng, {name: share * (2 if name == "wall" else 1) for name, share in shapes.items()})
    view = pick(rng, VIEWS if shape not in GROUND_SHAPES | {"pool"} else VIEWS | {"player": 0})
    span_m = log_uniform(rng, SPAN_M[view])
    table_m = TABLE_HEIGHT_M if view == "player" else 0.0
    if view == "player" and rng.random() < 0.35:
        material, shape = ("plastic", "drum") if rng.random() < 0.7 else ("metal", "disc")
    things = [new_thing(rng, material, shape, span_m, (0.0, 0.0, table_m))]
    n_more = 0 if shape in GROUND_SHAPES | {"pool"} else int(rng.choice(4, p=[0.5, 0.25, 0.15, 0.1]))
    for side in rng.permutation([-1, 1, 2])[:n_more]:
        if rng.random() < 0.5:
            material = str(rng.choice(sorted(MATERIALS)))
        standing = {name: share for name, share in MATERIALS[material].shapes.items() if name not in GROUND_SHAPES}
        if standing and "pool" not in standing:
            reach_m = rng.uniform(0.25, 0.4) * min(span_m, 1.1)
            x, y = reach_m * np.array([side % 2 * side, 0.5 * (side == 2)])
            things.append(new_thing(rng, material, pick(rng, standing), span_m, (float(x), float(y), table_m)))
    ground = things[0].material if shape == "ground" else str(rng.choice(["wood", "carpet", "tile", "rock", "cloth"]))
    if shape not in GROUND_SHAPES and things[0].material in {"grass", "leaf", "dirt", "gravel", "water"}:
        ground = str(rng.choice(["grass", "dirt", "gravel", "leaf", "rock"]))
    facing = shape == "wall"
    azimuth_rad, elevation_rad, roll_rad = _draw_angles(rng, view, facing)
    return Scene(
        things=tuple(things),
        clutter=tuple(_clutter(rng, span_m, table_m, facing)),
        ground=ground,
        wall=things[0].material if facing else str(rng.choice(["drywall", "wood", "tile", "cloth", "rock"])),
        wall_y_m=0.0 if facing else span_m * rng.uniform(0.5, 1.6),
        view=view,
        span_m=span_m,
        azimuth_rad=azimuth_rad,
        elevation_rad=elevation_rad,
        roll_rad=roll_rad,
        distance_spans=log_uniform(rng, (0.9, 2.5)),
        player_rad=0.5 * math.pi if view == "player" else _draw_side(rng, azimuth_rad, facing),
        table_m=table_m,
        seed=int(rng.integers(2**31)),
    )


def _draw_angles(rng: np.random.Generator, view: str, facing_wall: bool) -> tuple[float, float, float]:
    """Draw azimuth, elevation and roll of the camera; it looks at walls obliquely, and often steeply down elsewhere."""
    roll_deg = rng.normal(0, 4 if rng.random() < 0.5 else 22)
    if view == "player":
        azimuth_deg, elevation_deg, roll_deg = 0.0, rng.uniform(3, 25), rng.normal(0, 3)
    elif facing_wall:
        azimuth_deg, elevation_deg = rng.uniform(-55, 55), rng.uniform(0, 30)
    else:
        azimuth_deg = rng.uniform(-15, 15)
        elevation_deg = rng.uniform(18, 55) if rng.random() < 0.55 else rng.uniform(50, 85)
    azimuth, elevation, roll = np.radians([azimuth_deg, elevation_deg, np.clip(roll_deg, -50, 50)]).tolist()
    return azimuth, elevation, roll


def _draw_side(rng: np.random.Generator, azimuth_rad: float, facing_wall: bool) -> float:
    """Draw the direction to a player outside the picture: mostly to the left or right, sometimes near or far."""
    side = rng.choice([-1.0, 1.0])
    if facing_wall:
        return float(-0.5 * math.pi + side * rng.uniform(0.8, 1.57))
    return float(-0.5 * math.pi + side * rng.uniform(0.2, 1.9 if rng.random() < 0.85 else math.pi) - azimuth_rad)


def new_thing(
    rng: np.random.Generator, material: str, shape: str, span_m: float, centre_m: tuple[float, float, float]
) -> Thing:
    """Draw a thing of a material and a shape, of a size that fits into a view of `span_m`."""
    size = np.array([log_uniform(rng, limits) for limits in SIZES_M[shape]])
    if shape in ROUND_SHAPES:
        size[1] = size[0]
    if shape not in GROUND_SHAPES:
        size *= np.clip(rng.uniform(0.4, 0.9) * span_m / size[0], 0, 1) ** 0.8  # fit struck things to the view
        size *= max(1.0, 0.2 * min(span_m, 1.5) / size[0]) ** 0.7
    if shape == "wall":
        centre_m = (0.0, 0.0, -0.8)
    if shape == "rail":
        centre_m = (centre_m[0], centre_m[1], centre_m[2] + rng.uniform(0.05, 0.3) * span_m)
    turn_rad = rng.uniform(-0.6, 0.6) if shape not in GROUND_SHAPES else 0.0
    seed = int(rng.integers(2**31))
    return Thing(material, shape, (float(size[0]), float(size[1]), float(size[2])), centre_m, float(turn_rad), seed)


def _clutter(rng: np.random.Generator, span_m: float, table_m: float, facing_wall: bool) -> list[Thing]:
    """Draw things around the middle that are not struck; sometimes one stands in front of everything."""
    clutter = []
    for _ in range(int(rng.integers(0, 9))):
        material = str(rng.choice(["wood", "metal", "plastic", "paper", "cloth", "ceramic", "leaf"]))
        shapes = {name: share for name, share in MATERIALS[material].shapes.items() if name not in GROUND_SHAPES}
        in_front = rng.random() < 0.12
        angle = rng.uniform(0.1, math.pi - 0.1)
        reach = span_m * rng.uniform(0.42, 0.75)
        y = -0.3 * span_m if in_front else reach * math.sin(angle)
        if table_m:  # on the table or on the floor behind it
            reach, y = (reach, 1.2) if rng.random() < 0.5 else (rng.uniform(0.2, 0.4), rng.uniform(-0.2, 0.2))
        height_m = 0.0 if y > 1 else table_m
        if facing_wall:  # on something in front of the wall
            y, height_m = -rng.uniform(0.1, 0.4) * span_m, rng.uniform(-0.3, 0.05)
        shape = "slab" if rng.random() < 0.25 else pick(rng, shapes)
        clutter.append(new_thing(rng, material, shape, span_m, (reach * math.cos(angle), y, height_m)))
    return clutter


def draw_spot(rng: np.random.Generator, thing: Thing, span_m: float) -> Spot:
    """Draw a spot at which a thing can be struck: on its top, its rim or its side, on a visible surface."""
    width, depth, height = thing.size_m
    x, y, z = thing.centre_m
    angle = rng.uniform(0, 2 * math.pi)
    radius = 0.5 * math.sqrt(rng.uniform(0, 0.8))
    if thing.shape == "wall":
        point = np.array([rng.normal(0, 0.14 * span_m), 0.0, max(0.02, 0.3 + rng.normal(0, 0.1 * span_m))])
        return Spot(point, TOWARDS_CAMERA, radius * 2)
    if thing.shape == "ground":
        return Spot(np.array([*rng.normal(0, 0.1 * span_m, 2), 0.0]), UP, radius * 2)
    if thing.shape in {"cylinder", "vessel", "blob"} and rng.random() < 0.35:
        angle = -0.5 * math.pi + rng.uniform(-1.5, 1.5)  # the side facing the camera
        out = np.array([math.cos(angle), math.sin(angle), 0.0])
        side_z = z + height * rng.uniform(0.4, 0.85)
        normal = out if rng.random() < 0.5 and thing.shape != "blob" else 0.8 * out + 0.6 * UP
        return Spot(np.array([x, y, side_z]) + 0.5 * width * out, normal, 0.9)
    if thing.shape == "slab" and height > 0.1 * span_m and rng.random() < 0.4:
        return _side_spot(rng, thing)
    if thing.shape == "vessel":
        radius = 0.5
    if thing.shape == "blob":
        radius *= 0.5
    flat = np.array([width * radius * math.cos(angle), depth * radius * math.sin(angle)])
    cos, sin = math.cos(thing.turn_rad), math.sin(thing.turn_rad)
    point = np.array([x + cos * flat[0] - sin * flat[1], y + sin * flat[0] + cos * flat[1], z + height])
    if thing.shape in {"blob", "bush", "pile"}:
        point[2] -= 0.9 * height * (2 * radius) ** 2
    if thing.shape == "pool":
        point[2] = z + WATER_LEVEL * height
    return Spot(point, UP, min(1.0, 2 * radius))


def _side_spot(rng: np.random.Generator, thing: Thing) -> Spot:
    """Draw a spot on the left, right or front side of a box."""
    width, depth, height = thing.size_m
    side, along = int(rng.integers(3)), rng.uniform(-0.4, 0.4)
    out = np.array([[-1, 0], [1, 0], [0, -1]])[side]
    flat = np.array([width, depth]) * (0.5 * out + along * np.abs(out[::-1]))
    cos, sin = math.cos(thing.turn_rad), math.sin(thing.turn_rad)
    turn = np.array([[cos, -sin], [sin, cos]])
    point = np.append(turn @ flat, height * rng.uniform(0.4, 0.9)) + thing.centre_m
    return Spot(point, np.append(turn @ out, 0.0), 2 * abs(along))


def across_and_along(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two directions (3,) in a surface: to the right, and away from the camera or, on a side, up."""
    across = np.array([1.0, 0.0, 0.0])
    if normal[2] < 0.99:
        across = np.array([-normal[1], normal[0], 0.0]) / np.hypot(normal[0], normal[1])
    return across, np.cross(normal, across)


def kept_on(thing: Thing, spot: Spot, path_m: np.ndarray) -> np.ndarray:
    """Return a path (3,) from a spot on top of a thing, reversed and shortened so that it stays on the thing.

    Paths on ground, walls and inclined surfaces are returned unchanged.
    """
    if thing.shape in GROUND_SHAPES or spot.normal[2] < 1:
        return path_m
    cos, sin = math.cos(thing.turn_rad), math.sin(thing.turn_rad)
    turn = np.array([[cos, sin], [-sin, cos]])  # into the directions of the thing's sides
    start, way = turn @ (spot.point_m - thing.centre_m)[:2], turn @ path_m[:2]
    half_m = 0.45 * np.array(thing.size_m[:2])
    end = np.clip(start - math.copysign(1.0, way @ start) * way, -half_m, half_m)
    if thing.shape not in {"slab", "sheet", "rail"}:
        end /= max(1.0, float(np.linalg.norm(end / half_m)))
    return np.append(turn.T @ (end - start), 0.0)
