"""What the page shows and plays of a session: the video, thumbnails, and spectrograms of takes."""

import io
import json
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from common.errors import InputError
from common.files import atomic_files, atomic_path
from media.browser import browser_type, thumbnails
from media.clip import count_at_rate
from media.muxing import mux, plan_mux
from media.probe import probe
from media.reading import read_sound
from media.writing import write_sound
from session.mixing import original
from studio.library import Place

log = logging.getLogger(__name__)

THUMBNAIL_HEIGHT_PX = 54
MOST_THUMBNAILS = 120
_COLUMNS = 20
N_MELS = 128
COLUMN_RATE_HZ = 200
"""Columns of a spectrogram a second."""
TILE_S = 10
RANGE_DB = 80.0
_FFT = 2048
_AT_ONCE = 2000
_SILENCE_RATE_HZ = 44_100
_making = threading.Lock()  # of what two requests at once would make twice


class PreviewError(Exception):
    """A preview is still being made."""


class Previews:
    """Makes videos that a browser plays, each once."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._failed: dict[str, str] = {}
        self._lock = threading.Lock()

    def playable(self, place: Place) -> tuple[Path, str]:
        """Return a video that a browser plays, and its MIME type: the file itself, or a preview in H.264.

        Raises:
            PreviewError: The preview is still being made; ask again.
            InputError: The video is gone, cannot be read, or could not be converted.
        """
        video, preview = place.video, place.cache / "preview.mp4"
        mime = browser_type(video)
        if mime is not None:
            return video, mime
        if preview.is_file():
            return preview, "video/mp4"
        with self._lock:
            if place.id in self._failed:
                raise InputError(f"this video cannot be shown here, but its sound is heard: {self._failed[place.id]}")
            if place.id not in self._busy:
                self._busy.add(place.id)
                threading.Thread(target=self._make, args=(place, video, preview), daemon=True).start()
        raise PreviewError

    def _make(self, place: Place, video: Path, preview: Path) -> None:
        try:
            n_samples = max(1, round(probe(video).duration_s * _SILENCE_RATE_HZ))
            silence = torch.zeros(2, 1).expand(2, n_samples)
            mux(video, silence, _SILENCE_RATE_HZ, preview, plan_mux(video, codec="h264", suffix=".mp4"))
        except Exception as error:
            log.exception("the preview of %s failed", place.name)
            self._failed[place.id] = str(error)
        finally:
            with self._lock:
                self._busy.discard(place.id)


def thumbnail_sheet(place: Place) -> tuple[dict[str, Any], Path]:
    """Return what is on the sheet of thumbnails of a video, and the sheet, a JPEG; it is made once.

    Raises:
        InputError: The video is gone or cannot be read.
    """
    about, sheet = place.cache / "thumbnails.json", place.cache / "thumbnails.jpg"
    with _making:
        if not about.is_file():
            _make_sheet(place, about, sheet)
    return json.loads(about.read_text(encoding="utf-8")), sheet


def _make_sheet(place: Place, about: Path, sheet: Path) -> None:
    """Make the sheet of thumbnails and the file that describes it."""
    times_s, frames = thumbnails(place.video, MOST_THUMBNAILS, THUMBNAIL_HEIGHT_PX)
    n_pictures, _, height, width = frames.shape
    rows = -(-n_pictures // _COLUMNS)
    canvas = torch.zeros(rows * _COLUMNS, 3, height, width, dtype=torch.uint8)
    canvas[:n_pictures] = frames
    grid = canvas.reshape(rows, _COLUMNS, 3, height, width).permute(0, 3, 1, 4, 2)
    content = {"times_s": times_s, "width": width, "height": height, "columns": _COLUMNS}
    with atomic_files(place.cache) as folder:
        image = Image.fromarray(grid.reshape(rows * height, _COLUMNS * width, 3).numpy())
        image.save(folder / sheet.name, quality=80)
        (folder / about.name).write_text(json.dumps(content), encoding="utf-8")


def original_sound(place: Place) -> Path | None:
    """Return the original sound of the session's part of the video as a wav file, made once; None: it has none.

    Raises:
        InputError: The video is gone or cannot be read.
    """
    info, path = probe(place.video), place.cache / "original.wav"
    if not info.has_sound:
        return None
    if not path.is_file():
        session, rate_hz = place.open().session, info.sample_rate_hz or _SILENCE_RATE_HZ
        sound = original(session, rate_hz, count_at_rate(session.duration_s, rate_hz))
        with atomic_path(path) as temporary:
            write_sound(temporary, sound, rate_hz)
    return path


def spectrogram_tile(place: Place, sound: Path, number: int) -> bytes | None:
    """Return a part of the spectrogram of a take as a grey PNG; None: it is after the end.

    Args:
        place: The session, whose cache keeps the spectrogram.
        sound: The sound of the take.
        number: Number of the part of 10 s, from 0.
    """
    path = place.cache / f"{sound.parent.name}.{sound.stem}.npy"
    if not path.is_file():
        rate_hz = probe(sound).sample_rate_hz
        assert rate_hz is not None
        levels = mel_levels(read_sound(sound, sample_rate_hz=rate_hz, n_channels=1), rate_hz)
        with atomic_path(path) as temporary:
            np.save(temporary, levels.numpy())
    columns = TILE_S * COLUMN_RATE_HZ
    part = np.load(path, mmap_mode="r")[:, number * columns : (number + 1) * columns]
    if part.shape[1] == 0:
        return None
    tile = np.zeros((N_MELS, columns), dtype=np.uint8)
    tile[:, : part.shape[1]] = part
    content = io.BytesIO()
    Image.fromarray(tile).save(content, "PNG")
    return content.getvalue()


def mel_levels(sound: Tensor, sample_rate_hz: int) -> Tensor:
    """Return the levels of a mel spectrogram, as a picture with high bands on top.

    Args:
        sound: (1, N), at least one sample.
        sample_rate_hz: Samples per second.

    Returns:
        (128, T), uint8, 200 columns a second: 255 is the loudest level, 0 a level 80 dB or more below it.
    """
    n_samples = sound.shape[1]
    n_columns = -(-n_samples * COLUMN_RATE_HZ // sample_rate_hz)
    padded = torch.nn.functional.pad(sound[0], (_FFT // 2, _FFT))
    bands = melscale_fbanks(_FFT // 2 + 1, 20.0, sample_rate_hz / 2, N_MELS, sample_rate_hz, "slaney", "slaney")
    window, places = torch.hann_window(_FFT), torch.arange(_FFT)
    parts = []
    for first in range(0, n_columns, _AT_ONCE):
        columns = torch.arange(first, min(n_columns, first + _AT_ONCE))
        starts = (columns * sample_rate_hz).div(COLUMN_RATE_HZ, rounding_mode="floor")
        power = torch.fft.rfft(padded[starts[:, None] + places] * window).abs() ** 2
        parts.append((power @ bands).T)
    levels_db = 10 * torch.cat(parts, dim=1).clamp(min=1e-10).log10()
    share = 1 + (levels_db - levels_db.max()) / RANGE_DB
    return (255 * share.clamp(0, 1)).round().byte().flip(0)
