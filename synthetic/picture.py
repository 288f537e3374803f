"""Renderer of a plan's picture: stage, reactions, sticks with motion blur, and the camera, frame by frame."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from cv2.typing import MatLike

from synthetic.distractors import draw_distractors
from synthetic.film import Film
from synthetic.motion import StickMotion, draw_motions
from synthetic.plan import Plan
from synthetic.puppet import Figure, Look, draw_look, pose
from synthetic.reactions import Reactions
from synthetic.spec import SyntheticSpec
from synthetic.stage import BODY, Layer, Stage, blend, build_stage
from synthetic.take import Take
from synthetic.view import FAR_PX, SUBPIXEL_BITS, Camera, draw_camera
from synthetic.water import Water

_STEP_PX = 1.5  # between two positions of the tip within an exposure
_SHADOWS_M = ((0.009, 0.055), (0.007, 0.035))  # half the width of the shadows of stick and forearm at their ends
_MARGIN_M = 0.15  # around a stick's points, for the hand and the arm


def render_picture(plan: Plan, spec: SyntheticSpec, rng: np.random.Generator, take: Take | None = None) -> np.ndarray:
    """Render the picture of a plan.

    Args:
        plan: Events of the clip.
        spec: Form of the clip.
        rng: Random generator.
        take: Pictures to take; None: `spec.n_frames` pictures, of which number i starts at i / frame_rate_hz.

    Returns:
        Pictures of the take (P, 3, H, W), uint8, RGB.
    """
    motions = draw_motions(plan, spec, rng)
    view = draw_camera(rng, plan.scene, spec.width, spec.height)
    look = draw_look(rng, rng.uniform(0.6, 1.1))
    stage = build_stage(plan.scene, view, look, motions, spec.width, spec.height)
    return _Shooting(plan, spec, view, stage, motions, look, rng, take or Take.of(spec)).frames()


@dataclass(frozen=True)
class _Shutter:
    """Timing of the camera: exposure of a frame, and time from the readout of one row to the next."""

    exposure_s: float
    readout_s_px: float


class _Shooting:
    """State that is carried from frame to frame."""

    def __init__(
        self,
        plan: Plan,
        spec: SyntheticSpec,
        view: Camera,
        stage: Stage,
        motions: list[StickMotion],
        look: Look,
        rng: np.random.Generator,
        take: Take,
    ) -> None:
        self._spec, self._stage, self._take = spec, stage, take
        self._reactions = Reactions(plan, view, stage.brightness, rng)
        distractors = draw_distractors(rng, spec.width, spec.height)
        self._titles = [distractor for distractor in distractors if distractor.kind == "title"]
        self._behind = [distractor for distractor in distractors if distractor.kind != "title"]
        self._waters = _draw_waters(plan, stage, view, rng)
        still, self._layers = self._split()
        if rng.random() < 0.15:  # a stick of the colour of what is behind it
            behind = still.mean(axis=(0, 1)) / (255 * look.light)
            look = replace(look, stick=np.clip(rng.uniform(0.75, 1.3) * behind, 0, 1))
        whole = still.copy()
        for layer in self._layers:
            blend(whole, layer)
        self._background = still
        self._film = Film(plan, spec, whole, rng, take)
        self._has_body = any(layer.index == BODY for layer in stage.layers)
        self._sway = rng.uniform(0.0, 0.012) * spec.width, rng.uniform(0.2, 0.8), rng.uniform(0, 7)
        exposure_s = take.frame_s * float(rng.choice([0.15, 0.35, 0.6, 0.9]))
        readout_s_px = take.frame_s * rng.uniform(0, 0.7) / spec.height if rng.random() < 0.7 else 0.0
        self._shutter = _Shutter(exposure_s, readout_s_px)
        self._sticks = [
            _Stick(motion, partial(self._reactions.sunk_px, stick), view, look, self._shutter, spec, take.starts_s)
            for stick, motion in enumerate(motions)
        ]
        middle_s = take.starts_s + 0.5 * exposure_s
        self._shadows = [_cast(motion, view, stage.light, middle_s, spec) for motion in motions]
        self._still: np.ndarray | None = None
        self._still_s = 0.0

    def _split(self) -> tuple[np.ndarray, list[Layer]]:
        """Return the static background (H, W, 3), and the layers in front of it from the first that moves."""
        picture, layers = self._stage.background.copy(), list(self._stage.layers)
        while layers and not (self._behind or self._moves(layers[0].index)):
            blend(picture, layers.pop(0))
        return picture, layers

    def _moves(self, index: int) -> bool:
        """Return whether the layer of that index ever moves."""
        return index == BODY or index in self._waters or self._reactions.moves(index)

    def frames(self) -> np.ndarray:
        """Render all pictures (P, 3, H, W), uint8."""
        starts_s = self._take.starts_s.tolist()
        frames = np.empty((len(starts_s), 3, self._spec.height, self._spec.width), np.uint8)
        for i, time_s in enumerate(starts_s):
            if self._film.is_repeated(i):
                frames[i] = frames[i - 1]
                continue
            picture = self._set(time_s)
            self._reactions.draw_flying(picture, time_s, time_s + self._shutter.exposure_s)
            for stick, shadow in zip(self._sticks, self._shadows, strict=True):
                self._draw_shadow(picture, shadow, i)
                stick.draw(picture, i)
            for layer in self._stage.front:
                blend(picture, layer)
            cv2.split(self._film.develop(picture, i), list(frames[i]))
        return frames

    def _set(self, time_s: float) -> np.ndarray:
        """Return ground, things and distractors at a time (H, W, 3), in an array that the caller may draw into."""
        reactions = self._reactions
        always = self._has_body or self._behind or self._titles or self._waters
        is_still = not (always or reactions.is_moving(time_s))
        if is_still and self._still is not None:
            reactions.draw_landed(self._still, self._still_s, time_s)
            self._still_s = time_s
            return self._still.copy()
        picture = self._background.copy()
        for distractor in self._behind:
            distractor.draw(picture, time_s)
        for layer in self._layers:
            if layer.index == BODY:
                size_px, rate_hz, phase = self._sway
                blend(picture, layer, (size_px * math.sin(2 * math.pi * rate_hz * time_s + phase), 0.0))
            elif layer.index in self._waters:
                blend(picture, self._waters[layer.index].at(time_s))
            elif layer.index >= 0:
                blend(picture, layer, *reactions.place(layer.index, time_s))
            else:
                blend(picture, layer)
        reactions.bend(picture, time_s)
        reactions.draw_landed(picture, 0.0, time_s)
        for title in self._titles:
            title.draw(picture, time_s)
        self._still, self._still_s = picture.copy() if is_still else None, time_s
        return picture

    def _draw_shadow(self, picture: np.ndarray, shadow: "_Shadow", index: int) -> None:
        (left, top), (right, bottom) = shadow.boxes[index]
        if right <= left or bottom <= top:
            return
        through: MatLike = np.full((bottom - top, right - left), 255, np.uint8)
        tone = round(255 * (1 - self._stage.shadow))
        for part in shadow.corners[index]:
            cv2.fillConvexPoly(through, part, tone, cv2.LINE_AA, SUBPIXEL_BITS)
        soft_px = shadow.soft_px[index]
        through = cv2.blur(through, (soft_px, soft_px))
        part = picture[top:bottom, left:right]
        cv2.multiply(part, cv2.cvtColor(through, cv2.COLOR_GRAY2RGB), part, 1 / 255)


def _draw_waters(plan: Plan, stage: Stage, view: Camera, rng: np.random.Generator) -> dict[int, Water]:
    """Return the water of each visible pool, by its index among the scene's things."""
    things, waters = plan.scene.things, {}
    for layer in stage.layers:
        if layer.index >= 0 and things[layer.index].shape == "pool":
            strikes = [s for s in plan.strikes if s.thing == layer.index and s.reaction == "splash"]
            waters[layer.index] = Water(layer, things[layer.index], view, strikes, rng)
    return waters


