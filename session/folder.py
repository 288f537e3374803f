"""The files of a session: the envelope of each track, and sound, latents and envelope of each take."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from common.errors import InputError
from common.files import atomic_files, locked
from media.envelope import Envelope, read_envelope_csv, write_envelope_csv
from media.probe import probe
from media.reading import read_sound
from media.writing import write_sound
from session.model import Session, Take, Track
from stable_foley.regions import Generated
from video2audio.record import fingerprint


@dataclass(frozen=True)
class SessionFolder:
    """A session on disk.

    Sounds are kept as 32-bit wav, so that they come back bit for bit; nothing that was made is written over.

    Args:
        folder: The folder.
        session: What its session.json says.
    """

    folder: Path
    session: Session

    @classmethod
    def open(cls, folder: Path, video: Path | None = None) -> Self:
        """Open a session whose video is there and unchanged.

        Args:
            folder: The folder.
            video: Where the video is now, if it was moved.

        Raises:
            InputError: It is no session, or its video is missing or another one.
        """
        session = Session.read(folder)
        path = Path(session.video) if video is None else video
        if not path.exists():
            raise InputError(f"the video {path} of the session {folder} is not there: give --video with its new place")
        if fingerprint(path) != session.fingerprint:
            raise InputError(
                f"{path} is not the video that the session {folder} was made for: give --video with that one"
            )
        if video is not None:
            session = replace(session, video=str(video.resolve()))
        return cls(folder, session)

    @classmethod
    def new(cls, folder: Path, session: Session) -> Self:
        """Begin a session in a new or empty folder.

        Raises:
            InputError: The folder holds something, or cannot be written.
        """
        check_new(folder)
        return cls(folder, session).saved(session)

    def saved(self, session: Session) -> Self:
        """Write a changed session.json; return the session with it."""
        session.write(self.folder)
        return replace(self, session=session)

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Let no other process change the session while the block runs.

        Args:
            wait: Whether to wait for one that does.

        Raises:
            InputError: Another one does, and it is not waited for.
        """
        with locked(self.folder / ".lock", wait=wait):
            yield

    def _place(self, track: Track) -> Path:
        return self.folder / "tracks" / track.name

    def envelope_path(self, track: Track) -> Path:
        """Return the path of the envelope of a track."""
        return self._place(track) / "envelope.csv"

    def envelope(self, track: Track) -> Envelope:
        """Return the envelope of a track as it is now, rms (T,), from the start of the part on.

        Raises:
            InputError: Its file is missing or damaged.
        """
        return read_envelope_csv(self.envelope_path(track))

    def write_envelope(self, track: Track, envelope: Envelope) -> None:
        """Replace the envelope of a track."""
        write_envelope_csv(self.envelope_path(track), envelope)

    def take_envelope(self, track: Track, take: Take) -> Envelope:
        """Return the envelope that a take was made along.

        Raises:
            InputError: Its file is missing or damaged.
        """
        return read_envelope_csv(self._place(track) / f"take-{take.number}.envelope.csv")

    def next_number(self, track: Track) -> int:
        """Return the number of the next take of a track: none that a take has, or of which a file is left."""
        of_files = [take_number(path) or 0 for path in self._place(track).glob("take-*")]
        return 1 + max([take.number for take in track.takes] + of_files, default=0)

    def sound_path(self, track: Track, take: Take) -> Path:
        """Return the path of the sound of a take."""
        return self._place(track) / f"take-{take.number}.wav"

    def sample_rate_hz(self, track: Track, take: Take) -> int:
        """Return the sample rate of a take.

        Raises:
            InputError: Its file is missing or damaged.
        """
        rate_hz = probe(self.sound_path(track, take)).sample_rate_hz
        assert rate_hz is not None
        return rate_hz

    def generated(self, track: Track, take: Take) -> Generated:
        """Return the sound of a take as it was generated, with its latents.

        Raises:
            InputError: A file is missing or damaged.
        """
        path = self._place(track) / f"take-{take.number}.safetensors"
        try:
            latents = load_file(path)["latents"]
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(f"{path} cannot be read ({error}): discard the take, and generate another one") from None
        rate_hz, sound = self.sample_rate_hz(track, take), self.sound_path(track, take)
        wave = read_sound(sound, sample_rate_hz=rate_hz, n_channels=probe(sound).n_channels or 2)
        return Generated(wave, latents)

    def write_take(self, track: Track, take: Take, made: Generated, envelope: Envelope, sample_rate_hz: int) -> Track:
        """Write the files of a take, and its envelope as that of the track; return the track that has and keeps it."""
        with atomic_files(self._place(track)) as folder:
            write_sound(folder / f"take-{take.number}.wav", made.sound, sample_rate_hz, bit_depth=32)
            save_file({"latents": made.latents[:].contiguous()}, folder / f"take-{take.number}.safetensors")
            for name in (f"take-{take.number}.envelope.csv", "envelope.csv"):
                write_envelope_csv(folder / name, envelope)
        return replace(track, takes=(*track.takes, take), kept=take.number)

    def remove_takes(self, track: Track, takes: Sequence[Take]) -> None:
        """Remove the files of takes that session.json no longer names."""
        for take in takes:
            for suffix in ("wav", "safetensors", "envelope.csv"):
                (self._place(track) / f"take-{take.number}.{suffix}").unlink(missing_ok=True)


def take_number(path: Path) -> int | None:
    """Return the number of the take that a file of a track belongs to; None if it belongs to none."""
    found = re.match(r"take-(\d+)\.", path.name)
    return None if found is None else int(found[1])


def check_new(folder: Path) -> None:
    """Refuse a folder for a new session that holds something.

    Raises:
        InputError: It does.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder} is not empty: give a new folder for the session")
