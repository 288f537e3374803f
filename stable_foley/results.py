"""Owns the files that infer.py leaves for a video: their names, what they must not replace, and their writing."""

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from common.errors import InputError
from common.files import atomic_files, atomic_path, check_writable_folder, file_sha256, same_file
from data.dataset import read_clip_frames
from data.greatest_hits import SourceClip
from media.envelope import Envelope, write_envelope_csv
from media.writing import check_mux, mux, write_video, write_wav
from stable_foley.plot import comparison_figure

KINDS = ("wav", "mp4", "envelope.csv", "png", "json")
PEAK_DB = -0.1
"""Peak of a sound that would exceed full scale, in dB of full scale."""
_CSV_SHA256 = "envelope_csv_sha256"


@dataclass(frozen=True)
class Section:
    """The part of a video that gets sound: ``duration_s`` from ``start_s`` on."""

    clip: SourceClip
    start_s: float
    duration_s: float


def gain_below_full_scale_db(sound: Tensor) -> float:
    """Return the gain in dB, at most 0, that a sound needs as a whole so that none of its samples exceeds full scale.

    Args:
        sound: (C, N), full scale ±1.
    """
    peak = float(sound.abs().max())
    return PEAK_DB - 20 * math.log10(peak) if peak > 1 else 0.0


class Results:
    """The files of one sample: ``NAME.wav``, ``NAME.mp4``, ``NAME.envelope.csv``, ``NAME.png`` and ``NAME.json``.

    Args:
        folder: where they go.
        name: what they are called.
        video: the video or clip that gets the sound.
        envelope: the file of the envelope, if one was given. If it is NAME.envelope.csv itself, it stays as it is.
    """

    def __init__(self, folder: Path, name: str, video: Path, envelope: Path | None) -> None:
        self.folder = folder
        self.name = name
        self.video = video.resolve()
        self.keeps_csv = envelope is not None and same_file(envelope, self.path("envelope.csv"))

    def path(self, kind: str) -> Path:
        """The file of a kind."""
        return self.folder / f"{self.name}.{kind}"

    def check(self, inputs: Sequence[Path]) -> None:
        """Refuse to replace inputs, results of another video, other people's files and edited envelopes.

        Args:
            inputs: all files that were given.

        Raises:
            InputError: naming the file.
        """
        csv = self.path("envelope.csv")
        there = [path for path in map(self.path, KINDS) if path.exists() and not (self.keeps_csv and path == csv)]
        for path in there:
            if any(same_file(path, given) for given in inputs):
                raise InputError(f"{path} would be written over, but is an input; give another --output-dir.")
        if not there:
            return
        record = self._record()
        if record is None:
            raise InputError(
                f"{there[0]} is there, and no {self.name}.json says that infer.py wrote it; give another --output-dir, "
                "or move the file away."
            )
        before = Path(str(record.get("video")))
        if before != self.video and not same_file(before, self.video):
            raise InputError(
                f"{there[0]} is a result for {before}, which that for {self.video} would replace; give another "
                "--output-dir."
            )
        if csv in there and record.get(_CSV_SHA256) != file_sha256(csv):
            raise InputError(
                f"{csv} was changed since infer.py wrote it, and would be replaced; give --envelope {csv} to use it, "
                "or another --output-dir to keep it."
            )

    def _record(self) -> Mapping[str, Any] | None:
        """What NAME.json says, None where it is not one of infer.py's."""
        try:
            record = json.loads(self.path("json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and "video" in record else None

    def write(self, section: Section, sound: Tensor, envelope: Envelope, record: Mapping[str, Any]) -> Iterator[Path]:
        """Write all files; they appear together, once they are complete.

        Args:
            section: the part of the video that the sound is for.
            sound: (C, N), at the rate ``record["sample_rate_hz"]``; what exceeds full scale is clipped.
            envelope: what controlled it, rms (T,).
            record: settings, which NAME.json gets.

        Yields:
            The files.

        Raises:
            InputError: a file cannot be written.
        """
        rate_hz = record["sample_rate_hz"]
        with atomic_files(self.folder) as folder:
            wav, mp4, csv, png, settings = paths = [folder / f"{self.name}.{kind}" for kind in KINDS]
            write_wav(wav, sound, rate_hz)
            _write_muxed(section, sound, rate_hz, mp4)
            written: dict[str, Any] = {"video": str(self.video), _CSV_SHA256: None}
            if not self.keeps_csv:
                write_envelope_csv(csv, envelope, section.start_s)
                written[_CSV_SHA256] = file_sha256(csv)
            with atomic_path(png) as temporary:
                comparison_figure({"sound": sound}, rate_hz, control=envelope).savefig(temporary)
            with atomic_path(settings) as temporary:
                text = json.dumps({**record, **written}, indent=2, default=str)
                temporary.write_text(text + "\n", encoding="utf-8")
        for path in paths:
            if not (self.keeps_csv and path == csv):
                yield self.folder / path.name


def results_of(
    folder: Path, section: Section, video: Path, n_samples: int, envelope: Path | None, inputs: Sequence[Path]
) -> list[Results]:
    """The results to write for a video, once it is clear that they can be written and replace nothing of value.

    Args:
        folder: where they go.
        section: the part of the video that gets sound.
        video: the video or clip as it was given.
        n_samples: how many sounds it gets; several are numbered from 1.
        envelope: the file of the envelope, if one was given.
        inputs: all files that were given.

    Raises:
        InputError: naming the folder or the file.
    """
    check_writable_folder(folder, "--output-dir")
    clip = section.clip
    names = [clip.clip_id] if n_samples == 1 else [f"{clip.clip_id}_{i + 1}" for i in range(n_samples)]
    results = [Results(folder, name, video, envelope) for name in names]
    for each in results:
        each.check(inputs)
    if clip.video_path is not None:
        check_mux(clip.video_path, results[0].path("mp4"))
    return results


def _write_muxed(section: Section, sound: Tensor, sample_rate_hz: int, path: Path) -> None:
    """Write the video with the sound at its place; where only jpgs are stored, they make the video."""
    clip = section.clip
    padded = F.pad(sound, (round(section.start_s * sample_rate_hz), 0))
    if clip.video_path is not None:
        mux(clip.video_path, padded, sample_rate_hz, path)
        return
    frames = read_clip_frames(clip, 0.0, clip.duration_s, frame_rate_hz=clip.frames_rate_hz)
    with tempfile.TemporaryDirectory() as folder:
        silent = Path(folder) / "silent.mp4"
        write_video(silent, frames, clip.frames_rate_hz)
        mux(silent, padded, sample_rate_hz, path)
