"""Owns the files of a result: their names, formats and writing, and protection of files that they would replace."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.choices import BIT_DEPTHS, SOUND_FORMATS, VIDEO_FORMATS, PictureCodec
from common.errors import InputError, check_choice
from common.files import atomic_files, atomic_path, check_writable_folder, file_sha256, same_file
from data.dataset import read_timed_frames
from media.envelope import Envelope, write_envelope_csv
from media.muxing import MuxPlan, mux, plan_mux
from media.stored import Sound
from media.timecode import start_of_day_s
from media.writing import DAY_S, write_sound, write_video
from video2audio.record import fingerprint, same_settings
from video2audio.request import FoleyRequest

_CSV_SHA256 = "envelope_csv_sha256"
_FORM, _FILES = "form", "files"


@dataclass(frozen=True)
class FileForm:
    """Formats of the files of a result.

    Args:
        sound_format: ``wav`` or ``flac``.
        bit_depth: bits a sample of that file: 16, 24, or, in WAV, 32 (floating point).
        video_format: ``mp4``, ``mov``, ``mkv``, or ``auto``: the first of these that holds the picture bit for bit.
    """

    sound_format: str = "wav"
    bit_depth: int = 24
    video_format: str = "auto"

    def check(self) -> None:
        """Refuse formats that do not exist.

        Raises:
            InputError: naming the option.
        """
        check_choice("--sound-format", self.sound_format, SOUND_FORMATS)
        check_choice("--bit-depth", self.bit_depth, BIT_DEPTHS)
        check_choice("--format", self.video_format, ("auto", *VIDEO_FORMATS))
        if (self.sound_format, self.bit_depth) == ("flac", 32):
            raise InputError("--bit-depth 32 is not possible in FLAC: give 16 or 24, or --sound-format wav")


class ResultFiles:
    """The files of one sample: its sound, the video with it, ``NAME.envelope.csv``, ``NAME.png`` and ``NAME.json``.

    Args:
        folder: folder of the files.
        name: NAME in their names.
        request: the request for it. If its envelope is NAME.envelope.csv itself, that is not replaced.
        form: their formats.

    Attributes:
        plan: how the video is written.

    Raises:
        InputError: the video cannot be read, or the format cannot hold its picture.
    """

    def __init__(self, folder: Path, name: str, request: FoleyRequest, form: FileForm) -> None:
        self.folder = folder
        self.name = name
        self.video = request.video.resolve()
        self.form = form
        self.plan = _plan(request, form)
        envelope = request.envelope_file
        self.keeps_csv = envelope is not None and same_file(envelope.path, self.path("envelope.csv"))

    @property
    def kinds(self) -> tuple[str, ...]:
        """What follows ``NAME.`` in the names of the files: sound, video, envelope, plot, record."""
        return (self.form.sound_format, self.plan.suffix[1:], "envelope.csv", "png", "json")

    def path(self, kind: str) -> Path:
        """Return the path of the file of a kind."""
        return self.folder / f"{self.name}.{kind}"

    @property
    def paths(self) -> list[Path]:
        """The paths of all files that are there."""
        return [path for path in map(self.path, self.kinds) if path.is_file()]

    def check(self, inputs: Sequence[Path]) -> None:
        """Refuse to replace inputs, results of another video, files that infer.py did not write, and edited envelopes.

        Args:
            inputs: all input files.

        Raises:
            InputError: a file would be replaced; the error names it.
        """
        csv = self.path("envelope.csv")
        there = [path for path in map(self.path, self.kinds) if path.exists() and not (self.keeps_csv and path == csv)]
        for path in there:
            if any(same_file(path, given) for given in inputs):
                raise InputError(f"{path} is an input and would be overwritten; give another --output-dir.")
        if not there:
            return
        record = self.record()
        if record is None:
            raise InputError(
                f"{there[0]} exists, and no {self.name}.json shows that infer.py wrote it; give another --output-dir, "
                "or move the file away."
            )
        before, known = Path(str(record.get("video"))), record.get("fingerprints")
        is_same = before == self.video or same_file(before, self.video)
        if not is_same and (before.exists() or not known or known[0] != fingerprint(self.video)):
            raise InputError(
                f"{there[0]} is a result for {before}, and the result for {self.video} would replace it; give another "
                "--output-dir."
            )
        if csv in there and record.get(_CSV_SHA256) != file_sha256(csv):
            raise InputError(
                f"{csv} was changed after infer.py wrote it, and would be replaced; give --envelope {csv} to use it, "
                "or another --output-dir to keep it."
            )

    def record(self) -> Mapping[str, Any] | None:
        """Return the content of NAME.json; None if infer.py did not write it."""
        try:
            record = json.loads(self.path("json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and "video" in record else None

    def are_done(self, expected: Mapping[str, Any]) -> bool:
        """Return whether all files are there, written with the same settings from the same inputs.

        Args:
            expected: the settings, see ``video2audio.record.settings_record``.
        """
        record = self.record()
        return (
            record is not None
            and same_settings(record, {**expected, _FORM: asdict(self.form)})
            and all((self.folder / name).is_file() for name in record.get(_FILES, [""]))
        )


def write_files(
    files: ResultFiles,
    request: FoleyRequest,
    sound: Sound,
    video_sound: Sound,
    envelope: Envelope,
    record: Mapping[str, Any],
) -> list[Path]:
    """Write all files; they appear together when all are complete.

    Files of an earlier result of the same name that are not written now, such as its video in another format, are
    removed.

    Args:
        files: destination, checked.
        request: the request.
        sound: (C, N), at the rate ``record["sample_rate_hz"]``; samples beyond full scale are clipped.
        video_sound: (C, N') from the start of the video on.
        envelope: the envelope that controlled it, rms (T,).
        record: settings for NAME.json.

    Returns:
        The files.

    Raises:
        InputError: a file cannot be written.
    """
    rate_hz = record["sample_rate_hz"]
    before = (files.record() or {}).get(_FILES, [])
    with atomic_files(files.folder) as folder, ThreadPoolExecutor(1) as beside:
        wav, video, csv, png, settings = paths = [folder / f"{files.name}.{kind}" for kind in files.kinds]
        if files.keeps_csv:
            paths.remove(csv)
        muxed = beside.submit(_write_muxed, request, files.plan, video_sound, rate_hz, video)  # half of the work
        write_sound(wav, sound, rate_hz, files.form.bit_depth, start_of_day_s=_start_of_day_s(request))
        csv_sha256 = None
        if not files.keeps_csv:
            write_envelope_csv(csv, envelope, request.section.start_s)
            csv_sha256 = file_sha256(csv)
        from stable_foley.plot import comparison_figure  # not above: Matplotlib takes long, beside the picture less so

        with atomic_path(png) as temporary:
            comparison_figure({"sound": sound}, rate_hz, control=envelope).savefig(temporary)
        muxed.result()
        names = [path.name for path in paths]
        content = {**record, _FORM: asdict(files.form), "picture": files.plan.described, _FILES: names}
        with atomic_path(settings) as temporary:
            text = json.dumps({**content, _CSV_SHA256: csv_sha256}, indent=2, default=str)
            temporary.write_text(text + "\n", encoding="utf-8")
    media = {f"{files.name}.{kind}" for kind in (*SOUND_FORMATS, *VIDEO_FORMATS)}
    for name in media & {*before} - {*names}:
        (files.folder / name).unlink(missing_ok=True)
    return [files.folder / name for name in names]


def _start_of_day_s(request: FoleyRequest) -> float:
    """Return the time of day of the first sample: that of the part by the timecode of the video, which begins at 0."""
    video = request.section.clip.video_path
    return ((0 if video is None else start_of_day_s(video)) + request.section.start_s) % DAY_S


def check_files(
    request: FoleyRequest, folder: Path, names: Sequence[str], form: FileForm, others: Sequence[Path]
) -> list[ResultFiles]:
    """Refuse, before any work, an output folder that is not writable, or whose protected files would be replaced.

    Args:
        request: the request.
        folder: folder of the results.
        names: names of the results.
        form: formats of the files.
        others: input files besides those of the request, such as checkpoints.

    Returns:
        The files of each result.

    Raises:
        InputError: the folder, a file or a format does not fit; the error names it.
    """
    check_writable_folder(folder, "--output-dir")
    form.check()
    results = [ResultFiles(folder, name, request, form) for name in names]
    for files in results:
        files.check([*request.files, *others])
    return results


def _plan(request: FoleyRequest, form: FileForm) -> MuxPlan:
    """Return how the video of a request is written."""
    suffix = None if form.video_format == "auto" else f".{form.video_format}"
    path = request.section.clip.video_path
    if path is None:  # it is made of stored jpgs
        return MuxPlan(suffix or ".mp4", "copy", None, ())
    status = path.stat()
    return _cached_plan(path, request.codec_to_use, suffix, request.keep_sound == "track", status.st_mtime_ns)


@lru_cache(maxsize=64)
def _cached_plan(path: Path, codec: PictureCodec, suffix: str | None, keeps_first: bool, time_ns: int) -> MuxPlan:
    """Return how a video is written; planned once for each of its states."""
    return plan_mux(path, codec=codec, suffix=suffix, keep_first_sound=keeps_first)


def _write_muxed(request: FoleyRequest, plan: MuxPlan, sound: Sound, sample_rate_hz: int, path: Path) -> None:
    """Write a video with its sound; if only jpgs are stored, the video is made from them."""
    clip = request.section.clip
    if clip.video_path is not None:
        mux(clip.video_path, sound, sample_rate_hz, path, plan, quality=request.quality)
        return
    frames = read_timed_frames(clip, 0.0, clip.duration_s, frame_rate_hz=clip.frames_rate_hz).frames
    with tempfile.TemporaryDirectory() as folder:
        silent = Path(folder) / "silent.mp4"
        write_video(silent, frames, clip.frames_rate_hz)
        mux(silent, sound, sample_rate_hz, path)
