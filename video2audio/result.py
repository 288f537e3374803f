"""Owns the result of a generation for a video, and its saving."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from media.envelope import Envelope
from media.stored import Sound, later, loaded
from stable_foley.sampler import SamplerSettings
from video2audio.files import FileForm, ResultFiles, write_files
from video2audio.finish import Finished
from video2audio.record import settings_record
from video2audio.request import FoleyRequest


@dataclass(frozen=True, eq=False)
class FoleyResult:
    """A sound for a video.

    Attributes:
        request: the request.
        finished: the sound as it is delivered, and what was measured of it.
        envelope: the envelope that controlled it, rms (T,), from the start of the section.
        onsets_s: predicted times of hits from the start of the section (K,); None if the envelope was given.
        seed: seed of the noise.
        settings: settings of the sampler; None if nothing was generated.
        timings_s: durations of the stages in seconds by name, including those shared with other seeds.
        origin: description of the models and the device.
        played: time in seconds from the start of the section, and file, of each recording that was played.
    """

    request: FoleyRequest
    finished: Finished
    envelope: Envelope
    onsets_s: Tensor | None
    seed: int
    settings: SamplerSettings | None
    timings_s: Mapping[str, float]
    origin: Mapping[str, Any]
    played: Sequence[tuple[float, str]] = ()

    @property
    def sound(self) -> Tensor:
        """Sound (C, N), float32, of the section, with the original sound if it is mixed in.

        It is within full scale unless ``request.peaks`` is ``clip``. The sound of a long video is read from disk.
        """
        return loaded(self.finished.sound)

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the sound."""
        return self.finished.sample_rate_hz

    @property
    def record(self) -> dict[str, Any]:
        """Everything that the sound depends on and what was measured of it, as stored in ``NAME.json``."""
        return {
            **settings_record(self.request, self.seed, self.settings, self.sample_rate_hz, self.origin),
            "gain_db": self.finished.gain_db,
            "clipped_samples": self.finished.n_clipped,
            "measured_loudness_lufs": self.finished.loudness_lufs,
            "measured_true_peak_db": self.finished.true_peak_db,
            "played": [list(each) for each in self.played],
        }

    @property
    def _video_sound(self) -> Sound:
        """The sound (C, N') from the start of the video on."""
        if self.finished.whole is not None:
            return self.finished.whole
        return later(self.finished.sound, round(self.request.section.start_s * self.sample_rate_hz))

    def save(self, folder: str | Path = "outputs", name: str | None = None, form: FileForm | None = None) -> list[Path]:
        """Write NAME.wav, NAME.mp4 (the video with this sound), NAME.envelope.csv, NAME.png and NAME.json.

        Args:
            folder: folder for the files; created if missing.
            name: NAME in their names; None: the name of the video.
            form: formats of the files, by default 24-bit WAV, and MP4 where it holds the picture.

        Returns:
            The files that were written. If the given envelope is NAME.envelope.csv itself, it is not replaced.

        Raises:
            InputError: a file would replace an input, another program's file or an edited envelope, or cannot be
                written.
        """
        section, form = self.request.section, form or FileForm()
        files = ResultFiles(Path(folder), name or section.clip.clip_id, self.request, form)
        files.check(self.request.files)
        return write_files(files, self.request, self.finished.sound, self._video_sound, self.envelope, self.record)
