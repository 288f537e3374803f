"""Silent movement in the picture: passers-by, reflections, swinging things and titles."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.textures import any_colour


@dataclass(frozen=True, eq=False)
class Distractor:
    """A thing that moves or shines without making a sound.

    Args:
        kind: "passer", "gleam", "pendulum" or "title".
        colour: RGB (3,), 0 to 255.
        size_px: Size in pixels: half the width, or for a title the scale of its letters.
        start_px: Position (2,), x and y, at 0 s.
        speed_px_s: Velocity (2,), x and y, in pixels per second.
        rate_hz: Frequency at which it swings, or appears and disappears.
        phase: Phase of that oscillation, 0 to 1.
        text: Text of a title.
    """

    kind: str
    colour: tuple[float, float, float]
    size_px: float
    start_px: np.ndarray
    speed_px_s: np.ndarray
    rate_hz: float
    phase: float
    text: str = ""

    def draw(self, picture: np.ndarray, time_s: float) -> None:
        """Draw it at a time into a picture (H, W, 3), in place."""
        height, width = picture.shape[:2]
        swing = math.sin(2 * math.pi * (self.rate_hz * time_s + self.phase))
        if self.kind == "title":
            if swing > 0.3:
                x, y = (int(v) for v in self.start_px)
                scale = self.size_px / 30
                place = (x - width // 4, y)
                cv2.putText(picture, self.text, place, cv2.FONT_HERSHEY_DUPLEX, scale, self.colour, 1, cv2.LINE_AA)
            return
        if self.kind == "pendulum":
            x, y = self.start_px[0] + 0.3 * self.size_px * swing, self.start_px[1]
        else:
            x, y = (self.start_px + self.speed_px_s * time_s) % [1.6 * width, 1.4 * height] - [
                0.3 * width,
                0.2 * height,
            ]
        aspect = {"passer": 2.2, "gleam": 0.6, "pendulum": 1.0}[self.kind]
        weight = {"passer": 0.85, "gleam": 0.3, "pendulum": 0.9}[self.kind]
        reach = max(1.0, aspect) * self.size_px + 2
        low = np.clip([x - reach, y - reach], 0, [width, height]).astype(int)
        high = np.clip([x + reach, y + reach], 0, [width, height]).astype(int)
        if (high > low).all():
            part = picture[low[1] : high[1], low[0] : high[0]]
            drawn = part.copy()
            centre = (round((x - low[0]) * 8), round((y - low[1]) * 8))
            axes = (round(self.size_px * 8), round(aspect * self.size_px * 8))
            cv2.ellipse(drawn, centre, axes, 0, 0, 360, self.colour, -1, cv2.LINE_AA, 3)
            part[...] = cv2.addWeighted(drawn, weight, part, 1 - weight, 0)


def draw_distractors(rng: np.random.Generator, width_px: int, height_px: int) -> list[Distractor]:
    """Draw at random zero to two distractors for a picture of this size."""
    distractors = []
    for _ in range(int(rng.choice(3, p=[0.76, 0.18, 0.06]))):
        kind = str(rng.choice(["passer", "gleam", "pendulum", "title"], p=[0.3, 0.3, 0.25, 0.15]))
        colour = any_colour(rng) * (255 if kind != "passer" else 140)
        start = rng.uniform(0, 1, 2) * [width_px, height_px]
        if kind == "passer":
            start[1] = rng.uniform(0.1, 0.3) * height_px
        speed = rng.normal(0, 0.25, 2) * [width_px, 0.0 if kind == "passer" else 0.3 * height_px]
        size_px = rng.uniform(0.04, 0.12) * width_px
        text = "".join(rng.choice(list("ABDEHKLMNORST 0123456789"), int(rng.integers(3, 12))))
        rate_hz = rng.uniform(0.1, 0.4) if kind == "title" else rng.uniform(0.4, 1.5)
        distractors.append(Distractor(kind, tuple(colour.tolist()), size_px, start, speed, rate_hz, rng.random(), text))
    return distractors
