"""How well the sound obeys: ``python -m benchmarks.control [--checkpoint FILE] [--clips 50]``.

Synthetic clips that no training sees are given new sound: with their own envelope; with it later, louder, softer and
silent in one half; with a prompt of words or of another clip's sound that names another material than the frames show,
and with the frames alone; and with another seed. The sounds are measured, and what they are made of is what CAVP hears
in them. Prints a Markdown table of means with their 95 % intervals.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torchaudio.functional
from torch import Tensor
from tqdm import tqdm

from cavp.retrieval import heard_materials
from data.envelope import Envelope, fine_envelope
from data.errors import InputError, user_errors
from data.greatest_hits import MATERIALS
from data.synthetic import SAMPLE_RATE_HZ, SyntheticClip, SyntheticSpec, render_clip
from evaluation.levels import e_l1_video_foley, rms_correlation
from evaluation.onsets import detect_onsets, onset_f1
from evaluation.statistics import bootstrap_mean
from stable_foley.conditioners.cavp_prompt import CavpPromptConditioner
from stable_foley.pipeline import FoleyPipeline, Prompts

SEED = 3_000_003  # of clips that no training configuration uses
DURATION_S = 10.0
EVERY = 3  # frames of 12 a second that become one
PEAK = 10 ** (-12 / 20)  # of the clips' sounds: there is room for 12 dB more
SHIFT_S = 0.5
BEFORE_ONSET_S = (0.020, 0.005)


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip with its truth.

    Attributes:
        wave: the strikes' sound (2, N), its peak at -12 dB.
        envelope: its envelope at 125 Hz.
        frames: (T, 3, H, W), 4 a second, 0..1.
        material: what is struck most often.
    """

    wave: Tensor
    envelope: Envelope
    frames: Tensor
    material: str


def held_out(number: int, frame_size_px: tuple[int, int]) -> Clip:
    """A clip of the benchmark."""
    width, height = frame_size_px
    spec = SyntheticSpec(DURATION_S, 4.0 * EVERY, width, height, max_offset_s=0.0)
    clip: SyntheticClip = render_clip(spec, SEED, number)
    assert clip.clean is not None
    assert clip.frames is not None
    wave = clip.clean * (PEAK / clip.clean.abs().max())
    materials = [strike.material for strike in clip.plan.strikes]
    most = max(sorted(set(materials)), key=materials.count)
    return Clip(wave, fine_envelope(wave, SAMPLE_RATE_HZ), clip.frames[::EVERY].float() / 255, most)


class Listener:
    """Measures of sounds.

    Args:
        pipeline: generates; its prompt encoder is what hears materials.
    """

    def __init__(self, pipeline: FoleyPipeline) -> None:
        encoder = pipeline.model.conditioners["audio"]
        if not isinstance(encoder, CavpPromptConditioner):
            raise InputError("the checkpoint has no prompt encoder with words; give one that exp=mini_controlnet made")
        self.encoder = encoder

    def material(self, sound: Tensor) -> str:
        """The material that a sound (C, N) is nearest to."""
        return heard_materials(self.encoder.cavp, self.encoder.embed(sound[None]))[0]

    @staticmethod
    def onsets_s(sound: Tensor) -> np.ndarray:
        """Onset times of a sound."""
        return detect_onsets(sound, SAMPLE_RATE_HZ).times_s

    def f1(self, reference: Tensor, generated: Tensor) -> float:
        """Onset F1 within 0.1 s, sound with sound; 1 where both are without onset."""
        score = onset_f1(self.onsets_s(reference), self.onsets_s(generated))
        return score.f1 if score else 1.0

    def lag_s(self, reference: Tensor, generated: Tensor) -> float:
        """By how much a sound is later than another, where their envelopes correlate most, at most 1 s."""
        first, second = (fine_envelope(wave, SAMPLE_RATE_HZ).rms.double() for wave in (reference, generated))
        n = 125
        padded = torch.nn.functional.pad(second - second.mean(), (n, n))
        products = torchaudio.functional.fftconvolve(padded, (first - first.mean()).flip(0), mode="valid")
        return (int(products.argmax()) - n) / 125

    def pre_echo_db(self, sound: Tensor) -> list[float]:
        """Levels just before onsets that stand alone, in dB above the peaks that follow; at least -120."""
        mono, times_s = sound.mean(dim=0), self.onsets_s(sound)
        gaps_s = np.diff(times_s, prepend=-1.0)
        found = []
        for time_s in times_s[(gaps_s > 0.5) & (times_s > 0.2)]:
            rise = mono[round((time_s - 0.1) * SAMPLE_RATE_HZ) : round((time_s + 0.05) * SAMPLE_RATE_HZ)].abs()
            start = int((rise > 0.3 * rise.max()).nonzero()[0])  # the detector comes some 40 ms late
            begin, end = (max(0, start - round(before * SAMPLE_RATE_HZ)) for before in BEFORE_ONSET_S)
            before = rise[begin:end].square().mean().sqrt() if end > begin else rise.new_tensor(0.0)
            found.append(float(20 * torch.log10((before / rise.max()).clamp(min=1e-6))))
        return found


