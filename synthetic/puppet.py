"""Visible parts of the player: sticks, hands, sleeves, and, seen from afar, head and body."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.motion import StickMotion
from synthetic.scene import FOREARM_M, UP
from synthetic.textures import any_colour
from synthetic.view import FAR_PX, SUBPIXEL_BITS, Camera

_SKINS = ((0.93, 0.76, 0.65), (0.85, 0.64, 0.5), (0.72, 0.5, 0.36), (0.5, 0.33, 0.22), (0.33, 0.22, 0.16))
_STICKS = (
    (0.8, 0.65, 0.43),
    (0.87, 0.76, 0.58),
    (0.66, 0.46, 0.27),
    (0.45, 0.3, 0.2),
    (0.12, 0.11, 0.11),
    (0.9, 0.9, 0.88),
)
UPPER_ARM_M = 0.31
_ROUND = np.linspace(0, 2 * math.pi, 10, endpoint=False)
_OVAL = np.stack([np.cos(_ROUND), np.sin(_ROUND)], axis=1)
FREE_LENGTH_M = 0.07  # of the stick behind the hand
_WIDEST = 0.2  # half the width of an arm in relation to the picture
Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Look:
    """Colours (3,), float, 0 to 1, and sizes of a player.

    Args:
        skin: Colour of hands and head.
        sleeve: Colour of the sleeves.
        stick: Colour of the stick.
        bare: Whether the forearm is bare.
        thickness_m: Thickness of the stick at the hand, m.
        tip_m: Size of the tip in relation to the stick.
        light: Brightness of the light.
        cuff: Second colour of the sleeves.
        n_bands: Number of bands of that colour on a sleeve.
        arm_size: Thickness of the arms in relation to a bare one.
        hand_size: Size of the hands in relation to the usual one.
    """

    skin: np.ndarray
    sleeve: np.ndarray
    stick: np.ndarray
    bare: bool
    thickness_m: float
    tip_m: float
    light: float
    cuff: np.ndarray
    n_bands: int
    arm_size: float
    hand_size: float


def draw_look(rng: np.random.Generator, light: float) -> Look:
    """Draw the appearance of a player in a light of the given brightness."""
    return Look(
        skin=np.array(_SKINS[int(rng.integers(len(_SKINS)))]) * rng.uniform(0.9, 1.05),
        sleeve=any_colour(rng).astype(float),
        stick=np.array(_STICKS[int(rng.choice(len(_STICKS), p=[0.35, 0.25, 0.16, 0.1, 0.07, 0.07]))]),
        bare=bool(rng.random() < 0.35),
        thickness_m=rng.uniform(0.012, 0.019),
        tip_m=rng.uniform(0.7, 1.3),
        light=light,
        cuff=any_colour(rng).astype(float),
        n_bands=int(rng.choice([0, 1, 4, 7], p=[0.5, 0.2, 0.15, 0.15])),
        arm_size=rng.uniform(0.9, 1.45),
        hand_size=rng.uniform(1.0, 1.35),
    )


@dataclass(frozen=True, eq=False)
class Pose:
    """Positions of a stick and its arm in the picture at K times.

    Args:
        points_px: Tip, neck, hand, butt, elbow and shoulder (K, 6, 2), pixels.
        scale_px_m: Pixels per metre at the tip, the hand and the elbow (K, 3).
    """

    points_px: np.ndarray
    scale_px_m: np.ndarray


def pose(motion: StickMotion, view: Camera, times_s: np.ndarray, readout_s_px: float, sunk_px: np.ndarray) -> Pose:
    """Project a stick and its arm into the picture.

    Args:
        motion: Motion of the stick.
        view: The camera.
        times_s: Times at which the first row is read out (K,).
        readout_s_px: Time from the readout of one row to the next.
        sunk_px: Distance by which the tip sinks into the struck thing (K, 2), pixels.

    Returns:
        The poses.
    """
    tip, hand = motion.ends_m(times_s)
    if readout_s_px > 0:  # each end is drawn where it is when its row is read out
        rows = np.concatenate([view.project(end)[:, 1] for end in (tip, hand)])
        tips, hands = motion.ends_m(np.tile(times_s, 2) + readout_s_px * rows)
        tip, hand = tips[: len(times_s)], hands[len(times_s) :]
    along = (hand - tip) / np.linalg.norm(hand - tip, axis=-1, keepdims=True)
    butt, neck = hand + FREE_LENGTH_M * along, tip + 0.018 * along
    if motion.shoulder_m is None:
        elbow = motion.elbows_m(times_s, hand)
        shoulder = elbow + UPPER_ARM_M * (elbow - hand + 0.15 * UP) / FOREARM_M
    else:
        elbow, shoulder = _arm(hand, motion.shoulder_m)
    points = np.stack([tip, neck, hand, butt, elbow, shoulder], axis=1)
    points_px = view.project(points)
    points_px[:, :2] += sunk_px[:, None]
    if motion.shoulder_m is None:  # the arm reaches beyond the picture
        reach = points_px[:, 5] - points_px[:, 2]
        outside_px = 3 * view.centre_px[0] * reach / np.maximum(np.linalg.norm(reach, axis=1, keepdims=True), 1e-6)
        points_px[:, 5] = points_px[:, 4] + outside_px
    return Pose(points_px, view.px_per_m(points[:, [0, 2, 4]]))


def _arm(hand: np.ndarray, shoulder: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return elbows and shoulders (K, 3) for hands (K, 3).

    The elbow hangs down; the shoulder moves if the hand is too far away.
    """
    reach = hand - shoulder
    distance = np.linalg.norm(reach, axis=-1, keepdims=True)
    longest = 0.98 * (UPPER_ARM_M + FOREARM_M)
    direction = reach / np.maximum(distance, 1e-6)
    shoulder = shoulder + np.maximum(distance - longest, 0) * direction
    distance = np.clip(distance, 0.12, longest)
    along = (UPPER_ARM_M**2 - FOREARM_M**2 + distance**2) / (2 * distance)
    aside = np.sqrt(np.maximum(UPPER_ARM_M**2 - along**2, 0))
    down = np.array([0.0, -0.2, -1.0]) - (direction @ np.array([0.0, -0.2, -1.0]))[..., None] * direction
    down /= np.maximum(np.linalg.norm(down, axis=-1, keepdims=True), 1e-6)
    return shoulder + along * direction + aside * down, shoulder


