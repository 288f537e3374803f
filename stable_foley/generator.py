"""Owns generation: sound from an envelope, frames and prompts. infer.py and the notebook call it."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
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
from media.stored import StoredRows
from stable_foley.checkpoint import BUNDLED, load_model
from stable_foley.conditions import CONTROL_ID, FRAMES_ID, PROMPT_ID, SECONDS_IDS, Conditions
from stable_foley.model import FoleyModel
from stable_foley.noise import noise_source
from stable_foley.overlap import Joints, Overlap
from stable_foley.sampler import Progress, SamplerSettings
from training.config import instantiate

log = logging.getLogger(__name__)

MAX_OVERLAP_S = 1.0
MAX_CONTROL_STRENGTH = 10.0
_SILENT_RMS = 1e-6  # -120 dB of full scale
_FADED = 0.2  # of the shortest overlap
_WINDOWS = "windows"

Frames = Tensor | StoredRows
"""Frames (T, 3, H, W), uint8 or in 0..1, in memory or on disk."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A finished piece of a generated sound.

    Attributes:
        sound: (C, n), float32; follows the piece before.
        state: what ``SoundGenerator.stream`` needs to go on after it; empty after the last one.
    """

    sound: Tensor
    state: Mapping[str, Tensor]


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

    Videos longer than the model's clips are generated in windows that overlap by about a second, where they share their
    latents, see ``stable_foley.overlap``. For shorter videos a whole clip is generated and cut.

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

    def generate(self, envelope: Envelope, duration_s: float, **options: Any) -> Tensor:
        """Generate one sound.

        Args:
            envelope: see ``stream``.
            duration_s: see ``stream``.
            **options: see ``stream``.

        Returns:
            Sound (C, N), float32, N = duration_s · sample rate.

        Raises:
            InputError: a value is out of its range, or this model cannot use a condition.
        """
        return torch.cat([piece.sound for piece in self.stream(envelope, duration_s, **options)], dim=-1)

    @torch.no_grad()
    def stream(
        self,
        envelope: Envelope,
        duration_s: float,
        *,
        frames: Frames | None = None,
        prompts: Prompts | None = None,
        inputs: Mapping[str, Any] | None = None,
        settings: SamplerSettings | None = None,
        seed: int = 0,
        control_strength: float = 1.0,
        progress: Progress = iter,
        watch: Stopwatch | None = None,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Piece]:
        """Generate one sound, window by window.

        Args:
            envelope: RMS values (T,) or (C, T), from any source; silent after its end.
            duration_s: duration of the sound.
            frames: video frames (T, 3, H, W), uint8 or in 0..1, at the model's frame rate; None: treated as dropped, as
                in training, by a model that reads frames. Other models ignore them.
            prompts: prompts for the sound.
            inputs: raw inputs of further conditioners by id, (n, …) for the n windows.
            settings: sampling settings; None: the checkpoint's.
            seed: seed of the noise, 0 to 2**32 - 1.
            control_strength: influence of the envelope: 0 none, 1 as trained, at most 10.
            progress: wraps the range of the sampling steps of all windows, to show progress.
            watch: records the durations of the stages ``conditions``, ``steps`` and ``decode``.
            state: state of the piece after which to go on, with the same other arguments; None: from the start.

        Yields:
            The consecutive pieces of the sound, one more than there are windows.

        Raises:
            InputError: a value is out of its range, or this model cannot use a condition.
        """
        check_seed(seed, "seed")
        check_range("control_strength", control_strength, 0, MAX_CONTROL_STRENGTH)
        settings = settings or self.settings
        self._check(prompts, settings)
        watch = watch or Stopwatch()
        with watch.stage("conditions"):
            prompt = self._prompt_features(prompts.text, prompts.sounds) if prompts else None
            negative = self._prompt_features(prompts.negative_text, ()) if prompts else None
        n_samples = count_at_rate(duration_s, self.sample_rate_hz)
        starts = self.window_starts(n_samples)
        window_samples = self._whole_tokens * self.model.backbone.samples_per_token
        codec = self.model.pretransform
        overlap = Overlap(window_samples // codec.samples_per_step)
        joints = Joints(window_samples, round(_FADED * self.overlap_samples))
        first_window = 0
        if state is not None:
            overlap.resume(state)
            joints.resume(state)
            first_window = int(state[_WINDOWS])
        steps = iter(progress(range(first_window * settings.n_steps, len(starts) * settings.n_steps)))
        for number, start in enumerate(starts[first_window:], first_window):
            overlap.next_window((start - starts[max(0, number - 1)]) // codec.samples_per_step)
            with watch.stage("conditions"):
                raw = self._raw(frames, start) | {key: value[number, None] for key, value in (inputs or {}).items()}
                levels = self._control(envelope, start, self.model.padded_length(self.spec.n_samples))
                source = noise_source(seed, number, 1)  # different from the noise of every window
                conditions, others = self._conditions(raw, levels, prompt, negative, source)
            with watch.stage("steps"):
                latent = self.model.sample(
                    conditions,
                    self.spec.n_samples,
                    settings,
                    [noise_source(seed, number) if number else torch.Generator().manual_seed(seed)],
                    negative=others,
                    control_strength=control_strength,
                    progress=lambda part: (step for step, _ in zip(part, steps, strict=False)),
                    overlap=overlap,
                )
            with watch.stage("decode"):
                end = min(self.spec.n_samples, n_samples - start)
                sound = codec.decode(latent)[0, :, :end].float().cpu()
                if settings.level_match_db:
                    levels = self._control(envelope, start, end)
                    sound = self._level_matched(sound, levels, settings.level_match_db, control_strength)
            piece = joints.add(sound, start)
            yield Piece(piece, {**overlap.state(), **joints.state(), _WINDOWS: torch.tensor(number + 1)})
        yield Piece(joints.rest(), {})
        next(steps, None)  # ends the progress bar

    def _control(self, envelope: Envelope, start: int, n_samples: int) -> Tensor:
        """Return the control signal (1, C, n_samples) of an envelope (T,) or (C, T) from a sample on."""
        batch = replace(envelope, rms=envelope.rms[None])
        return self.model.conditioner.envelope.control_signal(batch, n_samples, start)

    def _level_matched(self, sound: Tensor, asked: Tensor, max_gain_db: float, strength: float) -> Tensor:
        """Scale sound (C, N) to a control signal (1, C, N), the level measured as in the model's training.

        Args:
            sound: the generated sound.
            asked: the control signal.
            max_gain_db: largest gain in dB; attenuation is unlimited, so that silence is silent.
            strength: share of the gain in dB that is applied; above 1 it counts as 1.
        """
        found = self._control(self.measure(sound), 0, sound.shape[-1])
        gain = (asked.cpu() / found.clamp(min=_SILENT_RMS))[0].clamp(max=10 ** (max_gain_db / 20))
        return sound * gain ** min(strength, 1.0)

    @property
    def _whole_tokens(self) -> int:
        """Whole tokens in a window."""
        return max(1, self.spec.n_samples // self.model.backbone.samples_per_token)

    @property
    def overlap_samples(self) -> int:
        """Samples that two windows share at least: about a quarter of a window, at most a second, in whole tokens."""
        token = self.model.backbone.samples_per_token
        asked = min(MAX_OVERLAP_S * self.sample_rate_hz, self.spec.n_samples / 4)
        return min(max(1, round(asked / token)), self._whole_tokens - 1) * token

    @property
    def hop_samples(self) -> int:
        """Samples from the start of a window to that of the next, but for the last."""
        return self._whole_tokens * self.model.backbone.samples_per_token - self.overlap_samples

    def window_starts(self, n_samples: int) -> list[int]:
        """Return the first sample of each window of a sound; the last one ends with the sound.

        So the last window is no shorter than the others, which would change its timbre.
        """
        token = self.model.backbone.samples_per_token
        last = max(0, math.ceil((n_samples - self.spec.n_samples) / token) * token)
        return [*range(0, last, self.hop_samples), last]

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
        self,
        raw: Mapping[str, Any],
        control: Tensor,
        prompt: Tensor | None,
        negative: Tensor | None,
        source: torch.Generator,
    ) -> tuple[Conditions, Conditions | None]:
        """Return the conditions of a window, and those that guidance leads away from.

        A distilled model needs the second only for a negative prompt.
        """
        conditioner = self.model.conditioner
        features = conditioner.encode(raw, control.shape[-1])
        features[CONTROL_ID] = conditioner.envelope.encode_signal(control.to(self.device))
        embeddings = conditioner.draw(features, source)

        def conditions(prompt: Tensor | None, dropped: Sequence[str] = ()) -> Conditions:
            given = embeddings | ({} if prompt is None else {PROMPT_ID: prompt})
            filled, kept = conditioner.filled(given, 1, self.spec.n_frames)
            return conditioner(filled, kept | conditioner.dropped(dropped, 1))

        if negative is not None:
            others = [key for key in conditioner.prompts if key != PROMPT_ID]
            return conditions(prompt), conditions(negative, dropped=others)
        if not conditioner.prompts or self.model.guidance is not None:
            return conditions(prompt), None
        return conditions(prompt), conditions(None, dropped=conditioner.prompts)

    def _raw(self, frames: Frames | None, start: int) -> dict[str, Any]:
        """Return the raw inputs of a window by the ids of the model's conditioners, but for the envelope."""
        start_s, total_s = SECONDS_IDS
        raw: dict[str, Any] = {
            key: torch.full((1,), value, device=self.device)
            for key, value in ((start_s, 0.0), (total_s, self.spec.duration_s))
            if key in self.model.conditioners
        }
        if self.reads_frames and frames is not None:
            raw[FRAMES_ID] = self._frames_window(frames, start / self.sample_rate_hz)[None].to(self.device)
        return raw

    def _prompt_features(self, text: str | None, sounds: Sequence[Tensor]) -> Tensor | None:
        """Return the mean of all prompts' features (1, D), normalised to length 1; None without a prompt."""
        if not text and not sounds:
            return None
        encoder = self.model.conditioner.sound_prompt
        found = [encoder.encode_text([text])] if text else []  # first, so that the encoder is built once, with text
        found += [encoder.encode(sound[None].to(self.device), sound.shape[-1]) for sound in sounds]
        return F.normalize(torch.cat(found).mean(0, keepdim=True), dim=-1)

    def _frames_window(self, frames: Frames, start_s: float) -> Tensor:
        """Return the frames of one window, in 0..1; after the end the last frame is repeated."""
        first = min(round(start_s * self.spec.frame_rate_hz), len(frames) - 1)
        window = frames[first : first + self.spec.n_frames]
        window = torch.cat([window, window[-1:].expand(self.spec.n_frames - len(window), -1, -1, -1)])
        return window if window.is_floating_point() else window.float() / 255