class _Stick:
    """A stick and its arm as the camera sees them: a fast stick is drawn at several places within an exposure."""

    def __init__(
        self,
        motion: StickMotion,
        sunk_px: Callable[[np.ndarray], np.ndarray],
        view: Camera,
        look: Look,
        shutter: _Shutter,
        spec: SyntheticSpec,
        starts_s: np.ndarray,
    ) -> None:
        ends_px = view.project(np.stack(motion.ends_m(np.stack([starts_s, starts_s + shutter.exposure_s]))))
        moved_px = np.abs(ends_px[:, 1] - ends_px[:, 0]).max(axis=(0, 2))
        n_places = np.clip(np.ceil(moved_px / _STEP_PX), 1, 6 if spec.width <= 160 else 12).astype(int)
        firsts = np.cumsum(n_places) - n_places
        frames = np.repeat(np.arange(len(starts_s)), n_places)
        shares = (np.arange(len(frames)) - firsts[frames] + 0.5) / n_places[frames]
        times_s = starts_s[frames] + shares * shutter.exposure_s
        poses = pose(motion, view, times_s, shutter.readout_s_px, sunk_px(times_s))
        self._figure = Figure(look, poses, spec.width, spec.height)
        self._places = list(zip(firsts.tolist(), n_places.tolist(), strict=True))
        low = np.minimum.reduceat(poses.points_px.min(axis=1), firsts)
        high = np.maximum.reduceat(poses.points_px.max(axis=1), firsts)
        margin_px = _MARGIN_M * np.maximum.reduceat(poses.scale_px_m.max(axis=1), firsts) + 3
        self._boxes = _boxes(low, high, margin_px, spec).tolist()

    def draw(self, picture: np.ndarray, index: int) -> None:
        """Draw the stick of a frame over a picture (H, W, 3), in place."""
        first, n_places = self._places[index]
        if n_places == 1:
            self._figure.draw(picture, first)
            return
        (left, top), (right, bottom) = self._boxes[index]
        if right <= left or bottom <= top:
            return
        part = picture[top:bottom, left:right]
        before, total = part.copy(), np.zeros(part.shape, np.float32)
        for place in range(first, first + n_places):
            part[...] = before
            self._figure.draw(picture, place)
            cv2.accumulate(part, total)
        cv2.convertScaleAbs(total, part, 1 / n_places)