class Figure:
    """A stick and its arm at K times, precomputed as convex polygons that are drawn one time after the other.

    Args:
        look: Colours and sizes.
        poses: Positions.
        width_px: Width of the picture.
        height_px: Height of the picture.
    """

    def __init__(self, look: Look, poses: Pose, width_px: int, height_px: int) -> None:
        self._size = width_px, height_px
        self._parts: list[tuple[np.ndarray, Colour]] = []
        self._seen: list[list[bool]] = []
        tip, neck, hand, butt, elbow, shoulder = np.moveaxis(poses.points_px, 1, 0)
        at_tip, at_hand, at_elbow = poses.scale_px_m.T
        skin = [_colour(look.skin * tone * look.light) for tone in (0.68, 0.88, 1.0)]
        sleeve = [_colour(look.sleeve * tone * look.light) for tone in (0.5, 0.8, 1.0)]
        stick = [_colour(look.stick * tone * look.light) for tone in (0.55, 1.0, 1.25)]
        lower = skin if look.bare else sleeve
        wrist = hand + 0.16 * (elbow - hand)
        at_hand = np.minimum(at_hand, _WIDEST * width_px / 0.05)  # hand or elbow may be beside or behind the camera
        at_elbow = np.minimum(np.minimum(at_elbow, 2.5 * at_hand), _WIDEST * width_px / 0.075)
        forearm, bent = 0.036 * look.arm_size * at_hand, 0.052 * look.arm_size * at_elbow
        self._taper(elbow, shoulder, bent, 1.25 * bent, sleeve[1])
        self._taper(hand, wrist, 0.028 * look.hand_size * at_hand, 0.027 * look.hand_size * at_hand, skin[1])
        self._taper(wrist, elbow, 0.8 * forearm, bent, lower[0], round_ends=True)
        side = 0.2 * _down(wrist, elbow)
        lit = wrist - side * forearm[:, None], elbow - side * bent[:, None]
        self._taper(*lit, 0.6 * forearm, 0.75 * bent, lower[2])
        if not look.bare and np.median(at_hand) * 0.1 > 4:
            self._bands(wrist, elbow, 0.8 * forearm, bent, look)
        thick = np.maximum(0.55, 0.5 * look.thickness_m * at_hand)
        thin = np.maximum(0.45, 0.5 * look.thickness_m * at_tip)
        self._taper(neck, butt, 0.72 * thin, thick, stick[0])
        lift = 0.3 * _down(tip, butt)
        for shift, width, tone in ((1.0, 0.6, 1), (1.4, 0.15, 2)):
            if tone == 1 or thick.max() > 1.5:
                lit = neck - shift * lift * thin[:, None], butt - shift * lift * thick[:, None]
                self._taper(*lit, width * thin, 1.2 * width * thick, stick[tone])
        self._taper(tip, neck, 0.62 * look.tip_m * thin, 0.7 * thin, stick[1], round_ends=thin.max() > 1.5)
        self._fist(hand, tip, 0.034 * look.hand_size * at_hand, skin)

    def draw(self, picture: np.ndarray, index: int) -> None:
        """Draw the stick and its arm at one of the times.

        Args:
            picture: Picture (H, W, 3), uint8; modified in place, with antialiased edges.
            index: Index of the time.
        """
        for (polygons, colour), seen in zip(self._parts, self._seen, strict=True):
            if seen[index]:
                cv2.fillConvexPoly(picture, polygons[index], colour, cv2.LINE_AA, SUBPIXEL_BITS)

    def _taper(
        self,
        start: np.ndarray,
        end: np.ndarray,
        start_px: np.ndarray,
        end_px: np.ndarray,
        colour: Colour,
        round_ends: bool = False,
    ) -> None:
        """Add a line from (K, 2) to (K, 2) of changing width, with half-widths in pixels (K,)."""
        across = _down(start, end)
        if round_ends:
            along = np.stack([-across[:, 1], across[:, 0]], axis=1) * np.where(end[:, :1] >= start[:, :1], -1, 1)
            turns = np.linspace(-0.5 * math.pi, 0.5 * math.pi, 5)
            first = [np.sin(u) * across - np.cos(u) * along for u in turns]
            last = [np.sin(u) * across + np.cos(u) * along for u in turns[::-1]]
        else:
            first, last = [-across, across], [across, -across]
        corners = [start + start_px[:, None] * part for part in first] + [end + end_px[:, None] * part for part in last]
        margin = np.maximum(start_px, end_px)[:, None]
        self._add(np.stack(corners, axis=1), np.minimum(start, end) - margin, np.maximum(start, end) + margin, colour)

    def _bands(
        self, wrist: np.ndarray, elbow: np.ndarray, start_px: np.ndarray, end_px: np.ndarray, look: Look
    ) -> None:
        """Add bands across a sleeve from (K, 2) to (K, 2), with half-widths in pixels (K,) at its ends."""
        colour = _colour(look.cuff * look.light)
        for place in np.arange(look.n_bands) / max(look.n_bands, 2):
            ends = place + np.array([0.0, 0.3 / max(look.n_bands, 2)])
            low, high = (wrist + share * (elbow - wrist) for share in ends)
            narrow, wide = (start_px + share * (end_px - start_px) for share in ends)
            self._taper(low, high, narrow, wide, colour)

    def _fist(self, hand: np.ndarray, tip: np.ndarray, radius: np.ndarray, skin: list[Colour]) -> None:
        along = (tip - hand) / np.maximum(np.linalg.norm(tip - hand, axis=1, keepdims=True), 1e-6)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1)

        low, high = hand - 1.5 * radius[:, None], hand + 1.5 * radius[:, None]

        def oval(middle: np.ndarray, long: float, wide: float, colour: Colour) -> None:
            long_px, wide_px = (long * radius)[:, None] * along, (wide * radius)[:, None] * across
            points = middle[:, None] + _OVAL[:, :1] * long_px[:, None] + _OVAL[:, 1:] * wide_px[:, None]
            self._add(points, low, high, colour)

        oval(hand, 1.25, 1.0, skin[1])
        if np.median(radius) > 2.5:
            for k in range(4):
                middle = hand + radius[:, None] * ((0.85 - 0.5 * k) * along - (0.35 - 0.06 * abs(k - 1)) * across)
                oval(middle, 0.26, 0.6, skin[0])
                oval(middle + 0.05 * radius[:, None] * across, 0.23, 0.56, skin[2])

    def _add(self, corners_px: np.ndarray, low_px: np.ndarray, high_px: np.ndarray, colour: Colour) -> None:
        """Add polygons (K, m, 2) of one colour, which lie between `low_px` (K, 2) and `high_px` (K, 2)."""
        points = np.clip(corners_px, -FAR_PX, FAR_PX) * (1 << SUBPIXEL_BITS)
        self._parts.append((np.rint(points).astype(np.int32), colour))
        inside = (high_px > -1) & (low_px < self._size)
        self._seen.append((inside[:, 0] & inside[:, 1]).tolist())


