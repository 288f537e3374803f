"""Owns requests of a sound for a video, and their checks before a model is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from common.errors import InputError, check_range, check_seed
from data.greatest_hits import SourceClip, read_clip
from media.clip import part_duration_s
from media.envelope import Envelope, read_envelope_csv
from media.reading import probe
from stable_foley.generator import MAX_CONTROL_STRENGTH
from stable_foley.sampler import SamplerSettings
from video2audio.peaks import check_peaks


@dataclass(frozen=True)
class Section:
    """The part of a video that gets sound: ``duration_s`` from ``start_s`` on."""

    clip: SourceClip
    start_s: float
    duration_s: float


@dataclass(frozen=True, eq=False)
class FoleyRequest:
    """A video and the options for its sound.

    Attributes:
        video: video file, or folder of a clip in the processed layout.
        envelope: level over time: a CSV ``time_s,rms`` with times of the video, a sound or a video whose sound is
            measured, or an ``Envelope``, rms (T,) or (C, T), that begins at the start of the section; None: it is
            predicted from the picture.
        envelope_seed: draws the loudness of each predicted hit from its distribution; None: the median.
        prompt: description of the sound in words.
        audio_prompts: sounds that the result should resemble, averaged: files, of which the first minute is used, or
            sounds (C, N) at the model's sample rate.
        negative_prompt: description in words of a sound to avoid.
        start_s: start in the video, in seconds.
        duration_s: duration in seconds; None: to the end of the video.
        control_strength: influence of the envelope: 0 none, 1 as trained, at most 10.
        sampler: name of the sampler; None, here and for the next three: the checkpoint's.
        n_steps: sampling steps, 1 to 1000.
        cfg_scale: guidance scale, 1 for none.
        level_match_db: largest gain towards the envelope, in dB, 0 for none.
        peaks: what becomes of peaks above full scale: ``limit``, ``soften`` or ``clip``, see
            ``video2audio.peaks.within_full_scale``.
    """

    video: Path
    envelope: Path | Envelope | None = None
    envelope_seed: int | None = None
    prompt: str | None = None
    audio_prompts: Sequence[Path | Tensor] = ()
    negative_prompt: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    control_strength: float = 1.0
    sampler: str | None = None
    n_steps: int | None = None
    cfg_scale: float | None = None
    level_match_db: float | None = None
    peaks: str = "limit"

    @cached_property
    def section(self) -> Section:
        """The requested part of the video.

        Raises:
            InputError: the video cannot be read, or the part is outside it.
        """
        clip = read_clip(self.video)
        return Section(clip, self.start_s, part_duration_s(self.video, clip.duration_s, self.start_s, self.duration_s))

    @property
    def sampler_changes(self) -> Mapping[str, Any]:
        """Settings of the sampler by name; None means the checkpoint's setting."""
        return {
            "name": self.sampler,
            "n_steps": self.n_steps,
            "cfg_scale": self.cfg_scale,
            "level_match_db": self.level_match_db,
        }

    @property
    def files(self) -> list[Path]:
        """All input files of the request."""
        return [self.video, *(path for path in (self.envelope, *self.audio_prompts) if isinstance(path, Path))]

    def check(self) -> None:
        """Refuse numbers out of range and files that cannot be read.

        Raises:
            InputError: a value or file cannot be used; the error names it.
        """
        check_range("--control-strength", self.control_strength, 0, MAX_CONTROL_STRENGTH)
        SamplerSettings().changed(**self.sampler_changes)
        check_peaks(self.peaks)
        if self.envelope_seed is not None:
            check_seed(self.envelope_seed, "--envelope-seed")
            if self.envelope is not None:
                raise InputError(
                    "--envelope-seed changes a predicted envelope and --envelope gives one; leave one out."
                )
        section, sounds = self.section, [path for path in self.audio_prompts if isinstance(path, Path)]
        if self.envelope is None:
            if section.clip.video_path is None:
                raise InputError(
                    f"{self.video} has too few frames per second to predict an envelope; give --envelope FILE, such as "
                    f"--envelope {self.video} for that of its own sound."
                )
        elif isinstance(self.envelope, Path):
            if is_csv(self.envelope):
                read_envelope_csv(self.envelope, section.duration_s, section.start_s)
            else:
                sounds.append(sound_of(self.envelope))
        for path in sounds:
            info = probe(path)
            if not (info.has_sound and info.duration_s > 0):
                raise InputError(f"{path} holds no sound; give a file with sound.")


def is_csv(path: Path) -> bool:
    """Return whether a path names an envelope as a table rather than a sound."""
    return path.suffix.lower() == ".csv"


def sound_of(path: Path) -> Path:
    """Return the file with the sound: the sound or video itself, or the sound in the folder of a processed clip."""
    return read_clip(path).sound_path if path.is_dir() else path
