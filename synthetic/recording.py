"""Recordings from which clips are cut: events that a camera films from some time on, with the sound of that part."""

from dataclasses import dataclass, replace

import numpy as np

from synthetic.clip import streams
from synthetic.picture import render_picture
from synthetic.plan import LURE_GAP_S, LURES, Lure, Plan, Strike, draw_plan
from synthetic.scene import pick
from synthetic.sound import render_sound
from synthetic.spec import LONGEST_S, SAMPLE_RATE_HZ, SyntheticSpec
from synthetic.take import Take, draw_take
from synthetic.timing import Timing

LATE_SHARE = 0.5
_LATEST_START_S = 1.3  # of a clip within its recording
_EARLY_S = 0.1  # a first strike within this time is made frequent


@dataclass(frozen=True, eq=False)
class Recording:
    """Events that a camera films from some time on.

    Args:
        plan: The events.
        spec: Form of the whole recording, from time 0 on.
        start_s: Time in the recording at which clips start.
        seeds: Seeds of its sound and its picture, see `synthetic.clip.streams`.
    """

    plan: Plan
    spec: SyntheticSpec
    start_s: float
    seeds: tuple[int, ...]

    def film(self, rng: np.random.Generator, timing: Timing, kind: str = "strikes") -> np.ndarray:
        """Film a shot.

        Args:
            rng: Random generator for the camera's work.
            timing: Times of the frames in the clip.
            kind: "strikes" or "gestures"; other scenes stand still: "photo" (one picture, with its noise), "moving
                camera", or any other (a camera that may do something, with its noise).

        Returns:
            Frames (F, 3, H, W), uint8.
        """
        of_picture = streams(*self.seeds)[2]
        times_s = timing.starts_s
        starts_s = self.start_s + times_s
        if kind not in {"strikes", "gestures"}:
            starts_s = np.full(len(times_s), rng.uniform(0, self.spec.duration_s))
        if kind == "photo":
            picture = render_picture(self.plan, self.spec, of_picture, Take(starts_s[:1], timing.frame_s))
            return np.repeat(picture, len(timing.stamps_s), axis=0)
        take = draw_take(rng, self.spec, times_s, starts_s, timing.frame_s)
        while kind == "moving camera" and take.warps is None:
            take = draw_take(rng, self.spec, times_s, starts_s, timing.frame_s)
        return timing.frames(render_picture(self.plan, self.spec, of_picture, take))

    def sound(self, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sound of a clip, and its onsets.

        Returns:
            Sound with noise, and strikes alone (2, 2, N), float32: the peak of the former is 1 in the clip, or in the
            whole recording if the clip has no onset; and onsets (K,), in seconds from the clip's start, rising.
        """
        rendered = render_sound(self.plan, self.spec, streams(*self.seeds)[1])
        first = round(self.start_s * SAMPLE_RATE_HZ)
        whole = np.stack([rendered.wave, rendered.clean])
        part = whole[..., first : first + n_samples]
        times_s = np.array([strike.time_s for strike in self.plan.strikes]) - first / SAMPLE_RATE_HZ
        onsets_s = np.sort(times_s[(times_s >= 0) & (times_s < n_samples / SAMPLE_RATE_HZ)])
        return part / np.abs((part if len(onsets_s) else whole)[0]).max(), onsets_s


def draw_recording(rng: np.random.Generator, spec: SyntheticSpec, seeds: tuple[int, ...]) -> Recording:
    """Draw a recording for clips of a form: a share of `LATE_SHARE` start in its middle, often just before a strike."""
    if rng.random() >= LATE_SHARE:
        return Recording(draw_plan(streams(*seeds)[0], spec), spec, 0.0, seeds)
    latest_s = min(_LATEST_START_S, LONGEST_S - spec.duration_s)
    spec = replace(spec, duration_s=spec.duration_s + latest_s)
    plan = draw_plan(streams(*seeds)[0], spec)
    start_s = rng.uniform(0.0, latest_s)
    early_s = [strike.picture_time_s for strike in plan.strikes if _EARLY_S < strike.picture_time_s < latest_s]
    if early_s and rng.random() < 0.3:
        start_s = float(rng.choice(early_s)) - rng.uniform(0, _EARLY_S)
    return Recording(plan, spec, start_s, seeds)


def gestures(rng: np.random.Generator, plan: Plan) -> Plan:
    """Return a plan in which one stick moves at the times of a plan's events, but strikes nothing."""
    lures: list[Lure] = []
    events: list[Strike | Lure] = [*plan.strikes, *plan.lures]
    for event in sorted(events, key=lambda event: event.picture_time_s):
        if not lures or event.picture_time_s - lures[-1].picture_time_s > 2 * LURE_GAP_S:
            lures.append(Lure(event.picture_time_s, pick(rng, LURES), event.strength, 0, event.spot))
    return replace(plan, strikes=(), lures=tuple(lures), n_sticks=1)


def seen_from_elsewhere(rng: np.random.Generator, plan: Plan) -> Plan:
    """Return a plan with the camera elsewhere: higher or lower, nearer or farther."""
    scene = plan.scene
    elevation_rad = float(np.clip(scene.elevation_rad + rng.choice([-1, 1]) * rng.uniform(0.1, 0.5), 0.1, 1.4))
    span_m, roll_rad = scene.span_m * rng.uniform(0.75, 1.3), scene.roll_rad + rng.normal(0, 0.05)
    return replace(plan, scene=replace(scene, elevation_rad=elevation_rad, span_m=span_m, roll_rad=roll_rad))
