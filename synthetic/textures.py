"""Albedo textures of every material, drawn from noise and small marks."""

import colorsys
import math
from collections.abc import Callable

import cv2
import numpy as np

Texture = np.ndarray  # (n, n, 3), float32, RGB, 0 to 1
Palette = tuple[tuple[float, float, float], ...]
_WOODS: Palette = ((0.72, 0.53, 0.34), (0.5, 0.33, 0.2), (0.83, 0.7, 0.5), (0.35, 0.22, 0.14), (0.62, 0.4, 0.22))
_GREENS: Palette = ((0.25, 0.42, 0.13), (0.4, 0.52, 0.2), (0.18, 0.33, 0.12), (0.5, 0.55, 0.25))
_LEAVES: Palette = (*_GREENS, (0.55, 0.4, 0.18), (0.65, 0.5, 0.2), (0.42, 0.26, 0.14), (0.6, 0.3, 0.15))
_EARTHS: Palette = ((0.36, 0.26, 0.18), (0.45, 0.35, 0.25), (0.28, 0.2, 0.15), (0.52, 0.42, 0.3))
_STONES: Palette = ((0.5, 0.49, 0.47), (0.62, 0.6, 0.56), (0.38, 0.37, 0.36), (0.58, 0.5, 0.42), (0.7, 0.69, 0.67))
_METALS: Palette = ((0.68, 0.69, 0.71), (0.5, 0.51, 0.53), (0.32, 0.32, 0.34), (0.72, 0.6, 0.36), (0.6, 0.38, 0.28))
_CERAMICS: Palette = ((0.93, 0.92, 0.88), (0.88, 0.84, 0.74), (0.5, 0.62, 0.72), (0.75, 0.42, 0.3), (0.35, 0.5, 0.42))
_PALES: Palette = ((0.92, 0.91, 0.88), (0.85, 0.84, 0.8), (0.87, 0.83, 0.72), (0.75, 0.8, 0.82), (0.8, 0.72, 0.68))
_WATERS: Palette = ((0.25, 0.4, 0.45), (0.35, 0.5, 0.58), (0.3, 0.36, 0.3), (0.5, 0.6, 0.66))


def fractal(rng: np.random.Generator, n: int, cells: float, stretch: float = 1.0, octaves: int = 4) -> np.ndarray:
    """Draw noise (n, n), float32, with a mean near 0 and a deviation of 1: octaves of smoothly enlarged random numbers.

    Args:
        rng: Random generator.
        n: Pixels a side.
        cells: Numbers a side in the lowest octave.
        stretch: Above 1: ratio of length to height of the marks.
        octaves: Number of octaves; each has twice the detail and 0.6 times the height of the one before.
    """
    total = np.zeros((n, n), np.float32)
    height = 1.0
    for octave in range(octaves):
        rows = cells * 2**octave
        shape = (max(2, min(n, round(rows))), max(2, min(n, round(rows / stretch))))
        numbers = rng.standard_normal(shape, np.float32)
        total += height * cv2.resize(numbers, (n, n), interpolation=cv2.INTER_CUBIC)
        height *= 0.6
    return total / (total.std() + 1e-6)


def colour_of(rng: np.random.Generator, palette: Palette) -> np.ndarray:
    """Draw a colour near one of a palette (3,), float32."""
    colour = (
        np.array(palette[int(rng.integers(len(palette)))]) * np.exp(rng.normal(0, 0.03, 3)) * rng.uniform(0.75, 1.15)
    )
    return np.clip(colour, 0.02, 0.97).astype(np.float32)


def any_colour(rng: np.random.Generator) -> np.ndarray:
    """Draw any colour (3,), float32: often saturated, often grey, black or white."""
    saturation = rng.uniform(*(((0, 0.15), (0.15, 0.45), (0.45, 0.8))[int(rng.choice(3, p=[0.45, 0.35, 0.2]))]))
    return np.array(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.08, 0.9)), np.float32)


def mean_colour(surface: Texture) -> np.ndarray:
    """Return the mean colour of a texture (3,), float32."""
    return np.array(cv2.mean(surface)[:3], np.float32)


def texture(rng: np.random.Generator, material: str, n: int) -> Texture:
    """Draw the surface of a material, n pixels a side, 0 to 1."""
    return np.clip(_TEXTURES[material](rng, n), 0, 1)


def _tinted(colour: np.ndarray, *layers: tuple[float, np.ndarray]) -> Texture:
    """Return a colour made lighter and darker by weighted noises."""
    light = np.ones_like(layers[0][1])
    for weight, noise in layers:
        light += weight * noise
    return colour * light[..., None]


