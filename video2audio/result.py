"""Owns what is generated for a video, and how it is saved."""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from media.envelope import Envelope
from stable_foley.sampler import SamplerSettings
from video2audio.files import ResultFiles, write_files
from video2audio.request import FoleyRequest

log = logging.getLogger(__name__)

PEAK_DB = -0.1
"""Peak of a sound that would exceed full scale, in dB of full scale."""


@dataclass(frozen=True, eq=False)
class FoleyResult:
    """A sound for a video.

    Attributes:
        request: what was asked for.
        sound: (C, N), float32; within full scale unless ``request.clip``.
        sample_rate_hz: of the sound.
        envelope: what controlled it, rms (T,), from the start of the section.
        onsets_s: predicted times of hits from the start of the section (K,); None where the envelope was given.
        seed: of the noise.
        settings: of the sampler.
        gain_db: what the sound was made softer by so as not to exceed full scale, at most 0.
        n_clipped: samples that are cut off when the sound is written.
        timings_s: seconds that each stage took, by name, those shared with other seeds included.
        origin: which models made it, and on what.
    """

    request: FoleyRequest
    sound: Tensor
    sample_rate_hz: int
    envelope: Envelope
    onsets_s: Tensor | None
    seed: int
    settings: SamplerSettings
    gain_db: float
    n_clipped: int
    timings_s: Mapping[str, float]
    origin: Mapping[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """Everything that the sound depends on, as ``NAME.json`` holds it."""
        request = self.request
        return {
            "video": str(request.video.resolve()),
            "envelope": _named(request.envelope),
            "prompt": request.prompt,
            "audio_prompts": [_named(prompt) for prompt in request.audio_prompts],
            "negative_prompt": request.negative_prompt,
            "start_s": request.section.start_s,
            "duration_s": request.section.duration_s,
            "control_strength": request.control_strength,
            "seed": self.seed,
            "sampler_settings": asdict(self.settings),
            "sample_rate_hz": self.sample_rate_hz,
            "clip": request.clip,
            "gain_db": self.gain_db,
            "clipped_samples": self.n_clipped,
            **self.origin,
            "torch": torch.__version__,
        }

    def save(self, folder: str | Path = "outputs", name: str | None = None) -> list[Path]:
        """Write NAME.wav, NAME.mp4 (the video with this sound), NAME.envelope.csv, NAME.png and NAME.json.

        Args:
            folder: where they go; it is made if need be.
            name: what they are called; None: as the video.

        Returns:
            The files that were written. An envelope's CSV that was given under its name stays as it is.

        Raises:
            InputError: a file would replace an input, somebody else's file or an edited envelope, or cannot be written.
        """
        envelope = self.request.envelope
        files = ResultFiles(
            Path(folder),
            name or self.request.section.clip.clip_id,
            self.request.video,
            envelope if isinstance(envelope, Path) else None,
        )
        files.check(self.request.files)
        return write_files(files, self.request.section, self.sound, self.envelope, self.record)


def within_full_scale(sound: Tensor, *, clip: bool) -> tuple[Tensor, float, int]:
    """Make a sound (C, N) softer as a whole until nothing exceeds full scale, or let it be cut off.

    Args:
        sound: full scale ±1.
        clip: whether it is to be cut off.

    Returns:
        The sound, the gain in dB that it got, and the number of samples that exceed full scale now.
    """
    peak = float(sound.abs().max())
    if peak <= 1:
        return sound, 0.0, 0
    if clip:
        n_clipped = int((sound.abs() > 1).sum())
        log.warning("%d of %d samples exceed full scale and are cut off", n_clipped, sound.numel())
        return sound, 0.0, n_clipped
    gain_db = PEAK_DB - 20 * math.log10(peak)
    log.warning("the sound exceeds full scale and is made %.1f dB softer as a whole; see --clip", -gain_db)
    return sound * 10 ** (gain_db / 20), gain_db, 0


def _named(given: object) -> str | None:
    """Return the path of a file, or what stands for a value that was given without one."""
    return None if given is None else str(given) if isinstance(given, Path) else type(given).__name__
