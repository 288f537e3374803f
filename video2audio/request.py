"""Owns requests of a sound for a video, and their checks before a model is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from common.choices import DEFAULT_QUALITY, PICTURE_CODECS, PictureCodec
from common.errors import InputError, check_choice, check_range, check_seed
from common.files import same_file
from data.greatest_hits import SourceClip, processed_sound, read_clip
from hits.files import is_table, read_envelope
from media.clip import part_duration_s
from media.envelope import Envelope
from media.images import find_images
from media.sound_part import SoundPart, sound_end_s, within
from stable_foley.generator import MAX_CONTROL_STRENGTH
from stable_foley.sampler import SamplerSettings
from video2audio.film import Film
from video2audio.peaks import LOUDEST_LUFS, QUIETEST_LUFS, check_loudness, check_peaks
from video2audio.samples import check_recordings

MOST_GAIN_DB = 40.0
SAMPLE_RATES_HZ = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000)
"""Sample rates of results: those that AAC, the sound of the video, has as well."""


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
        video: video file, folder of a clip in the processed layout, or image files as their folder or as a pattern such
            as ``frames/f_%04d.png``.
        envelope: level over time: a CSV ``time_s,rms`` or of hits, ``time_s,level,decay_s``, with times of the video;
            hits as MIDI or as labels of Audacity (.txt); a sound or a video whose sound is measured; or an
            ``Envelope``, rms (T,) or (C, T), that begins at the start of the section; None: it is predicted from the
            picture. Of a sound a track and a part can be named, as ``SoundPart`` or ``FILE#track=2,from=1.5,to=3``;
            what is at ``from`` is heard at the start of the section.
        envelope_seed: draws the loudness of each predicted hit from its distribution; None: the median.
        prompt: description of the sound in words.
        audio_prompts: sounds that the result should resemble, averaged: files or parts of them, of which the first
            minute is used, or sounds (C, N) at the model's sample rate.
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
        keep_sound: gain in dB, at most 40 either way, at which the original sound of the video is mixed in, or
            ``track`` to keep it as the second track of the video; None: it is dropped. Further tracks are always kept.
        loudness_lufs: integrated loudness of the result, -60 to -5 LUFS, with true peaks of at most -1 dBTP; None: as
            it comes.
        sample_rate_hz: samples per second of the result, one of ``SAMPLE_RATES_HZ``; None: the model's.
        sampler_dir: folder of sounds that are played at the hits of the envelope, see ``video2audio.samples``; None:
            there are none.
        sampler_gain_db: gain in dB, at most 40 either way, at which these are mixed with the generated sound; None:
            they are played instead of it, and nothing is generated.
        frame_rate_hz: frames per second of a video that is a sequence of image files; None for all others.
        codec: how the picture is written, see ``media.muxing.plan_mux``: ``auto``, ``copy``, ``h264``, ``prores``.
        quality: constant rate factor of H.264, 0 (lossless) to 51 (worst).
    """

    video: Path
    envelope: Path | str | SoundPart | Envelope | None = None
    envelope_seed: int | None = None
    prompt: str | None = None
    audio_prompts: Sequence[Path | str | SoundPart | Tensor] = ()
    negative_prompt: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    control_strength: float = 1.0
    sampler: str | None = None
    n_steps: int | None = None
    cfg_scale: float | None = None
    level_match_db: float | None = None
    peaks: str = "limit"
    keep_sound: float | Literal["track"] | None = None
    loudness_lufs: float | None = None
    sample_rate_hz: int | None = None
    sampler_dir: Path | None = None
    sampler_gain_db: float | None = None
    frame_rate_hz: float | None = None
    codec: PictureCodec = "auto"
    quality: int = DEFAULT_QUALITY

    @cached_property
    def film(self) -> Film | None:
        """The film that is made of a sequence of images or of an animated WebP; None if the video is one already.

        Raises:
            InputError: images are missing, damaged or of different sizes, or the frame rate is not given.
        """
        images = None if processed_sound(self.video) else find_images(self.video)
        if images is None:
            if self.frame_rate_hz is not None:
                raise InputError(f"--fps {self.frame_rate_hz:g} is for image files; leave it out for {self.video}.")
            return None
        return Film.of(images, self.frame_rate_hz, "prores" if self.codec == "prores" else "h264", self.quality)

    @property
    def codec_to_use(self) -> PictureCodec:
        """How the picture is written once a sequence of images is a film."""
        return self.codec if self.film is None else "auto"

    @cached_property
    def section(self) -> Section:
        """The requested part of the video.

        Raises:
            InputError: the video cannot be read, or the part is outside it.
        """
        clip = read_clip(self.video) if self.film is None else read_clip(self.film.path)
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

    @cached_property
    def envelope_file(self) -> SoundPart | None:
        """The file that was given as the envelope; None if no file was given.

        Raises:
            InputError: its text names a part that is not possible; this holds for all that reads it.
        """
        given = self.envelope
        return None if given is None or isinstance(given, Envelope) else SoundPart.of(given)

    @cached_property
    def envelope_sound(self) -> SoundPart | None:
        """The sound whose level is the envelope, and where it begins; None if the envelope is no sound.

        The sound of the video itself begins at the section unless a start is given, another sound at its own start.
        """
        part = self.envelope_file
        if part is None or is_table(part.path):
            return None
        path, section = sound_of(part.path), self.section
        return within(part, path, section.start_s if same_file(path, section.clip.sound_path) else 0.0)

    @cached_property
    def prompt_files(self) -> list[SoundPart]:
        """The files that were given as prompts."""
        return [SoundPart.of(given) for given in self.audio_prompts if not isinstance(given, Tensor)]

    @property
    def files(self) -> list[Path]:
        """All input files of the request."""
        envelope = self.envelope_file
        parts = [*([envelope] if envelope else []), *self.prompt_files]
        return [self.video, *(part.path for part in parts), *([self.sampler_dir] if self.sampler_dir else [])]

    @property
    def is_generated(self) -> bool:
        """Whether a model generates sound, rather than only recordings being played."""
        return self.sampler_dir is None or self.sampler_gain_db is not None

    def check(self) -> None:
        """Refuse numbers out of range and files that cannot be read.

        Raises:
            InputError: a value or file cannot be used; the error names it.
        """
        self.check_options()
        section = self.section
        if self.loudness_lufs is not None:
            check_loudness(self.loudness_lufs, section.duration_s)
        if self.envelope is None and section.clip.video_path is None:
            raise InputError(
                f"{self.video} has too few frames per second to predict an envelope; give --envelope FILE, such as "
                f"--envelope {self.video} for that of its own sound."
            )
        part = self.envelope_file
        if part is not None and is_table(part.path):
            read_envelope(part.path, section.duration_s, section.start_s)
        elif part is not None:
            assert self.envelope_sound is not None  # refuses a part that ends before the section

    def check_options(self) -> None:
        """Refuse what is wrong whatever the video: numbers out of range, and unusable prompts and envelopes.

        Raises:
            InputError: a value or file cannot be used; the error names it.
        """
        check_range("--control-strength", self.control_strength, 0, MAX_CONTROL_STRENGTH)
        SamplerSettings().changed(**self.sampler_changes)
        check_peaks(self.peaks)
        self._check_result()
        self._check_sampler()
        if self.envelope_seed is not None:
            check_seed(self.envelope_seed, "--envelope-seed")
            if self.envelope is not None:
                raise InputError(
                    "--envelope-seed changes a predicted envelope and --envelope gives one; leave one out."
                )
        sounds, part = list(self.prompt_files), self.envelope_file
        if part is not None and is_table(part.path):
            if str(self.envelope) != str(part.path):
                raise InputError(
                    f"--envelope {self.envelope} names a part of a table, which is possible of sounds only; give "
                    f"--envelope {part.path}, whose times are those of the video."
                )
            read_envelope(part.path)
        elif part is not None:
            sounds.append(replace(part, path=sound_of(part.path)))
        for sound in sounds:
            sound_end_s(sound)

    def _check_sampler(self) -> None:
        """Refuse a folder without sounds, and options that need a generated sound where there is none."""
        if self.sampler_gain_db is not None:
            if self.sampler_dir is None:
                raise InputError("--sampler-mix mixes the sounds of a folder in: give --sampler-dir too")
            check_range("--sampler-mix", self.sampler_gain_db, -MOST_GAIN_DB, MOST_GAIN_DB)
        if self.sampler_dir is None:
            return
        changes = {"--" + name: value for name, value in self.sampler_changes.items()}
        given = {
            "--prompt": self.prompt,
            "--audio-prompt": self.audio_prompts or None,
            "--negative-prompt": self.negative_prompt,
            "--sampler": changes["--name"],
            "--steps": changes["--n_steps"],
            "--cfg": changes["--cfg_scale"],
            "--level-match": changes["--level_match_db"],
            "--control-strength": None if self.control_strength == 1 else self.control_strength,
        }
        idle = next((name for name, value in given.items() if value is not None), None)
        if idle is not None and not self.is_generated:
            raise InputError(
                f"{idle} changes a generated sound, and --sampler-dir plays recordings instead: leave it out, or give "
                "--sampler-mix too"
            )
        check_recordings(self.sampler_dir)

    def _check_result(self) -> None:
        """Refuse impossible values of what is delivered."""
        if self.keep_sound not in (None, "track"):
            check_range("--keep-sound", self.keep_sound, -MOST_GAIN_DB, MOST_GAIN_DB)
        if self.loudness_lufs is not None:
            check_range("--loudness", self.loudness_lufs, QUIETEST_LUFS, LOUDEST_LUFS)
        if self.sample_rate_hz is not None:
            check_choice("--sample-rate", self.sample_rate_hz, SAMPLE_RATES_HZ)
        check_choice("--codec", self.codec, PICTURE_CODECS)
        check_range("--quality", self.quality, 0, 51, whole=True)
        if self.frame_rate_hz is not None:
            check_range("--fps", self.frame_rate_hz, 0.01, 1000)


def sound_of(path: Path) -> Path:
    """Return the file with the sound: the sound or video itself, or the sound in the folder of a processed clip."""
    return read_clip(path).sound_path if path.is_dir() else path
