"""Measure how well the sound follows envelopes and prompts: ``python -m benchmarks.control``.

Synthetic clips that no training sees, written as videos, are given new sound: along the envelope of their true sound;
along it later, louder, softer and silent in one half; asked by words or by another clip's sound for another material
than the frames show; from the frames alone; with another seed; along an envelope that never changes; and along the one
that is predicted from the picture. What a sound is made of is judged by the model's own CAVP, and by random trees that
know true strikes alone. What such a judgement is worth is said by rows of true sounds: those of the clips, and true
strikes on what the words asked for, as loud at each moment as the clip. No sound along its envelope can be expected to
tell more than the latter. Prints a Markdown table of means, one value a clip, with 95 % intervals (bootstrap; Wilson's
for shares).
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from benchmarks.material_forest import MaterialForest
from benchmarks.sounds import (
    f1_within_100_ms,
    lag_s,
    level_db,
    onset_times_s,
    pre_echo_db,
    pulsation_db,
    shifted,
    silenced,
)
from benchmarks.tools import table
from cavp.retrieval import heard_materials
from common.errors import InputError, user_errors
from common.options import add_checkpoint, add_clips, add_steps, command_parser
from data.dataset import read_timed_frames
from data.greatest_hits import MATERIALS, label_of, read_clip
from evaluation.levels import e_l1_video_foley, rms_correlation
from evaluation.spectra import log_mel_distance_db
from evaluation.statistics import bootstrap_mean
from media.envelope import Envelope, fine_envelope
from media.writing import write_video
from stable_foley.checkpoint import BUNDLED
from stable_foley.conditioners.cavp_prompt import CavpPromptConditioner
from stable_foley.generator import Prompts, SoundGenerator
from stable_foley.sampler import SamplerSettings
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip
from synthetic.plan import Plan
from synthetic.recast import along, recast
from synthetic.sound import render_sound
from video2rms.model import Video2Rms
from video2rms.predict import load_video2rms, predict_envelope

SEED, FOREST_SEED = 3_000_003, 5_000_011  # of clips that no training configuration uses
N_FOREST_CLIPS = 1500
DURATION_S = 10.0
FRAME_RATE_HZ = 30.0
SPEC = SyntheticSpec(DURATION_S, FRAME_RATE_HZ, max_offset_s=0.0)
PEAK = 10 ** (-12 / 20)  # of the clips' sounds: there is room for 12 dB more
SHIFT_S = 0.504  # whole slots of the envelope
STEADY_RMS = 0.05  # of full scale, -26 dB
FRAME_SAMPLES = 512  # of the spectra that the latent of mini stands for
AFTER_S = 0.1  # the last hit before the silence may ring that long

Values = dict[str, float]


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip with its truth.

    Attributes:
        plan: its strikes, rebounds too.
        wave: the strikes' sound (2, N), its peak at -12 dB.
        envelope: its envelope at 125 Hz.
        predicted: the envelope that is predicted from the picture.
        frames: (T, 3, H, W) as the model looks at them, 0..1.
        label: text for what is struck most often.
    """

    plan: Plan
    wave: Tensor
    envelope: Envelope
    predicted: Envelope
    frames: Tensor
    label: str

    @property
    def material(self) -> str:
        """What is struck most often."""
        return next(hit.material for hit in self.plan.hits if hit.material and label_of([hit]) == self.label)

    @property
    def materials(self) -> set[str]:
        """Everything that is struck."""
        return {strike.material for strike in self.plan.strikes}

    @property
    def hits_s(self) -> np.ndarray:
        """Times of the strikes."""
        return np.array([strike.time_s for strike in self.plan.strikes])

    def on(self, material: str, rng: np.random.Generator) -> Tensor:
        """Return the sound (2, N) of the same strikes on another material, as loud at each moment as the clip's."""
        sound = render_sound(recast(self.plan, rng, material), SPEC, rng).clean
        return torch.from_numpy(along(sound, self.wave.numpy()))


def held_out(number: int, pipeline: SoundGenerator, video2rms: Video2Rms, folder: Path) -> Clip:
    """Return a clip of the benchmark, looked at as a video of 30 frames a second."""
    clip = render_clip(SPEC, SEED, number)
    assert clip.clean is not None
    assert clip.frames is not None
    video = folder / f"{number}.mp4"
    write_video(video, clip.frames, FRAME_RATE_HZ)
    rate_hz, size_px = pipeline.spec.frame_rate_hz, pipeline.spec.frame_size_px
    frames = read_timed_frames(read_clip(video), 0.0, DURATION_S, frame_rate_hz=rate_hz, size_px=size_px).frames
    predicted = predict_envelope(video2rms, video).envelope
    wave = clip.clean * (PEAK / clip.clean.abs().max())
    envelope = fine_envelope(wave, SAMPLE_RATE_HZ)
    return Clip(clip.plan, wave, envelope, predicted, frames.float() / 255, label_of(clip.plan.hits))