def _boxes(low_px: np.ndarray, high_px: np.ndarray, margin_px: np.ndarray, spec: SyntheticSpec) -> np.ndarray:
    """Return first and last corner, x and y, of the picture parts that contain rectangles (T, 2): (T, 2, 2), int32."""
    corners = np.stack([np.floor(low_px - margin_px[:, None]), np.ceil(high_px + margin_px[:, None])], axis=1)
    return np.clip(corners, 0, [spec.width, spec.height]).astype(np.int32)


@dataclass(frozen=True, eq=False)
class _Shadow:
    """The shadow of stick and arm: corners (T, 2, 4, 2) within boxes, in fixed point; boxes and softness in pixels."""

    corners: np.ndarray
    boxes: list[list[list[int]]]
    soft_px: list[int]


def _cast(motion: StickMotion, view: Camera, light: np.ndarray, times_s: np.ndarray, spec: SyntheticSpec) -> _Shadow:
    """Return the shadow that a stick and its arm cast on the plane it strikes, at times (T,)."""
    tip, hand = motion.ends_m(times_s)
    elbow = motion.elbows_m(times_s, hand)
    contact, normal = motion.contact.at(times_s), motion.normal.at(times_s)
    facing = np.maximum(normal @ light, 0.2)
    joints = np.stack([tip, hand, elbow], axis=1)
    heights = np.einsum("tkd,td->tk", joints - contact[:, None], normal)
    joints_m = joints - light * (heights / facing[:, None])[..., None]
    scale = view.px_per_m(joints_m)
    joints_px = np.clip(view.project(joints_m), -FAR_PX, FAR_PX)
    starts, ends = joints_px[:, :2], joints_px[:, 1:]
    along = ends - starts
    length_px = np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1) / length_px
    wide, narrow = (np.maximum(np.array(half_m) * scale[:, :2], 0.6)[..., None] * across for half_m in _SHADOWS_M)
    corners = np.stack([starts - narrow, starts + narrow, ends + wide, ends - wide], axis=2)
    soft_px = 1 + 2 * np.round(1 + np.minimum(0.06 * motion.lift.at(times_s) * scale[:, 0], 4)).astype(int)
    boxes = _boxes(corners.min(axis=(1, 2)), corners.max(axis=(1, 2)), soft_px + 2.0, spec)
    within = corners - boxes[:, None, None, 0]
    return _Shadow(np.round(within * (1 << SUBPIXEL_BITS)).astype(np.int32), boxes.tolist(), soft_px.tolist())
