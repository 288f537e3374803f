"""Owns the result of a generation for a video, and its saving."""

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


@dataclass(frozen=True, eq=False)
class FoleyResult:
    """A sound for a video.

    Attributes:
        request: the request.
        sound: (C, N), float32; within full scale unless ``request.peaks`` is ``clip``.
        sample_rate_hz: sample rate of the sound.
        envelope: the envelope that controlled it, rms (T,), from the start of the section.
        onsets_s: predicted times of hits from the start of the section (K,); None if the envelope was given.
        seed: seed of the noise.
        settings: settings of the sampler.
        gain_db: lowest gain that keeps the sound within full scale, at most 0.
        n_clipped: number of samples that are clipped when the sound is written.
        timings_s: durations of the stages in seconds by name, including those shared with other seeds.
        origin: description of the models and the device.
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
        """Everything that the sound depends on, as stored in ``NAME.json``."""
        request = self.request
        return {
            "video": str(request.video.resolve()),
            "envelope": _named(request.envelope),
            "envelope_seed": request.envelope_seed,
            "prompt": request.prompt,
            "audio_prompts": [_named(prompt) for prompt in request.audio_prompts],
            "negative_prompt": request.negative_prompt,
            "start_s": request.section.start_s,
            "duration_s": request.section.duration_s,
            "control_strength": request.control_strength,
            "seed": self.seed,
            "sampler_settings": asdict(self.settings),
            "sample_rate_hz": self.sample_rate_hz,
            "peaks": request.peaks,
            "gain_db": self.gain_db,
            "clipped_samples": self.n_clipped,
            **self.origin,
            "torch": torch.__version__,
        }

    def save(self, folder: str | Path = "outputs", name: str | None = None) -> list[Path]:
        """Write NAME.wav, NAME.mp4 (the video with this sound), NAME.envelope.csv, NAME.png and NAME.json.

        Args:
            folder: folder for the files; created if missing.
            name: NAME in their names; None: the name of the video.

        Returns:
            The files that were written. If the given envelope is NAME.envelope.csv itself, it is not replaced.

        Raises:
            InputError: a file would replace an input, another program's file or an edited envelope, or cannot be
                written.
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


def _named(given: object) -> str | None:
    """Return the path of a file, or the type name of a value that was given directly."""
    return None if given is None else str(given) if isinstance(given, Path) else type(given).__name__
