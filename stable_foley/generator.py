"""Owns generation: sound from an envelope, frames and prompts. infer.py and the notebook call it."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from common.devices import pick_device
from common.errors import InputError, check_range, check_seed
from common.stopwatch import Stopwatch
from media.clip import ClipSpec, count_at_rate
from media.envelope import Envelope
from stable_foley.checkpoint import BUNDLED, load_model
from stable_foley.conditions import CONTROL_ID, FRAMES_ID, PROMPT_ID, SECONDS_IDS, Conditions
from stable_foley.model import FoleyModel
from stable_foley.noise import noise_source
from stable_foley.sampler import Progress, SamplerSettings
from training.config import instantiate

log = logging.getLogger(__name__)

MAX_OVERLAP_S = 1.0
MAX_CONTROL_STRENGTH = 10.0
_SILENT_RMS = 1e-6  # -120 dB of full scale


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


class SoundGenerator:
    """Generates sound with a trained model.

    Videos longer than the model's clips are generated in windows that overlap by a second and are cross-faded; for
    shorter videos a whole clip is generated and cut.

    Args:
        model: the model, in eval mode.
        spec: form of the clips it was trained on.
        settings: its sampling settings.
        device: ``cuda``, ``mps`` or ``cpu``; None: the first available of these.

    Raises:
        InputError: the device is not available.
    """

    def __init__(
        self,
        model: FoleyModel,
        spec: ClipSpec,
        settings: SamplerSettings,
        device: str | None = None,
    ) -> None:
        model.check_sound(spec.sample_rate_hz, spec.n_channels)
        self.device = pick_device(device)
        self.model = model.to(self.device)
        self.spec = spec
        self.settings = settings

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = BUNDLED,
        device: str | None = None,
        dtype: str = "float32",
        overrides: Sequence[str] = (),
    ) -> "SoundGenerator":
        """Load a checkpoint, which contains its configuration.

        Args:
            path: the checkpoint, by default the bundled one; None: random weights, see ``load_model``.
            device: see the class.
            dtype: precision of the transformer and its control branch: ``float32``, ``bfloat16`` or ``float16``.
            overrides: see ``load_model``.
        """
        model, config = load_model(None if path is None else Path(path), overrides, dtype)
        spec, settings = instantiate(config.dataset.spec), instantiate(config.sampler)
        for key, part, kind in (("dataset.spec", spec, ClipSpec), ("sampler", settings, SamplerSettings)):
            if not isinstance(part, kind):
                raise InputError(f"{key} is a {type(part).__name__}; expected {kind.__name__}: give a Foley model.")
        return cls(model, spec, settings, device)

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of all input and output sounds."""
        return self.spec.sample_rate_hz

    @property
    def reads_frames(self) -> bool:
        """True if the model reads the video's frames."""
        return FRAMES_ID in self.model.conditioners

    def measure(self, sound: Tensor) -> Envelope:
        """Measure the envelope (T,) or (C, T) of a sound (C, N) as in the model's training."""
        envelope = self.model.conditioner.envelope.from_recording(sound[None])
        return replace(envelope, rms=envelope.rms[0])

    @torch.no_grad()
    def generate(
        self,
        envelope: Envelope,
        duration_s: float,
        *,
        frames: Tensor | None = None,
        prompts: Prompts | None = None,
        inputs: Mapping[str, Any] | None = None,
        settings: SamplerSettings | None = None,
        seed: int = 0,
        control_strength: float = 1.0,
        progress: Progress = iter,
        watch: Stopwatch | None = None,
    ) -> Tensor:
        """Generate one sound.

        Args:
            envelope: RMS values (T,) or (C, T), from any source; silent after its end.
            duration_s: duration of the sound.
            frames: video frames (T, 3, H, W) in 0..1 at the model's frame rate; None: treated as dropped, as in
                training, by a model that reads frames. Other models ignore them.
            prompts: prompts for the sound.
            inputs: raw inputs of further conditioners by id, each for as many clips as there are windows.
            settings: sampling settings; None: the checkpoint's.
            seed: seed of the noise, 0 to 2**32 - 1. The noise of a window depends only on the seed and the window's
                number.
            control_strength: influence of the envelope: 0 none, 1 as trained, at most 10.
            progress: wraps the range of sampling steps, to show progress.
            watch: records the durations of the stages ``conditions``, ``steps`` and ``decode``.

        Returns:
            Sound (C, N), float32, N = duration_s · sample rate.

        Raises:
            InputError: a value is out of its range, or this model cannot use a condition.
        """
        check_seed(seed, "seed")
        check_range("control_strength", control_strength, 0, MAX_CONTROL_STRENGTH)
        settings = settings or self.settings
        self._check(prompts, settings)
        n_samples = count_at_rate(duration_s, self.sample_rate_hz)
        starts_s = self._window_starts_s(duration_s)
        watch = watch or Stopwatch()
        with watch.stage("conditions"):
            raw = self._raw(envelope, frames, starts_s) | dict(inputs or {})
            conditions, negative = self._conditions(raw, prompts or Prompts(), len(starts_s), seed)
        generators = [noise_source(seed, i) if i else torch.Generator().manual_seed(seed) for i in range(len(starts_s))]
        with watch.stage("steps"):
            latent = self.model.sample(
                conditions,
                self.spec.n_samples,
                settings,
                generators,
                negative=negative,
                control_strength=control_strength,
                progress=progress,
            )
        with watch.stage("decode"):
            windows = self.model.pretransform.decode(latent)[..., : self.spec.n_samples].float().cpu()
        sound = cross_fade(windows, count_at_rate(self.overlap_s, self.sample_rate_hz))[..., :n_samples]
        if not settings.level_match_db:
            return sound
        return self._level_matched(sound, envelope, settings.level_match_db, control_strength)

    def _level_matched(self, sound: Tensor, envelope: Envelope, max_gain_db: float, strength: float) -> Tensor:
        """Scale sound (C, N) to the level of the envelope, both measured as in the model's training.

        Args:
            sound: the generated sound.
            envelope: RMS values (T,) or (C, T).
            max_gain_db: largest gain in dB; attenuation is unlimited, so that silence is silent.
            strength: share of the gain in dB that is applied; above 1 it counts as 1.
        """
        conditioner = self.model.conditioner.envelope
        asked, found = (
            conditioner.control_signal(replace(each, rms=each.rms[None].cpu()), sound.shape[-1])[0]
            for each in (envelope, self.measure(sound))
        )
        gain = (asked / found.clamp(min=_SILENT_RMS)).clamp(max=10 ** (max_gain_db / 20))
        return sound * gain ** min(strength, 1.0)

    @property
    def overlap_s(self) -> float:
        """Overlap of windows in seconds: a quarter of a window, at most a second."""
        return min(MAX_OVERLAP_S, self.spec.duration_s / 4)

    def _window_starts_s(self, duration_s: float) -> list[float]:
        hop_s = self.spec.duration_s - self.overlap_s
        n_windows = max(1, math.ceil((duration_s - self.overlap_s) / hop_s - 1e-6))
        return [i * hop_s for i in range(n_windows)]

    def _check(self, prompts: Prompts | None, settings: SamplerSettings) -> None:
        """Refuse prompts and guidance that the model cannot use."""
        prompted = prompts is not None and (prompts.text or prompts.sounds or prompts.negative_text)
        if prompted:
            _ = self.model.conditioner.sound_prompt
        if settings.cfg_scale != 1 and not self.model.conditioner.prompts:
            raise InputError(f"Guidance {settings.cfg_scale} has nothing to act on in this model; use 1 (--cfg 1).")
        if self.model.guidance is not None:
            self.model.guidance.check(settings.cfg_scale)
        if prompts is not None and prompts.negative_text and settings.cfg_scale == 1:
            raise InputError("A negative prompt acts through guidance, and cfg_scale (--cfg) 1 is none; give above 1.")

    def _conditions(
        self, raw: Mapping[str, Any], prompts: Prompts, n_windows: int, seed: int
    ) -> tuple[Conditions, Conditions | None]:
        """Return the conditions of all windows, and those that guidance leads away from.

        A distilled model needs the second only for a negative prompt.
        """
        conditioner = self.model.conditioner
        features = conditioner.encode(raw, self.model.padded_length(self.spec.n_samples))
        embeddings = conditioner.draw(features, noise_source(seed, 0, 1))  # different from the noise of every window

        def conditions(text: str | None, sounds: Sequence[Tensor], dropped: Sequence[str] = ()) -> Conditions:
            prompt = self._prompt_features(text, sounds)
            given = embeddings | ({} if prompt is None else {PROMPT_ID: prompt.expand(n_windows, -1)})
            filled, kept = conditioner.filled(given, n_windows, self.spec.n_frames)
            return conditioner(filled, kept | conditioner.dropped(dropped, n_windows))

        prompted = conditions(prompts.text, prompts.sounds)
        if prompts.negative_text:
            others = [key for key in conditioner.prompts if key != PROMPT_ID]
            return prompted, conditions(prompts.negative_text, (), dropped=others)
        if not conditioner.prompts or self.model.guidance is not None:
            return prompted, None
        return prompted, conditions(None, (), dropped=conditioner.prompts)

    def _raw(self, envelope: Envelope, frames: Tensor | None, starts_s: list[float]) -> dict[str, Any]:
        """Return the raw inputs of all windows by the ids of the model's conditioners."""
        n_windows, known = len(starts_s), self.model.conditioners
        start_s, total_s = SECONDS_IDS
        raw: dict[str, Any] = {
            key: torch.full((n_windows,), value, device=self.device)
            for key, value in ((start_s, 0.0), (total_s, self.spec.duration_s))
            if key in known
        }
        raw[CONTROL_ID] = self._envelope_windows(envelope, starts_s)
        if self.reads_frames and frames is not None:
            raw[FRAMES_ID] = torch.stack([self._frames_window(frames, s) for s in starts_s]).to(self.device)
        return raw

    def _prompt_features(self, text: str | None, sounds: Sequence[Tensor]) -> Tensor | None:
        """Return the mean of all prompts' features (1, D), normalised to length 1; None without a prompt."""
        if not text and not sounds:
            return None
        encoder = self.model.conditioner.sound_prompt
        found = [encoder.encode_text([text])] if text else []  # first, so that the encoder is built once, with text
        found += [encoder.encode(sound[None].to(self.device), sound.shape[-1]) for sound in sounds]
        return F.normalize(torch.cat(found).mean(0, keepdim=True), dim=-1)

    def _envelope_windows(self, envelope: Envelope, starts_s: list[float]) -> Envelope:
        windows = [window(envelope.rms, start_s, self.spec.duration_s, envelope.rate_hz) for start_s in starts_s]
        return replace(envelope, rms=torch.stack(windows).to(self.device))

    def _frames_window(self, frames: Tensor, start_s: float) -> Tensor:
        """Return the frames of one window; after the end the last frame is repeated."""
        first = round(start_s * self.spec.frame_rate_hz)
        index = (first + torch.arange(self.spec.n_frames)).clamp(max=len(frames) - 1)
        return frames[index]


def window(values: Tensor, start_s: float, duration_s: float, rate_hz: float) -> Tensor:
    """Return the values (..., n) within a time window, with zeros outside the given range."""
    first, n = round(start_s * rate_hz), count_at_rate(duration_s, rate_hz)
    part = values[..., first : first + n]
    return F.pad(part, (0, n - part.shape[-1]))


def cross_fade(windows: Tensor, overlap_samples: int) -> Tensor:
    """Join windows (B, C, N) that overlap in time into one sound (C, …), by equal-power cross-fades."""
    ramp = torch.linspace(0, math.pi / 2, overlap_samples)
    joined = windows[0]
    for following in windows[1:]:
        fade = joined[..., -overlap_samples:] * ramp.cos() + following[..., :overlap_samples] * ramp.sin()
        joined = torch.cat([joined[..., :-overlap_samples], fade, following[..., overlap_samples:]], dim=-1)
    return joined