def _wood(rng: np.random.Generator, n: int) -> Texture:
    bend = fractal(rng, n, 2, 5, 3)
    rows = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    rings = np.sin(2 * math.pi * (rng.uniform(3, 12) * rows + rng.uniform(0.2, 0.8) * bend))
    image = _tinted(colour_of(rng, _WOODS), (0.1, rings), (0.07, fractal(rng, n, 24, 12, 2)), (0.04, bend))
    if rng.random() < 0.5:
        n_planks = int(rng.integers(2, 7))
        for i in range(n_planks):
            rows_of = slice(i * n // n_planks, (i + 1) * n // n_planks)
            image[rows_of] *= rng.uniform(0.82, 1.12)
            image[i * n // n_planks] *= 0.45
    return image


def _metal(rng: np.random.Generator, n: int) -> Texture:
    colour = any_colour(rng) if rng.random() < 0.2 else colour_of(rng, _METALS)
    return _tinted(colour, (0.05, fractal(rng, n, 32, 24, 2)), (0.14, fractal(rng, n, 2, 1, 2)))


def _ceramic(rng: np.random.Generator, n: int) -> Texture:
    image = _tinted(colour_of(rng, _CERAMICS), (0.02, fractal(rng, n, 3)))
    if rng.random() < 0.4:
        first = int(rng.uniform(0.1, 0.7) * n)
        image[first : first + int(rng.uniform(0.04, 0.25) * n)] = any_colour(rng)
    return image


def _plastic(rng: np.random.Generator, n: int) -> Texture:
    return _tinted(any_colour(rng), (0.02, fractal(rng, n, 3)))


def _bag(rng: np.random.Generator, n: int) -> Texture:
    creases = 1 - np.abs(fractal(rng, n, 4, 1, 4))
    colour = colour_of(rng, _PALES) if rng.random() < 0.65 else any_colour(rng)
    return _tinted(colour, (0.1, creases), (0.06, fractal(rng, n, 2)))


def _cloth(rng: np.random.Generator, n: int) -> Texture:
    image = _tinted(any_colour(rng), (0.07, rng.standard_normal((n, n), np.float32)), (0.12, fractal(rng, n, 2, 1, 3)))
    position = np.arange(n) / n * rng.integers(3, 14)
    stripes = ((position % 1.0) < rng.uniform(0.2, 0.5)).astype(np.float32)
    kind = rng.random()
    other = any_colour(rng)
    if kind < 0.45:
        amount = 0.6 * (stripes[:, None] + (stripes[None] if kind < 0.2 else 0 * stripes[None]))
        amount = np.minimum(amount, 1.0)[..., None]
        image = image * (1 - amount) + other * amount
    return image


def _carpet(rng: np.random.Generator, n: int) -> Texture:
    colour = 0.75 * any_colour(rng) + 0.1
    pile = cv2.GaussianBlur(rng.standard_normal((n, n), np.float32), (3, 3), 0.8)
    image = _tinted(colour, (0.3, pile), (0.08, fractal(rng, n, 3)))
    return image + 0.04 * rng.standard_normal((n, n, 3), np.float32)


def _paper(rng: np.random.Generator, n: int) -> Texture:
    brown = rng.random() < 0.25
    colour = np.array([0.68, 0.53, 0.36], np.float32) if brown else colour_of(rng, _PALES[:3])
    image = _tinted(colour, (0.02, fractal(rng, n, 4)))
    if brown and rng.random() < 0.7:  # print on a box
        printed = np.zeros((n, n), np.uint8)
        for _ in range(int(rng.integers(1, 4))):
            place = (rng.uniform(0.05, 0.8, 2) * n).astype(int).tolist()
            text = "".join(rng.choice(list("ABDEHKLMNORST 0123456789"), int(rng.integers(3, 8))))
            scale = n * rng.uniform(0.003, 0.012)
            cv2.putText(
                printed, text, place, cv2.FONT_HERSHEY_DUPLEX, scale, 255, max(1, round(1.5 * scale)), cv2.LINE_AA
            )
        image += (printed / np.float32(255))[..., None] * (any_colour(rng) - image)
    if not brown and rng.random() < 0.6:
        for row in range(n // 10, n * 9 // 10, max(3, n // 22)):
            end = int(n * rng.uniform(0.5, 0.9))
            ink = rng.random((end - n // 10, 1)) < 0.75
            image[row, n // 10 : end] *= np.where(ink, 0.55, 1.0)
    return image


def _strewn(
    rng: np.random.Generator,
    n: int,
    ground: Texture,
    palette: Palette,
    size: tuple[float, float],
    slim: float,
    count: int,
) -> Texture:
    """Draw many small ellipses with a lit and a dark side."""
    image = ground.copy()
    colours = [colour_of(rng, palette) for _ in range(8)]
    tones = [[(tone * colour).clip(0, 1).tolist() for tone in (0.35, 1.0, 1.25)] for colour in colours]
    places = rng.integers(0, n, (count, 2)).tolist()
    longs = rng.uniform(*size, count) * n
    axes = np.stack([longs, longs * slim * rng.uniform(0.7, 1.3, count)], axis=1)
    half_axes = np.maximum(1, np.rint(axes)).astype(int).tolist()
    angles = rng.uniform(0, 180, count).tolist()
    for i, ((x, y), (long, short)) in enumerate(zip(places, half_axes, strict=True)):
        dark, middle, light = tones[i % len(tones)]
        cv2.ellipse(image, (x + 1, y + 1), (long, short), angles[i], 0, 360, dark, -1)
        cv2.ellipse(image, (x, y), (long, short), angles[i], 0, 360, middle, -1)
        if short > 2:
            cv2.ellipse(image, (x - 1, y - 1), (long // 2, short // 2), angles[i], 0, 360, light, -1)
    return image


def _leaves(rng: np.random.Generator, n: int) -> Texture:
    kept = tuple(_LEAVES[i] for i in rng.permutation(len(_LEAVES))[:3])
    ground = _tinted(0.5 * colour_of(rng, kept), (0.2, fractal(rng, n, 8)))
    return _strewn(rng, n, ground, kept, (0.02, 0.06), 0.5, 170)


def _grass(rng: np.random.Generator, n: int) -> Texture:
    image = _tinted(0.6 * colour_of(rng, _GREENS), (0.25, fractal(rng, n, 10)), (0.1, fractal(rng, n, 2)))
    colours = [colour_of(rng, _GREENS).tolist() for _ in range(8)]
    starts = rng.uniform(0, n, (300, 2))
    angles, lengths = rng.uniform(0, 2 * math.pi, 300), rng.uniform(0.02, 0.07, 300) * n
    ends = starts + lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for i, (start, end) in enumerate(zip(starts.astype(int).tolist(), ends.astype(int).tolist(), strict=True)):
        cv2.line(image, start, end, colours[i % len(colours)], 1)
    return image


def _gravel(rng: np.random.Generator, n: int) -> Texture:
    kept = tuple(_STONES[i] for i in rng.permutation(len(_STONES))[:3])
    ground = _tinted(0.35 * colour_of(rng, kept), (0.2, fractal(rng, n, 16)))
    least = rng.uniform(0.008, 0.025)
    return _strewn(rng, n, ground, kept, (least, 2 * least), 0.75, 240)


def _dirt(rng: np.random.Generator, n: int) -> Texture:
    ground = _tinted(
        colour_of(rng, _EARTHS), (0.16, fractal(rng, n, 4, 1, 5)), (0.1, rng.standard_normal((n, n), np.float32))
    )
    return _strewn(rng, n, ground, _EARTHS, (0.004, 0.014), 0.8, 60)


def _rock(rng: np.random.Generator, n: int) -> Texture:
    cracks = np.maximum(0, 0.08 - np.abs(fractal(rng, n, 3))) * 8
    speckle = rng.standard_normal((n, n), np.float32)
    return _tinted(colour_of(rng, _STONES), (0.13, fractal(rng, n, 4, 1, 5)), (0.07, speckle), (-0.4, cracks))


def _tile(rng: np.random.Generator, n: int) -> Texture:
    colour = colour_of(rng, _PALES + _CERAMICS + _STONES)
    image = _tinted(colour, (0.03, fractal(rng, n, 3)))
    n_tiles = int(rng.integers(2, 6))
    edges = np.arange(n_tiles) * n // n_tiles
    for i in edges:
        for j in edges:
            image[i : i + n // n_tiles, j : j + n // n_tiles] *= rng.uniform(0.93, 1.05)
    thick = max(1, n // 90)
    grout = (0.5 if colour.mean() > 0.5 else 1.5) * colour
    for edge in edges:
        image[edge : edge + thick] = grout
        image[:, edge : edge + thick] = grout
    return image


def _drywall(rng: np.random.Generator, n: int) -> Texture:
    peel = cv2.GaussianBlur(rng.standard_normal((n, n), np.float32), (3, 3), 1)
    return _tinted(colour_of(rng, _PALES), (0.025, peel), (0.03, fractal(rng, n, 2)))


def _water(rng: np.random.Generator, n: int) -> Texture:
    waves = fractal(rng, n, 6, 3, 3)
    return _tinted(colour_of(rng, _WATERS), (0.12, waves)) + 0.5 * np.maximum(0, waves - 1.4)[..., None]


_TEXTURES: dict[str, Callable[[np.random.Generator, int], Texture]] = {
    "wood": _wood,
    "metal": _metal,
    "glass": lambda rng, n: _tinted(np.array([0.75, 0.85, 0.83], np.float32), (0.03, fractal(rng, n, 2))),
    "ceramic": _ceramic,
    "plastic": _plastic,
    "plastic-bag": _bag,
    "cloth": _cloth,
    "carpet": _carpet,
    "paper": _paper,
    "leaf": _leaves,
    "grass": _grass,
    "gravel": _gravel,
    "dirt": _dirt,
    "rock": _rock,
    "tile": _tile,
    "drywall": _drywall,
    "water": _water,
}
