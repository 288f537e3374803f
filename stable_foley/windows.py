"""Owns the windows of one sound: conditions, sampling, decoding and level of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from common.stopwatch import Stopwatch
from media.clip import ClipSpec
from media.envelope import Envelope
from media.stored import StoredRows
from stable_foley.colour import filtered
from stable_foley.conditions import CONTROL_ID, FRAMES_ID, PROMPT_ID, SECONDS_IDS, Conditions
from stable_foley.model import FoleyModel
from stable_foley.noise import noise_source
from stable_foley.overlap import Overlap
from stable_foley.sampler import Progress, SamplerSettings

_SILENT_RMS = 1e-6  # -120 dB of full scale

Frames = Tensor | StoredRows
"""Frames (T, 3, H, W), uint8 or in 0..1, in memory or on disk."""


@dataclass(frozen=True)
class Prompts:
    """Prompts for the sound; several are averaged.

    Attributes:
        text: description in words.
        sounds: sounds (C, N) at the model's sample rate.
        negative_text: description in words of a sound to avoid; needs guidance.
    """

    text: str | None = None
    sounds: Sequence[Tensor] = ()
    negative_text: str | None = None


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a sound is generated from, beside its envelope; the same for all its windows.

    Attributes:
        frames: video frames (T, 3, H, W), uint8 or in 0..1, at the model's frame rate; None: treated as dropped, as in
            training, by a model that reads frames. Other models ignore them.
        prompts: prompts for the sound.
        inputs: raw inputs of further conditioners by id, (n, …) for the n windows.
        settings: sampling settings; None: the checkpoint's.
        seed: seed of the noise, 0 to 2**32 - 1.
        control_strength: influence of the envelope: 0 none, 1 as trained, at most 10.
    """

    frames: Frames | None = None
    prompts: Prompts | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    settings: SamplerSettings | None = None
    seed: int = 0
    control_strength: float = 1.0


@dataclass(frozen=True, eq=False)
class Window:
    """A generated window.

    Attributes:
        sound: (C, N), float32, on the CPU.
        latents: its latents and the noise that they were made from (2, Z, L), float32, on the CPU.
    """

    sound: Tensor
    latents: Tensor