def body_polygons(motions: list[StickMotion], view: Camera) -> list[tuple[np.ndarray, str]]:
    """Return torso, neck and head of a player behind the things: polygons (K, 2) in pixels with colour names."""
    shoulders = np.stack([motion.shoulder_m for motion in motions if motion.shoulder_m is not None])
    middle = shoulders.mean(axis=0) * [0, 1, 1]
    scale = float(view.px_per_m(middle))
    torso = np.array([[-0.24, 0.0], [0.24, 0.0], [0.21, -0.75], [-0.21, -0.75]])
    corners = np.column_stack([torso[:, 0], np.full(4, middle[1] + 0.05), middle[2] + torso[:, 1]])
    head = middle + np.array([0, 0, 0.24])
    oval = np.stack([0.085 * np.cos(_ROUND), 0.12 * np.sin(_ROUND)], axis=1) * scale
    hair = np.stack([0.09 * np.cos(_ROUND), np.minimum(0.125 * np.sin(_ROUND), 0.0)], axis=1) * scale
    top = view.project(head)
    neck = view.project(middle) + scale * np.array([[-0.05, -0.12], [0.05, -0.12], [0.06, 0.02], [-0.06, 0.02]])
    shoulder_px = view.project(middle) + scale * np.stack([0.25 * np.cos(_ROUND), 0.08 * np.sin(_ROUND) + 0.03], axis=1)
    return [
        (view.project(corners), "sleeve"),
        (shoulder_px, "sleeve"),
        (neck, "skin"),
        (top + oval, "skin"),
        (top + hair - [0, 0.02 * scale], "hair"),
    ]


def _colour(colour: np.ndarray) -> Colour:
    red, green, blue = (255 * np.clip(colour, 0, 1)).tolist()
    return red, green, blue


def _down(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return unit vectors (K, 2) across lines, pointing down in the picture."""
    along = (end - start) / np.maximum(np.linalg.norm(end - start, axis=1, keepdims=True), 1e-6)
    return np.stack([-along[:, 1], along[:, 0]], axis=1) * np.where(along[:, :1] >= 0, 1, -1)
