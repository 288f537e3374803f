"""Owns generation: sound from an envelope, frames and prompts. infer.py and the notebook call it."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.choices import INT8
from common.devices import pick_device
from common.errors import InputError, check_range, check_seed
from common.stopwatch import Stopwatch
from common.weights import weights_sha256
from media.clip import ClipSpec, count_at_rate
from media.envelope import FINE_RATE_HZ, Envelope
from stable_foley.checkpoint import BUNDLED, load_model
from stable_foley.colour import matching_filter
from stable_foley.conditions import FRAMES_ID
from stable_foley.model import FoleyModel
from stable_foley.overlap import Joints, Overlap
from stable_foley.sampler import Progress, SamplerSettings
from stable_foley.windows import Prompts, Wanted, WindowMaker, measured
from training.config import instantiate

log = logging.getLogger(__name__)

MAX_OVERLAP_S = 1.0
MAX_CONTROL_STRENGTH = 10.0
_FADED = 0.2  # of the shortest overlap
_WINDOWS = "windows"
_HIT_RMS, _HIT_DECAY_S = 0.1, 0.05


@dataclass(frozen=True, eq=False)
class Piece:
    """A finished piece of a generated sound.

    Attributes:
        sound: (C, n), float32; follows the piece before.
        latents: its latents and the noise that they were made from (l, 2, Z); follow those of the piece before.
        state: what ``SoundGenerator.stream`` needs to go on after it; empty after the last one.
    """

    sound: Tensor
    latents: Tensor
    state: Mapping[str, Tensor]


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
        self._colours: dict[tuple[str, SamplerSettings], Tensor] = {}

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
            dtype: precision of the transformer and its control branch, one of ``SAMPLING_DTYPES``.
            overrides: see ``load_model``.

        Raises:
            InputError: file, override, weights or device are wrong.
        """
        if dtype == INT8 and pick_device(device).type != "cpu":
            raise InputError(
                f"dtype (--dtype) {INT8} is for processors, and the device is {pick_device(device)}; give --dtype "
                "bfloat16, or --device cpu."
            )
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
        return measured(self.model, sound)

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

    def stream(
        self,
        envelope: Envelope,
        duration_s: float,
        *,
        progress: Progress = iter,
        watch: Stopwatch | None = None,
        state: Mapping[str, Tensor] | None = None,
        **wanted: Any,
    ) -> Iterator[Piece]:
        """Generate one sound, window by window.

        Args:
            envelope: RMS values (T,) or (C, T), from any source; silent after its end.
            duration_s: duration of the sound.
            progress: wraps the range of the sampling steps of all windows, to show progress.
            watch: records the durations of the stages ``conditions``, ``steps`` and ``decode``.
            state: state of the piece after which to go on, with the same other arguments; None: from the start.
            **wanted: attributes of ``Wanted``: frames, prompts, settings, seed and others.

        Yields:
            The consecutive pieces of the sound, one more than there are windows.

        Raises:
            InputError: a value is out of its range, or this model cannot use a condition.
        """
        maker = self.maker(Wanted(**wanted), watch)
        n_samples = count_at_rate(duration_s, self.sample_rate_hz)
        starts = self.window_starts(n_samples)
        overlap, joints = self.new_overlap(), self.new_joints()
        first_window = 0
        if state is not None:
            overlap.resume(state)
            joints.resume(state)
            first_window = int(state[_WINDOWS])
        n_steps = maker.settings.n_steps
        steps = iter(progress(range(first_window * n_steps, len(starts) * n_steps)))
        for number, start in enumerate(starts[first_window:], first_window):
            overlap.next_window((start - starts[max(0, number - 1)]) // joints.samples_per_step)
            window = maker.make(envelope, number, start, n_samples, overlap, part_of(steps))
            sound, latents = joints.add(window.sound, window.latents, start)
            next_state = {**overlap.state(), **joints.state(), _WINDOWS: torch.tensor(number + 1)}
            yield Piece(sound, as_rows(latents), next_state)
        sound, latents = joints.rest()
        yield Piece(sound, as_rows(latents), {})
        next(steps, None)  # ends the progress bar

    def maker(self, wanted: Wanted, watch: Stopwatch | None) -> WindowMaker:
        """Return what makes the windows of a sound, after checks of what it is made from."""
        check_seed(wanted.seed, "seed")
        check_range("control_strength", wanted.control_strength, 0, MAX_CONTROL_STRENGTH)
        settings = wanted.settings or self.settings
        self._check(wanted.prompts, settings)
        given = replace(wanted, settings=settings, inputs=wanted.inputs or {})
        watch = watch or Stopwatch()
        with watch.stage("conditions"):
            colour = self._colour(given, settings)
        return WindowMaker(self.model, self.spec, given, colour, watch)

    def _colour(self, wanted: Wanted, settings: SamplerSettings) -> Tensor | None:
        """Return the filter that brings sounds to the colour of their sound prompts; None without these."""
        if not settings.colour_match_db or wanted.prompts is None or not wanted.prompts.sounds:
            return None
        sounds = wanted.prompts.sounds
        if wanted.inputs:  # of further conditioners, which may differ from call to call
            return self._new_colour(sounds, settings, wanted.inputs)
        known = (weights_sha256({str(n): sound for n, sound in enumerate(sounds)}), settings)
        if known not in self._colours:
            self._colours[known] = self._new_colour(sounds, settings, {})
        return self._colours[known]

    def _new_colour(self, sounds: Sequence[Tensor], settings: SamplerSettings, inputs: Mapping[str, Any]) -> Tensor:
        """Return the filter from what the model makes of sound prompts to their colour.

        It is found from hits along an envelope of its own, so that all takes and windows of a sound share it.
        """
        time_s = torch.arange(round(self.spec.duration_s * FINE_RATE_HZ)) / FINE_RATE_HZ
        hits = Envelope(_HIT_RMS * torch.exp(-(time_s % 1.0) / _HIT_DECAY_S), FINE_RATE_HZ)
        made = self.generate(
            hits,
            self.spec.duration_s,
            prompts=Prompts(sounds=sounds),
            settings=replace(settings, colour_match_db=0.0),
            inputs={key: value[:1] for key, value in inputs.items()},
        )
        return matching_filter(sounds, made, self.sample_rate_hz, settings.colour_match_db)

    @property
    def window_samples(self) -> int:
        """Samples of a window in whole tokens."""
        return self._whole_tokens * self.model.backbone.samples_per_token

    def new_overlap(self) -> Overlap:
        """Return what the windows of a sound share."""
        return Overlap(self.window_samples // self.model.pretransform.samples_per_step)

    def new_joints(self) -> Joints:
        """Return what joins the windows of a sound."""
        fade_samples = round(_FADED * self.overlap_samples)
        return Joints(self.window_samples, fade_samples, self.model.pretransform.samples_per_step)

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


def part_of(steps: Iterator[Any]) -> Progress:
    """Return what wraps the steps of one window, and counts them among all steps."""
    return lambda part: (step for step, _ in zip(part, steps, strict=False))


def as_rows(latents: Tensor) -> Tensor:
    """Return latents (2, Z, l) as rows (l, 2, Z), one for each step."""
    return latents.permute(2, 0, 1)
