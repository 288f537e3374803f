"""A complete synthetic clip: sound, picture and their ground truth, determined by a seed and a number."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import Tensor

from media.envelope import Envelope, fine_envelope
from synthetic.picture import render_picture
from synthetic.plan import Plan, draw_plan
from synthetic.sound import render_sound
from synthetic.spec import SAMPLE_RATE_HZ, SyntheticSpec

_controller = ThreadpoolController()


@dataclass(frozen=True, eq=False)
class SyntheticClip:
    """A clip and its ground truth.

    Args:
        clip_id: Name of the clip.
        plan: Events of the clip.
        wave: Sound as recorded (2, N), float32, at 44.1 kHz, magnitude below 1; None if not requested.
        clean: Strikes alone, with room and microphone, at the same level (2, N); None if not requested.
        envelope: Envelope of `clean` at 125 Hz, rms (T,); None if not requested.
        frames: Picture (T, 3, H, W), uint8, RGB; None if not requested.
    """

    clip_id: str
    plan: Plan
    wave: Tensor | None
    clean: Tensor | None
    envelope: Envelope | None
    frames: Tensor | None


def render_clip(
    spec: SyntheticSpec, seed: int, index: int, *, sound: bool = True, picture: bool = True
) -> SyntheticClip:
    """Render a clip; the same arguments give the same clip, independent of the order in which clips are rendered.

    With the same libraries on the same kind of processor the result is identical bit for bit. On other processors
    sounds differ by about 1e-7, and fewer than one pixel in a hundred differs, by a few levels.

    Args:
        spec: Form of the clip.
        seed: Seed of the whole data set, at least 0.
        index: Number of the clip, at least 0.
        sound: Whether to render the sound; it does not depend on `picture`.
        picture: Whether to render the picture; it does not depend on `sound`.

    Returns:
        The clip.
    """
    of_plan, of_sound, of_picture = streams(seed, index)
    plan = draw_plan(of_plan, spec)
    wave = clean = envelope = frames = None
    with one_thread():
        if sound:
            rendered = render_sound(plan, spec, of_sound)
            wave, clean = torch.from_numpy(rendered.wave), torch.from_numpy(rendered.clean)
            envelope = fine_envelope(clean, SAMPLE_RATE_HZ)
        if picture:
            frames = torch.from_numpy(render_picture(plan, spec, of_picture))
    return SyntheticClip(clip_id(seed, index), plan, wave, clean, envelope, frames)


def plan_clip(spec: SyntheticSpec, seed: int, index: int) -> Plan:
    """Return the events of the clip that `render_clip` would render for the same arguments."""
    return draw_plan(streams(seed, index)[0], spec)


def clip_id(seed: int, index: int) -> str:
    """Return the name of a clip."""
    return f"synthetic-{seed}-{index:06d}"


def truth_json(clip: SyntheticClip) -> str:
    """Return the scene, strikes, lures and offset of a clip as JSON."""
    plan = clip.plan
    strikes = [
        {
            "time_s": round(strike.time_s, 6),
            "picture_time_s": round(strike.picture_time_s, 6),
            "strength": round(strike.strength, 4),
            "material": strike.material,
            "action": strike.action,
            "reaction": strike.reaction,
            "duration_s": round(strike.duration_s, 4),
            "is_rebound": strike.is_rebound,
        }
        for strike in plan.strikes
    ]
    lures = [{"picture_time_s": round(lure.picture_time_s, 6), "kind": lure.kind} for lure in plan.lures]
    scene = {"view": plan.scene.view, "things": [f"{thing.material} {thing.shape}" for thing in plan.scene.things]}
    truth = {"offset_s": round(plan.offset_s, 6), "scene": scene, "strikes": strikes, "lures": lures}
    return json.dumps(truth, indent=1) + "\n"


def streams(*seeds: int) -> list[np.random.Generator]:
    """Return independent random generators for the plan, the sound and the picture of a clip, from its seeds."""
    return [np.random.default_rng(each) for each in np.random.SeedSequence(seeds).spawn(3)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit OpenCV and BLAS to one thread: results do not depend on the thread count, and workers do not compete."""
    n_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with _controller.limit(limits=1):
            yield
    finally:
        cv2.setNumThreads(n_threads)