def level_db(sound: Tensor) -> float:
    """RMS level of a sound in dB of full scale, at least -120."""
    return float(20 * torch.log10(sound.square().mean().sqrt().clamp(min=1e-6)))


def distance_db(first: Tensor, second: Tensor) -> float:
    """Mean difference of the log spectra of two sounds where either is above -60 dB of the louder."""
    spectra = [
        torch.stft(wave.mean(dim=0), 1024, 256, window=torch.hann_window(1024), return_complex=True).abs()
        for wave in (first, second)
    ]
    floor = max(float(spectrum.max()) for spectrum in spectra) * 1e-3
    levels = [20 * spectrum.clamp(min=floor).log10() for spectrum in spectra]
    heard = (levels[0] > levels[0].min()) | (levels[1] > levels[1].min())
    return float((levels[0] - levels[1]).abs()[heard].mean()) if heard.any() else 0.0


def measure(pipeline: FoleyPipeline, clips: list[Clip], n_steps: int | None) -> dict[str, list[float]]:
    """All measures by name, a value for each clip (or onset)."""
    listener = Listener(pipeline)
    settings = pipeline.settings.changed(n_steps=n_steps)
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for number, clip in enumerate(tqdm(clips, unit="clip")):

        def sound(
            envelope: Envelope,
            words: str | None = None,
            example: Tensor | None = None,
            seed: int = 0,
            clip: Clip = clip,
        ) -> Tensor:
            prompts = Prompts(words, [] if example is None else [example])
            return pipeline.generate(
                envelope, DURATION_S, frames=clip.frames, prompts=prompts, settings=settings, seed=seed
            )

        rms, half = clip.envelope.rms, len(clip.envelope.rms) // 2
        own = sound(clip.envelope, clip.material)
        note("RMS correlation with the true sound", float(rms_correlation(own, clip.wave, SAMPLE_RATE_HZ)))
        note("E-L1 (16 kHz)", float(e_l1_video_foley(own, clip.wave, SAMPLE_RATE_HZ)))
        note("onset F1, sound with sound", listener.f1(clip.wave, own))
        for value in listener.pre_echo_db(own):
            note("level 20 to 5 ms before single onsets, below their peak (dB)", -value)
        n_later = round(SHIFT_S * clip.envelope.rate_hz)
        later = torch.cat([torch.zeros(n_later), rms[:-n_later]])
        note(
            "envelope 0.5 s later: lag (s)",
            listener.lag_s(own, sound(replace(clip.envelope, rms=later), clip.material)),
        )
        for gain_db in (-12, 12):
            louder = sound(replace(clip.envelope, rms=rms * 10 ** (gain_db / 20)), clip.material)
            note(f"envelope {gain_db:+d} dB: change of level (dB)", level_db(louder) - level_db(own))
        muted = sound(replace(clip.envelope, rms=torch.cat([rms[:half], torch.zeros(len(rms) - half)])), clip.material)
        first, second = muted.split([muted.shape[-1] // 2, muted.shape[-1] - muted.shape[-1] // 2], dim=-1)
        after = second[:, round(0.1 * SAMPLE_RATE_HZ) :]
        note("envelope silent in the second half: drop (dB)", level_db(first) - level_db(after))
        others = sorted(MATERIALS - {clip.material})
        asked = others[np.random.default_rng((SEED, number)).integers(len(others))]
        note("asked for by words: heard", float(listener.material(sound(clip.envelope, asked)) == asked))
        example = next((c for c in clips[number + 1 :] + clips[:number] if c.material != clip.material), None)
        if example is not None:
            spoken = sound(clip.envelope, None, example.wave)
            note("asked for by a sound: heard", float(listener.material(spoken) == example.material))
        note("frames alone: heard", float(listener.material(sound(clip.envelope)) == clip.material))
        note("true sound: heard", float(listener.material(clip.wave) == clip.material))
        again = sound(clip.envelope, clip.material, seed=1)
        note("two seeds: onset F1 of one against the other", listener.f1(own, again))
        note("two seeds: mean difference of spectra (dB)", distance_db(own, again))
    return found


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="of exp=mini_controlnet")
    parser.add_argument("--clips", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the checkpoint's)")
    args = parser.parse_args(arguments)
    if args.clips < 1:
        raise InputError(f"--clips {args.clips} is not possible: give at least 1")
    pipeline = FoleyPipeline.from_checkpoint(args.checkpoint)
    size_px = pipeline.spec.frame_size_px
    clips = [held_out(i, size_px if isinstance(size_px, tuple) else (size_px, size_px)) for i in range(args.clips)]
    found = measure(pipeline, clips, args.steps)
    sys.stdout.write(f"| {args.clips} synthetic clips | mean | 95 % interval | n |\n|---|---|---|---|\n")
    for name, values in found.items():
        estimate = bootstrap_mean(values)
        assert estimate is not None
        ends = "" if estimate.low is None else f"{estimate.low:.3f} to {estimate.high:.3f}"
        sys.stdout.write(f"| {name} | {estimate.mean:.3f} | {ends} | {estimate.n} |\n")


if __name__ == "__main__":
    main()
