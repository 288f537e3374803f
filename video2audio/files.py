"""Owns the files of a result: their names, protection of files that they would replace, and their writing."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from common.errors import InputError
from common.files import atomic_files, atomic_path, check_writable_folder, file_sha256, same_file
from data.dataset import read_timed_frames
from media.envelope import Envelope, write_envelope_csv
from media.writing import check_mux, mux, write_video, write_wav
from stable_foley.plot import comparison_figure
from video2audio.request import FoleyRequest, Section

KINDS = ("wav", "mp4", "envelope.csv", "png", "json")
_CSV_SHA256 = "envelope_csv_sha256"


class ResultFiles:
    """The files of one sample: ``NAME.wav``, ``NAME.mp4``, ``NAME.envelope.csv``, ``NAME.png`` and ``NAME.json``.

    Args:
        folder: folder of the files.
        name: NAME in their names.
        video: the video or clip that gets the sound.
        envelope: the file of the envelope, if one was given. If it is NAME.envelope.csv itself, it is not replaced.
    """

    def __init__(self, folder: Path, name: str, video: Path, envelope: Path | None) -> None:
        self.folder = folder
        self.name = name
        self.video = video.resolve()
        self.keeps_csv = envelope is not None and same_file(envelope, self.path("envelope.csv"))

    def path(self, kind: str) -> Path:
        """Return the path of the file of a kind."""
        return self.folder / f"{self.name}.{kind}"

    def check(self, inputs: Sequence[Path]) -> None:
        """Refuse to replace inputs, results of another video, files that infer.py did not write, and edited envelopes.

        Args:
            inputs: all input files.

        Raises:
            InputError: a file would be replaced; the error names it.
        """
        csv = self.path("envelope.csv")
        there = [path for path in map(self.path, KINDS) if path.exists() and not (self.keeps_csv and path == csv)]
        for path in there:
            if any(same_file(path, given) for given in inputs):
                raise InputError(f"{path} is an input and would be overwritten; give another --output-dir.")
        if not there:
            return
        record = self._record()
        if record is None:
            raise InputError(
                f"{there[0]} exists, and no {self.name}.json shows that infer.py wrote it; give another --output-dir, "
                "or move the file away."
            )
        before = Path(str(record.get("video")))
        if before != self.video and not same_file(before, self.video):
            raise InputError(
                f"{there[0]} is a result for {before}, and the result for {self.video} would replace it; give another "
                "--output-dir."
            )
        if csv in there and record.get(_CSV_SHA256) != file_sha256(csv):
            raise InputError(
                f"{csv} was changed after infer.py wrote it, and would be replaced; give --envelope {csv} to use it, "
                "or another --output-dir to keep it."
            )

    def _record(self) -> Mapping[str, Any] | None:
        """Return the content of NAME.json; None if infer.py did not write it."""
        try:
            record = json.loads(self.path("json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and "video" in record else None


def write_files(
    files: ResultFiles, section: Section, sound: Tensor, envelope: Envelope, record: Mapping[str, Any]
) -> list[Path]:
    """Write all files; they appear together when all are complete.

    Args:
        files: destination, checked.
        section: the part of the video that the sound is for.
        sound: (C, N), at the rate ``record["sample_rate_hz"]``; samples beyond full scale are clipped.
        envelope: the envelope that controlled it, rms (T,).
        record: settings for NAME.json.

    Returns:
        The files.

    Raises:
        InputError: a file cannot be written.
    """
    rate_hz = record["sample_rate_hz"]
    with atomic_files(files.folder) as folder:
        wav, mp4, csv, png, settings = paths = [folder / f"{files.name}.{kind}" for kind in KINDS]
        write_wav(wav, sound, rate_hz)
        _write_muxed(section, sound, rate_hz, mp4)
        csv_sha256 = None
        if not files.keeps_csv:
            write_envelope_csv(csv, envelope, section.start_s)
            csv_sha256 = file_sha256(csv)
        with atomic_path(png) as temporary:
            comparison_figure({"sound": sound}, rate_hz, control=envelope).savefig(temporary)
        with atomic_path(settings) as temporary:
            text = json.dumps({**record, _CSV_SHA256: csv_sha256}, indent=2, default=str)
            temporary.write_text(text + "\n", encoding="utf-8")
    return [files.folder / path.name for path in paths if not (files.keeps_csv and path == csv)]


def check_files(request: FoleyRequest, folder: Path, n_samples: int, others: Sequence[Path]) -> list[str]:
    """Refuse, before any work, an output folder that is not writable, or whose protected files would be replaced.

    Args:
        request: the request.
        folder: folder of the results.
        n_samples: number of sounds for the video; several are numbered from 1.
        others: input files besides those of the request, such as checkpoints.

    Returns:
        The names of the results.

    Raises:
        InputError: the folder or a file does not fit; the error names it.
    """
    check_writable_folder(folder, "--output-dir")
    clip, envelope = request.section.clip, request.envelope
    names = [clip.clip_id] if n_samples == 1 else [f"{clip.clip_id}_{i + 1}" for i in range(n_samples)]
    for name in names:
        files = ResultFiles(folder, name, request.video, envelope if isinstance(envelope, Path) else None)
        files.check([*request.files, *others])
    if clip.video_path is not None:
        check_mux(clip.video_path, folder / f"{names[0]}.mp4")
    return names


def _write_muxed(section: Section, sound: Tensor, sample_rate_hz: int, path: Path) -> None:
    """Write the video with the sound at its place; if only jpgs are stored, the video is made from them."""
    clip = section.clip
    padded = F.pad(sound, (round(section.start_s * sample_rate_hz), 0))
    if clip.video_path is not None:
        mux(clip.video_path, padded, sample_rate_hz, path)
        return
    frames = read_timed_frames(clip, 0.0, clip.duration_s, frame_rate_hz=clip.frames_rate_hz).frames
    with tempfile.TemporaryDirectory() as folder:
        silent = Path(folder) / "silent.mp4"
        write_video(silent, frames, clip.frames_rate_hz)
        mux(silent, padded, sample_rate_hz, path)