class Judges:
    """Who says what a sound is made of.

    Args:
        pipeline: its prompt encoder is one of them.
        n_clips: clips that the other one learns from.
    """

    def __init__(self, pipeline: SoundGenerator, n_clips: int) -> None:
        encoder = dict(pipeline.model.conditioners).get("audio")
        if not isinstance(encoder, CavpPromptConditioner):
            raise InputError("the checkpoint has no prompt encoder with words; give one that exp=mini_controlnet made")
        self.encoder, self.device = encoder, pipeline.device
        self.forest = MaterialForest(n_clips, FOREST_SEED, DURATION_S)

    def heard(self, sound: Tensor, hits_s: np.ndarray) -> dict[str, str]:
        """Return the material of a sound (C, N) that is hit at these times, by the name of the judge."""
        embedding = self.encoder.encode(sound[None].to(self.device), sound.shape[-1])
        return {"CAVP": heard_materials(self.encoder.cavp, embedding)[0], "trees": self.forest.heard(sound, hits_s)}


def measure_envelope(clip: Clip, own: Tensor, sound: partial[Tensor], pulses_hz: Mapping[str, float]) -> Values:
    """Measure how the envelope is followed.

    Args:
        clip: The clip.
        own: Sound generated along the true envelope (C, N).
        sound: Generates a sound along another envelope.
        pulses_hz: Rates of the model's own steps, at which nothing should pulsate, by name.
    """
    words, strikes_s = clip.label, clip.hits_s
    true_s, heard_s = onset_times_s(clip.wave), onset_times_s(own)
    values = {
        "true envelope: RMS correlation": float(rms_correlation(own, clip.wave, SAMPLE_RATE_HZ)),
        "true envelope: E-L1 (16 kHz)": float(e_l1_video_foley(own, clip.wave, SAMPLE_RATE_HZ)),
        "true envelope: onset F1, sound with sound": f1_within_100_ms(true_s, heard_s),
        "true envelope: onset F1 against the strikes": f1_within_100_ms(strikes_s, heard_s),
        "true sound: onset F1 against the strikes": f1_within_100_ms(strikes_s, true_s),
        "true envelope: lag behind the true sound (s)": lag_s(clip.wave, own),
    }
    for name, wave in (("generated", own), ("true", clip.wave)):
        level = float(np.median(pre_echo_db(wave, strikes_s) or np.nan))
        values[f"{name} sound: level 20 to 5 ms before hits, of their peak (dB)"] = level
    later = sound(envelope=shifted(clip.envelope, SHIFT_S), words=words)
    values[f"envelope {SHIFT_S} s later: lag (s)"] = lag_s(own, later)
    for gain_db in (-12, 12):
        louder = sound(envelope=replace(clip.envelope, rms=clip.envelope.rms * 10 ** (gain_db / 20)), words=words)
        values[f"envelope {gain_db:+d} dB: change of level (dB)"] = level_db(louder) - level_db(own)
    half_s = DURATION_S / 2
    if (strikes_s > half_s).any():
        muted = sound(envelope=silenced(clip.envelope, half_s), words=words)
        drop_db = level_db(own, half_s + AFTER_S) - level_db(muted, half_s + AFTER_S)
        values["envelope silent in the second half: drop there (dB)"] = drop_db
    steady = sound(envelope=replace(clip.envelope, rms=torch.full_like(clip.envelope.rms, STEADY_RMS)), words=words)
    for name, rate_hz in pulses_hz.items():
        values[f"steady envelope: pulsation once a {name} (dB)"] = pulsation_db(steady, rate_hz)
    seen_s = onset_times_s(sound(envelope=clip.predicted))
    values["picture alone: onset F1, sound with sound"] = f1_within_100_ms(true_s, seen_s)
    values["picture alone: onset F1 against the strikes"] = f1_within_100_ms(strikes_s, seen_s)
    return values


