"""Additions of an editor to a finished picture: titles that move, logos, bars, borders and blurred sides."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.scene import log_uniform, pick
from synthetic.textures import any_colour

Overlay = Callable[[np.ndarray, float], None]
TITLES = {"crawl": 1.5, "pop-up": 2.0, "counter": 1.5, "roll": 1.0, "logo": 1.5}
BORDERS = {"covered": 1.5, "letterbox": 1.0, "pillarbox": 0.7, "inset": 1.0, "corner": 0.8, "sides": 1.5}
_FONTS = (cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
_LETTERS = list("ABCDEFGHIKLMNOPRSTUVW aeinrst 0123456789.!?")


@dataclass(frozen=True, eq=False)
class _Text:
    """Look of a text; its letters are `size_px` high."""

    words: str
    size_px: float
    colour: tuple[float, ...]
    font: int
    outline: bool

    def put(self, picture: np.ndarray, x_px: float, y_px: float, words: str | None = None, grown: float = 1.0) -> None:
        """Draw the text, or other words in its look, from its lower left corner on."""
        scale = grown * self.size_px / 22
        place, words = (round(x_px), round(y_px)), words or self.words
        if self.outline:
            cv2.putText(picture, words, place, self.font, scale, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(picture, words, place, self.font, scale, self.colour, 1, cv2.LINE_AA)

    @property
    def width_px(self) -> float:
        """Width of the text."""
        return float(cv2.getTextSize(self.words, self.font, self.size_px / 22, 1)[0][0])


def draw_title(rng: np.random.Generator, width_px: int, height_px: int, duration_s: float) -> Overlay:
    """Draw a title for pictures of this size: it draws itself into a picture (H, W, 3) at a time, in place."""
    kind = pick(rng, TITLES)
    n_letters = int(rng.integers(15, 60)) if kind == "crawl" else int(rng.integers(3, 14))
    size_px = height_px * log_uniform(rng, (0.05, 0.2 if kind == "pop-up" else 0.1))
    colour = tuple((255 * (np.ones(3) if rng.random() < 0.6 else any_colour(rng))).tolist())
    words = "".join(rng.choice(_LETTERS, n_letters))
    text = _Text(words, size_px, colour, _FONTS[int(rng.integers(len(_FONTS)))], bool(rng.random() < 0.5))
    return _TITLES[kind](rng, text, (width_px, height_px), duration_s)


def _crawl(rng: np.random.Generator, text: _Text, size_px: tuple[int, int], _duration_s: float) -> Overlay:
    """Run a line of text through a band at the bottom or the top."""
    speed_px_s = size_px[0] * log_uniform(rng, (0.1, 0.8)) * rng.choice([1, -1], p=[0.9, 0.1])
    y_px = round(size_px[1] * rng.choice([0.95, 0.12], p=[0.8, 0.2]))
    band = [round(value) for value in 180 * any_colour(rng)] if rng.random() < 0.7 else None
    length_px, before_px = size_px[0] + text.width_px, rng.uniform(0, size_px[0])

    def draw(picture: np.ndarray, time_s: float) -> None:
        if band is not None:
            picture[max(0, round(y_px - 1.3 * text.size_px)) : round(y_px + 0.4 * text.size_px)] = band
        text.put(picture, size_px[0] - (before_px + speed_px_s * time_s) % length_px, y_px)

    return draw


def _pop_up(rng: np.random.Generator, text: _Text, size_px: tuple[int, int], duration_s: float) -> Overlay:
    """Show a text for some time; it may grow as it appears."""
    start_s, length_s = rng.uniform(-0.5, 0.8 * duration_s), log_uniform(rng, (0.3, 3.0))
    grow_s = float(rng.choice([0.0, 0.2, 0.5]))
    x_px, y_px = rng.uniform(0, 0.5) * size_px[0], rng.uniform(0.2, 0.95) * size_px[1]

    def draw(picture: np.ndarray, time_s: float) -> None:
        if start_s <= time_s < start_s + length_s:
            text.put(picture, x_px, y_px, grown=min(1.0, 0.2 + (time_s - start_s) / grow_s) if grow_s else 1.0)

    return draw


def _counter(rng: np.random.Generator, text: _Text, size_px: tuple[int, int], _duration_s: float) -> Overlay:
    """Show a number or a time that counts."""
    rate_hz = float(rng.choice([1.0, 2.0, 10.0, 25.0]))
    first = int(rng.integers(0, 3000))
    x_px, y_px = rng.uniform(0, 0.7) * size_px[0], size_px[1] * rng.choice([0.12, 0.95])

    def draw(picture: np.ndarray, time_s: float) -> None:
        count = first + math.floor(time_s * rate_hz)
        text.put(picture, x_px, y_px, f"{count // 60:02d}:{count % 60:02d}")

    return draw


def _roll(rng: np.random.Generator, text: _Text, size_px: tuple[int, int], _duration_s: float) -> Overlay:
    """Move lines upwards, as credits do."""
    speed_px_s, x_px = size_px[1] * log_uniform(rng, (0.1, 0.5)), rng.uniform(0.1, 0.6) * size_px[0]
    gap_px = text.size_px * rng.uniform(1.8, 3)

    def draw(picture: np.ndarray, time_s: float) -> None:
        for line in range(math.ceil(size_px[1] / gap_px) + 1):
            text.put(picture, x_px, size_px[1] + gap_px * (1 - line) - (speed_px_s * time_s) % gap_px)

    return draw


def _logo(rng: np.random.Generator, text: _Text, size_px: tuple[int, int], _duration_s: float) -> Overlay:
    """Show a transparent mark in a corner."""
    corner = rng.integers(0, 2, 2)
    side = round(0.16 * size_px[1])
    x, y = (4 if corner[0] else size_px[0] - side - 4), (4 if corner[1] else size_px[1] - side - 4)
    opacity, is_round = rng.uniform(0.3, 1), rng.random() < 0.5

    def draw(picture: np.ndarray, _time_s: float) -> None:
        part = picture[y : y + side, x : x + side]
        mark = part.copy()
        if is_round:
            cv2.circle(mark, (side // 2, side // 2), side // 2 - 1, text.colour, -1, cv2.LINE_AA)
        else:
            mark[...] = text.colour
        part[...] = cv2.addWeighted(mark, opacity, part, 1 - opacity, 0)

    return draw


_TITLES = {"crawl": _crawl, "pop-up": _pop_up, "counter": _counter, "roll": _roll, "logo": _logo}


def draw_border(rng: np.random.Generator, width_px: int, height_px: int) -> Overlay:
    """Draw bars, a border or blurred sides for pictures of this size, in the form of `draw_title`."""
    kind = pick(rng, BORDERS)
    tone = np.zeros(3) if rng.random() < 0.6 else 255 * any_colour(rng)
    ground = np.full((height_px, width_px, 3), tone, np.uint8)
    if kind == "covered":
        return _covered(rng, ground)
    if kind == "corner":
        return _corner(rng, ground)
    if kind == "sides":
        return _sides(rng, width_px, height_px)
    share = rng.uniform(0.6, 0.9)
    shares = {"letterbox": (1.0, share), "pillarbox": (share, 1.0), "inset": (share, share)}[kind]
    size = round(shares[0] * width_px), round(shares[1] * height_px)
    room = np.array([width_px, height_px]) - size
    x, y = (room * (rng.uniform(0, 1, 2) if kind == "inset" else 0.5)).astype(int).tolist()

    def draw(picture: np.ndarray, _time_s: float) -> None:
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        picture[...] = ground
        picture[y : y + size[1], x : x + size[0]] = small

    return draw


def _covered(rng: np.random.Generator, ground: np.ndarray) -> Overlay:
    """Cover top and bottom, or both sides, by bars."""
    axis = int(rng.random() < 0.3)
    thick_px = round(rng.uniform(0.05, 0.16) * ground.shape[axis])

    def draw(picture: np.ndarray, _time_s: float) -> None:
        covered, bars = (picture, ground) if axis == 0 else (picture.swapaxes(0, 1), ground.swapaxes(0, 1))
        covered[:thick_px], covered[-thick_px:] = bars[:thick_px], bars[-thick_px:]

    return draw


def _corner(rng: np.random.Generator, ground: np.ndarray) -> Overlay:
    """Show a picture within the picture: something round that moves to and fro in a corner."""
    height, width = (np.array(ground.shape[:2]) * rng.uniform(0.2, 0.32)).astype(int).tolist()
    top = int(rng.choice([2, ground.shape[0] - height - 2]))
    left = int(rng.choice([2, ground.shape[1] - width - 2]))
    back, front = (tuple((255 * any_colour(rng)).tolist()) for _ in range(2))
    rate_hz, radius = rng.uniform(0.1, 0.8), max(2, height // 4)

    def draw(picture: np.ndarray, time_s: float) -> None:
        part = picture[top : top + height, left : left + width]
        part[...] = back
        x = round(width * (0.5 + 0.3 * math.sin(2 * math.pi * rate_hz * time_s)))
        cv2.circle(part, (x, height // 2 + radius // 2), radius, front, -1, cv2.LINE_AA)
        cv2.rectangle(part, (0, 0), (width - 1, height - 1), (255, 255, 255), 1)

    return draw


def _sides(rng: np.random.Generator, width_px: int, height_px: int) -> Overlay:
    """Show a tall part of the picture, between sides that are its own blurred or mirrored enlargement."""
    kept_px = 2 * round(0.5 * rng.uniform(0.55, 0.8) * width_px)
    left = (width_px - kept_px) // 2
    mirrored, soft_px = rng.random() < 0.3, rng.uniform(1.5, 4)

    def draw(picture: np.ndarray, _time_s: float) -> None:
        kept = picture[:, left : left + kept_px].copy()
        if mirrored:
            picture[:] = cv2.copyMakeBorder(kept, 0, 0, left, width_px - kept_px - left, cv2.BORDER_REFLECT_101)
            return
        small = cv2.resize(kept, (max(2, width_px // 4), max(2, height_px // 4)), interpolation=cv2.INTER_AREA)
        picture[:] = cv2.resize(cv2.GaussianBlur(small, (0, 0), soft_px) // 4 * 3, (width_px, height_px))
        picture[:, left : left + kept_px] = kept

    return draw