class WindowMaker:
    """Makes the windows of one sound.

    Args:
        model: the model, in eval mode.
        spec: form of the clips it was trained on; a window is one of them.
        wanted: what the sound is generated from, with its settings.
        colour: filter (taps,) for the decoded sound, see ``stable_foley.colour``; None: none.
        watch: records the durations of the stages ``conditions``, ``steps`` and ``decode``.
    """

    def __init__(
        self, model: FoleyModel, spec: ClipSpec, wanted: Wanted, colour: Tensor | None, watch: Stopwatch
    ) -> None:
        assert wanted.settings is not None
        self.model, self.spec, self.wanted, self.settings, self.watch = model, spec, wanted, wanted.settings, watch
        self._colour = colour
        prompts = wanted.prompts or Prompts()
        with watch.stage("conditions"):
            self._prompt = prompt_features(model, prompts.text, prompts.sounds)
            self._negative = prompt_features(model, prompts.negative_text, ())

    @torch.no_grad()
    def make(
        self,
        envelope: Envelope,
        number: int,
        start: int,
        n_samples: int,
        overlap: Overlap,
        steps: Progress,
    ) -> Window:
        """Generate a window.

        Args:
            envelope: envelope of the whole sound, rms (T,) or (C, T).
            number: number of the window, which chooses its noise.
            start: first sample of the window in the sound.
            n_samples: samples of the whole sound.
            overlap: what the window shares with others.
            steps: wraps the range of its sampling steps.
        """
        seed, strength, codec = self.wanted.seed, self.wanted.control_strength, self.model.pretransform
        with self.watch.stage("conditions"):
            raw = self._raw(start) | {key: value[number, None] for key, value in self.wanted.inputs.items()}
            levels = control_signal(self.model, envelope, start, self.model.padded_length(self.spec.n_samples))
            source = noise_source(seed, number, 1)  # different from the noise of every window
            conditions, others = self._conditions(raw, levels, source)
        with self.watch.stage("steps"):
            latent = self.model.sample(
                conditions,
                self.spec.n_samples,
                self.settings,
                [noise_source(seed, number) if number else torch.Generator().manual_seed(seed)],
                negative=others,
                control_strength=strength,
                progress=steps,
                overlap=overlap,
            )
        with self.watch.stage("decode"):
            latent = codec.settle(latent, levels.mean(dim=1))
            end = min(self.spec.n_samples, n_samples - start)
            sound = codec.decode(latent)[0, :, :end].float().cpu()
            if self._colour is not None:
                before = control_signal(self.model, measured(self.model, sound), 0, end)
                sound = filtered(sound, self._colour)
                sound = self._level_matched(sound, before, self.settings.colour_match_db, 1.0)
            if self.settings.level_match_db:
                asked = control_signal(self.model, envelope, start, end)
                sound = self._level_matched(sound, asked, self.settings.level_match_db, strength)
        return Window(sound, torch.cat([latent, overlap.first_noise]).cpu())

    def _level_matched(self, sound: Tensor, asked: Tensor, max_gain_db: float, strength: float) -> Tensor:
        """Scale sound (C, N) to a control signal (1, C, N), the level measured as in the model's training.

        Args:
            sound: the generated sound.
            asked: the control signal.
            max_gain_db: largest gain in dB; attenuation is unlimited, so that silence is silent.
            strength: share of the gain in dB that is applied; above 1 it counts as 1.
        """
        found = control_signal(self.model, measured(self.model, sound), 0, sound.shape[-1])
        gain = (asked.cpu() / found.clamp(min=_SILENT_RMS))[0].clamp(max=10 ** (max_gain_db / 20))
        return sound * gain ** min(strength, 1.0)

    def _conditions(
        self, raw: Mapping[str, Any], control: Tensor, source: torch.Generator
    ) -> tuple[Conditions, Conditions | None]:
        """Return the conditions of a window, and those that guidance leads away from.

        A distilled model needs the second only for a negative prompt.
        """
        conditioner = self.model.conditioner
        features = conditioner.encode(raw, control.shape[-1])
        features[CONTROL_ID] = conditioner.envelope.encode_signal(control.to(self.model.device))
        embeddings = conditioner.draw(features, source)

        def conditions(prompt: Tensor | None, dropped: Sequence[str] = ()) -> Conditions:
            given = embeddings | ({} if prompt is None else {PROMPT_ID: prompt})
            filled, kept = conditioner.filled(given, 1, self.spec.n_frames)
            return conditioner(filled, kept | conditioner.dropped(dropped, 1))

        if self._negative is not None:
            others = [key for key in conditioner.prompts if key != PROMPT_ID]
            return conditions(self._prompt), conditions(self._negative, dropped=others)
        if not conditioner.prompts or self.model.guidance is not None:
            return conditions(self._prompt), None
        return conditions(self._prompt), conditions(None, dropped=conditioner.prompts)

    def _raw(self, start: int) -> dict[str, Any]:
        """Return the raw inputs of a window by the ids of the model's conditioners, but for the envelope."""
        start_s, total_s = SECONDS_IDS
        device = self.model.device
        raw: dict[str, Any] = {
            key: torch.full((1,), value, device=device)
            for key, value in ((start_s, 0.0), (total_s, self.spec.duration_s))
            if key in self.model.conditioners
        }
        if FRAMES_ID in self.model.conditioners and self.wanted.frames is not None:
            raw[FRAMES_ID] = self._frames(self.wanted.frames, start / self.spec.sample_rate_hz)[None].to(device)
        return raw

    def _frames(self, frames: Frames, start_s: float) -> Tensor:
        """Return the frames of one window, in 0..1; after the end the last frame is repeated."""
        first = min(round(start_s * self.spec.frame_rate_hz), len(frames) - 1)
        window = frames[first : first + self.spec.n_frames]
        window = torch.cat([window, window[-1:].expand(self.spec.n_frames - len(window), -1, -1, -1)])
        return window if window.is_floating_point() else window.float() / 255


def measured(model: FoleyModel, sound: Tensor) -> Envelope:
    """Measure the envelope (T,) or (C, T) of a sound (C, N) as in a model's training."""
    envelope = model.conditioner.envelope.from_recording(sound[None])
    return replace(envelope, rms=envelope.rms[0])


def control_signal(model: FoleyModel, envelope: Envelope, start: int, n_samples: int) -> Tensor:
    """Return the control signal (1, C, n_samples) that a model reads of an envelope (T,) or (C, T) from a sample on."""
    batch = replace(envelope, rms=envelope.rms[None])
    return model.conditioner.envelope.control_signal(batch, n_samples, start)


def prompt_features(model: FoleyModel, text: str | None, sounds: Sequence[Tensor]) -> Tensor | None:
    """Return the mean of all prompts' features (1, D), normalised to length 1; None without a prompt."""
    if not text and not sounds:
        return None
    encoder = model.conditioner.sound_prompt
    found = [encoder.encode_text([text])] if text else []  # first, so that the encoder is built once, with text
    found += [encoder.encode(sound[None].to(model.device), sound.shape[-1]) for sound in sounds]
    return F.normalize(torch.cat(found).mean(0, keepdim=True), dim=-1)