def measure_prompts(clip: Clip, other: Clip, own: Tensor, sound: partial[Tensor], judges: Judges) -> Values:
    """Measure how prompts are followed; ``other`` gives a sound of another material."""
    others = sorted(MATERIALS - clip.materials)
    rng = np.random.default_rng((SEED, round(1e3 * clip.hits_s[0])))
    asked = others[rng.integers(len(others))]
    words = clip.label.replace(clip.material.replace("-", " "), asked.replace("-", " "))
    seen = sound(envelope=clip.envelope)
    judged = {
        "asked for by words: heard": (sound(envelope=clip.envelope, words=words), asked),
        "true strikes on it along the envelope: heard": (clip.on(asked, rng), asked),
        "the same, not asked for: heard": (seen, asked),
        "asked for by a sound: heard": (sound(envelope=clip.envelope, example=other.wave), other.material),
        "frames alone: heard": (seen, clip.material),
        "its own words: heard": (own, clip.material),
        "true sound: heard": (clip.wave, clip.material),
    }
    values = {
        f"{name} ({who})": float(heard == material)
        for name, (wave, material) in judged.items()
        for who, heard in judges.heard(wave, clip.hits_s).items()
    }
    again = sound(envelope=clip.envelope, words=clip.label, seed=1)
    one, two, true = (wave.mean(dim=0).numpy() for wave in (own, again, clip.wave))
    return values | {
        "two seeds: onset F1 of one against the other": f1_within_100_ms(onset_times_s(own), onset_times_s(again)),
        "two seeds: log-mel distance (dB)": log_mel_distance_db(one, two, SAMPLE_RATE_HZ),
        "to the true sound: log-mel distance (dB)": log_mel_distance_db(one, true, SAMPLE_RATE_HZ),
    }


def measure(
    pipeline: SoundGenerator, clips: Sequence[Clip], judges: Judges, settings: SamplerSettings
) -> dict[str, list[float]]:
    """Return all measures by name, a value for each clip where it is defined."""
    samples = {"token": pipeline.model.backbone.samples_per_token, "spectral frame": FRAME_SAMPLES}
    pulses_hz = {name: SAMPLE_RATE_HZ / n for name, n in samples.items()}
    found: dict[str, list[float]] = {}
    for number, clip in enumerate(tqdm(clips, desc="generating", unit="clip")):

        def generate(
            clip: Clip, *, envelope: Envelope, words: str | None = None, example: Tensor | None = None, seed: int = 0
        ) -> Tensor:
            prompts = Prompts(words, [] if example is None else [example])
            return pipeline.generate(
                envelope, DURATION_S, frames=clip.frames, prompts=prompts, settings=settings, seed=seed
            )

        sound = partial(generate, clip)
        own = sound(envelope=clip.envelope, words=clip.label)
        values = measure_envelope(clip, own, sound, pulses_hz)
        following = [*clips[number + 1 :], *clips[:number]]
        other = next((each for each in following if each.material not in clip.materials), None)
        if other is not None:
            values |= measure_prompts(clip, other, own, sound, judges)
        for name, value in values.items():
            if np.isfinite(value):
                found.setdefault(name, []).append(value)
    return found


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean; None with fewer than 10 values that are not shares."""
    if set(values) <= {0.0, 1.0}:
        ends = binomtest(round(sum(values)), len(values)).proportion_ci(method="wilson")
        return float(ends.low), float(ends.high)
    estimate = bootstrap_mean(values)
    return None if estimate is None or estimate.low is None or estimate.high is None else (estimate.low, estimate.high)


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.control", __doc__)
    add_checkpoint(parser, "exp=mini_controlnet", default=BUNDLED)
    add_clips(parser, default=50, least=2)
    add_steps(parser)
    args = parser.parse_args(arguments)
    pipeline, video2rms = SoundGenerator.from_checkpoint(args.checkpoint), load_video2rms()
    settings = pipeline.settings.changed(n_steps=args.steps)
    judges = Judges(pipeline, N_FOREST_CLIPS)
    with tempfile.TemporaryDirectory() as folder:
        numbers = tqdm(range(args.clips), desc="rendering", unit="clip")
        clips = [held_out(number, pipeline, video2rms, Path(folder)) for number in numbers]
    found = measure(pipeline, clips, judges, settings)
    rows = []
    for name, values in found.items():
        ends = interval(values)
        rows.append((name, f"{np.mean(values):.3g}", f"{ends[0]:.3g} to {ends[1]:.3g}" if ends else "", len(values)))
    sys.stdout.write(table([f"{args.clips} synthetic clips", "mean", "95 % interval", "n"], rows))


if __name__ == "__main__":
    main()
