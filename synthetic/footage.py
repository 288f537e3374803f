"""Films of synthetic strikes: what happens between the scene and the file, and what a reader of the file sees.

A clip starts in the middle of a recording, at any frame rate (`timing`); the camera moves (`take`), an editor joins
shots (`editing`) and adds titles (`dressing`), and the file is compressed. Some films have no strikes. The
truth follows every change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from media.compression import Compression, compress
from synthetic.clip import clip_id, one_thread, render_clip, streams
from synthetic.distractors import draw_distractors
from synthetic.dressing import Overlay, draw_border, draw_title
from synthetic.editing import Join, draw_join
from synthetic.plan import draw_plan
from synthetic.recording import Recording, draw_recording, gestures, seen_from_elsewhere
from synthetic.scene import log_uniform, pick
from synthetic.spec import SAMPLE_RATE_HZ, SyntheticSpec
from synthetic.timing import Timing, constant, draw_timing, on_grid

SILENT_SHARE, EDITED_SHARE = 0.06, 0.12
TITLE_SHARE, BORDER_SHARE, COMPRESSED_SHARE = 0.07, 0.07, 0.33
SILENT = {"photo": 1.0, "photo with title": 1.0, "frozen": 0.7, "moving camera": 1.2, "passers": 1.0, "gestures": 2.0}
SECOND = {"strikes": 3.0, "position": 2.0, "photo": 0.7, "moving camera": 0.7, "gestures": 0.6}


@dataclass(frozen=True, eq=False)
class Footage:
    """A film as its reader gives it, with its truth.

    Args:
        frames: Frames on an even grid (T, 3, H, W), uint8, RGB.
        lateness_s: Grid time minus time stamp of each frame (T,), seconds, float32.
        clean: Strikes alone, with room and microphone (2, N), float32, at 44.1 kHz, in a sound whose peak is 1 (below 1
            if it only holds the end of earlier strikes); zeros in a film without strikes.
        onsets_s: Times of the strikes (K,), in seconds, rising.
        clip_id: Name of the film.
        kinds: What was done to it, in words of `timing.KINDS`, `editing.KINDS`, `SECOND` (the other shot) and `SILENT`,
            "late" (it starts in the middle of a recording), "title", "border" and "compressed".
    """

    frames: Tensor
    lateness_s: Tensor
    clean: Tensor
    onsets_s: Tensor
    clip_id: str
    kinds: tuple[str, ...] = ()


def plain_footage(spec: SyntheticSpec, seed: int, number: int, rate_hz: float) -> Footage:
    """Return the clip of `synthetic.render_clip` as the film of a still camera with a constant frame rate.

    Args:
        spec: Form of the film; its frame rate is that of the grid.
        seed: Seed of the clips, at least 0.
        number: Number of the clip, at least 0.
        rate_hz: Frame rate of the camera.
    """
    clip = render_clip(replace(spec, frame_rate_hz=rate_hz), seed, number)
    assert clip.frames is not None
    assert clip.wave is not None
    assert clip.clean is not None
    shown, lateness_s = on_grid(constant(rate_hz, spec.duration_s).stamps_s, spec.n_frames, spec.frame_rate_hz)
    onsets_s = torch.tensor([strike.time_s for strike in clip.plan.strikes])
    return Footage(
        clip.frames[shown], lateness_s, clip.clean / clip.wave.abs().max(), onsets_s, clip.clip_id, ("constant",)
    )


def render_footage(spec: SyntheticSpec, seed: int, number: int) -> Footage:
    """Render a film, which `seed` and `number` alone determine.

    Args:
        spec: Form of the film; its frame rate is that of the grid on which it is read.
        seed: Seed of the films, at least 0.
        number: Number of the film, at least 0.

    Returns:
        The film.
    """
    rng = np.random.default_rng((seed, number, 3))
    timing = draw_timing(rng, spec.duration_s)
    shown, lateness_s = on_grid(timing.stamps_s, spec.n_frames, spec.frame_rate_hz)
    needed, places = np.unique(shown, return_inverse=True)
    timing = timing.only(needed)
    with one_thread():
        if rng.random() < SILENT_SHARE:
            cut = _silent(rng, spec, timing, pick(rng, SILENT), (seed, number))
        elif rng.random() < EDITED_SHARE / (1 - SILENT_SHARE):
            cut = _edited(rng, spec, timing, (seed, number))
        else:
            cut = _plain(rng, spec, timing, (seed, number))
        frames, kinds = _finish(rng, spec, cut, timing.stamps_s)
    return Footage(
        frames=torch.from_numpy(frames[places]),
        lateness_s=lateness_s,
        clean=torch.from_numpy(cut.sound[1]),
        onsets_s=torch.from_numpy(cut.onsets_s).float(),
        clip_id=clip_id(seed, number),
        kinds=(timing.kind, *kinds),
    )


@dataclass(frozen=True, eq=False)
class _Cut:
    """Frames (F, 3, H, W), sound with noise and strikes alone (2, 2, N), and onsets (K,) of a shot or a film."""

    frames: np.ndarray
    sound: np.ndarray
    onsets_s: np.ndarray
    kinds: tuple[str, ...] = ()


def _plain(rng: np.random.Generator, spec: SyntheticSpec, timing: Timing, seeds: tuple[int, ...]) -> _Cut:
    recording = draw_recording(rng, spec, seeds)
    return _Cut(
        recording.film(rng, timing), *recording.sound(spec.n_samples), ("late",) if recording.start_s > 0 else ()
    )


def _silent(rng: np.random.Generator, spec: SyntheticSpec, timing: Timing, kind: str, seeds: tuple[int, ...]) -> _Cut:
    """Return a film without strikes."""
    plan = draw_plan(streams(*seeds)[0], spec)
    plan = gestures(rng, plan) if kind == "gestures" else plan
    frames = Recording(plan, spec, 0.0, seeds).film(rng, timing, {"photo with title": "photo"}.get(kind, kind))
    return _Cut(frames, np.zeros((2, 2, spec.n_samples), np.float32), np.empty(0), (kind,))


@dataclass(frozen=True, eq=False)
class _Shot:
    """A recording, the kind of its picture (see `Recording.film`), its sound (2, 2, N) and its onsets (K,)."""

    recording: Recording
    kind: str
    sound: np.ndarray
    onsets_s: np.ndarray


def _edited(rng: np.random.Generator, spec: SyntheticSpec, timing: Timing, seeds: tuple[int, ...]) -> _Cut:
    """Return a film of two shots, or one that fades."""
    recording = draw_recording(rng, spec, seeds)
    kind = pick(rng, SECOND)
    shot = _Shot(recording, "strikes", *recording.sound(spec.n_samples))
    shots = [shot, _second_shot(rng, spec, shot, kind, (*seeds, 1))]
    if rng.random() < 0.5:
        shots.reverse()
    join = draw_join(rng, spec.duration_s, shots[0].onsets_s, shots[1].onsets_s)
    if join.is_fade:
        return _faded(join, _Cut(recording.film(rng, timing), shot.sound, shot.onsets_s), timing.stamps_s)
    share = join.share_at(timing.stamps_s)
    first = _partly(rng, spec, timing, shots[0], share < 1)
    second = _partly(rng, spec, timing, shots[1], share > 0)
    sound = join.sounds(shots[0].sound, shots[1].sound, SAMPLE_RATE_HZ)
    onsets_s = join.onsets_s(shots[0].onsets_s, shots[1].onsets_s)
    if kind == "position":  # the sound goes on
        sound, onsets_s = shot.sound, shot.onsets_s
    frames = join.pictures(first, second, timing.stamps_s)
    return _Cut(frames, _levelled(sound, onsets_s), onsets_s, (join.kind, kind))


def _second_shot(
    rng: np.random.Generator, spec: SyntheticSpec, shot: _Shot, kind: str, seeds: tuple[int, ...]
) -> _Shot:
    """Return another shot, of a kind in `SECOND`, to be joined to a shot of strikes."""
    if kind == "position":
        elsewhere = replace(shot.recording, plan=seen_from_elsewhere(rng, shot.recording.plan))
        return replace(shot, recording=elsewhere)
    if kind == "strikes":
        recording = draw_recording(rng, spec, seeds)
        sound, onsets_s = recording.sound(spec.n_samples)
        return _Shot(recording, kind, sound * np.float32(10 ** (rng.uniform(-10, 10) / 20)), onsets_s)
    plan = draw_plan(streams(*seeds)[0], spec)
    plan = gestures(rng, plan) if kind == "gestures" else plan
    return _Shot(Recording(plan, spec, 0.0, seeds), kind, np.zeros_like(shot.sound), np.empty(0))


def _faded(join: Join, cut: _Cut, times_s: np.ndarray) -> _Cut:
    """Return a shot that fades from or to black."""
    pictures = [cut.frames, np.zeros_like(cut.frames)]
    sounds, onsets = [cut.sound, np.zeros_like(cut.sound)], [cut.onsets_s, np.empty(0)]
    if join.kind == "fade in":
        pictures, sounds, onsets = pictures[::-1], sounds[::-1], onsets[::-1]
    frames = join.pictures(pictures[0], pictures[1], times_s)
    sound, onsets_s = join.sounds(sounds[0], sounds[1], SAMPLE_RATE_HZ), join.onsets_s(onsets[0], onsets[1])
    return _Cut(frames, _levelled(sound, onsets_s), onsets_s, (join.kind,))


def _levelled(sound: np.ndarray, onsets_s: np.ndarray) -> np.ndarray:
    """Scale a sound (2, 2, N) to a peak of 1 if it has an onset."""
    return sound / np.abs(sound[0]).max() if len(onsets_s) else sound


def _partly(
    rng: np.random.Generator, spec: SyntheticSpec, timing: Timing, shot: _Shot, wanted: np.ndarray
) -> np.ndarray:
    """Return frames (F, 3, H, W) of which only the wanted ones (F,) are filmed, and the others are black."""
    frames = np.zeros((len(wanted), 3, spec.height, spec.width), np.uint8)
    if wanted.any():
        frames[wanted] = shot.recording.film(rng, timing.only(np.flatnonzero(wanted)), shot.kind)
    return frames


def _finish(
    rng: np.random.Generator, spec: SyntheticSpec, cut: _Cut, times_s: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the frames (F, 3, H, W) of a film after titles, borders and compression, and what was done to it."""
    kinds, overlays = list(cut.kinds), _passers(rng, spec) if "passers" in cut.kinds else []
    if rng.random() < BORDER_SHARE:
        overlays.append(draw_border(rng, spec.width, spec.height))
        kinds.append("border")
    if "photo with title" in kinds or rng.random() < TITLE_SHARE:
        overlays.append(draw_title(rng, spec.width, spec.height, spec.duration_s))
        kinds.append("title")
    is_photo = not {"photo", "photo with title"}.isdisjoint(kinds)
    is_compressed = rng.random() < (0.8 if is_photo else COMPRESSED_SHARE)
    if not (overlays or is_compressed):
        return cut.frames, tuple(kinds)
    pictures = [cv2.merge(list(frame)) for frame in cut.frames]
    for picture, time_s in zip(pictures, times_s.tolist(), strict=True):
        for overlay in overlays:
            overlay(picture, time_s)
    if is_compressed:
        kinds.append("compressed")
        pictures = compress(pictures, _draw_compression(rng, is_photo))
    return _planes(pictures), tuple(kinds)


def _draw_compression(rng: np.random.Generator, is_poor: bool) -> Compression:
    """Draw how a file is compressed; key frames of a poor one are seen."""
    quality = round(rng.uniform(28, 40) if is_poor else rng.triangular(18, 23, 40))
    scale = float(rng.choice([1.0, 0.75, 0.5], p=[0.75, 0.15, 0.1]))
    preset = "veryfast" if rng.random() < 0.15 else "ultrafast"
    return Compression(quality, round(log_uniform(rng, (12, 60 if is_poor else 250))), scale, preset)


def _passers(rng: np.random.Generator, spec: SyntheticSpec) -> list[Overlay]:
    """Draw things that move without a sound, at least one."""
    distractors = draw_distractors(rng, spec.width, spec.height)
    while not distractors:
        distractors = draw_distractors(rng, spec.width, spec.height)
    return [distractor.draw for distractor in distractors]


def _planes(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return pictures (H, W, 3) as frames (F, 3, H, W)."""
    frames = np.empty((len(pictures), 3, *pictures[0].shape[:2]), np.uint8)
    for frame, picture in zip(frames, pictures, strict=True):
        cv2.split(picture, list(frame))
    return frames
