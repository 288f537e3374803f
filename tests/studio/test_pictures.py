"""Pictures for the page: spectrograms against closed forms, thumbnails, and which videos browsers play."""

from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import torch
from torchaudio.functional import melscale_fbanks

from common.errors import InputError
from media.browser import browser_type, thumbnails
from media.writing import write_video
from studio.library import Place
from studio.pictures import COLUMN_RATE_HZ, N_MELS, PreviewError, Previews, mel_levels, thumbnail_sheet
from tests.studio.conftest import until

RATE_HZ = 44_100


def test_a_tone_is_a_line_at_its_band_and_a_click_a_column_at_its_time():
    n = 2 * RATE_HZ
    tone = 0.1 * torch.sin(2 * torch.pi * 1000 * torch.arange(n) / RATE_HZ)
    levels = mel_levels(tone[None], RATE_HZ)
    assert levels.shape == (N_MELS, 2 * COLUMN_RATE_HZ)
    bands = melscale_fbanks(1025, 20.0, RATE_HZ / 2, N_MELS, RATE_HZ, "slaney", "slaney")
    band = int(bands[round(1000 * 2048 / RATE_HZ)].argmax())
    middle = levels[:, 100:300].float().mean(dim=1)
    assert abs(int(middle.argmax()) - (N_MELS - 1 - band)) <= 1
    click = torch.zeros(1, n)
    click[0, RATE_HZ] = 1.0
    level = mel_levels(click, RATE_HZ).float().mean(dim=0)
    assert abs(int(level.argmax()) - COLUMN_RATE_HZ) <= 1


def test_ten_db_are_an_eighth_of_the_range():
    n = RATE_HZ
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(n) / RATE_HZ)
    tone[n // 2 :] *= 10**-0.5
    peaks = mel_levels(tone[None], RATE_HZ).float().amax(dim=0)
    assert peaks[50] - peaks[150] == pytest.approx(255 / 8, abs=1.5)


def test_silence_and_one_sample_have_a_spectrogram():
    assert mel_levels(torch.zeros(1, 1), RATE_HZ).shape == (N_MELS, 1)
    assert mel_levels(torch.zeros(1, RATE_HZ), RATE_HZ).shape == (N_MELS, COLUMN_RATE_HZ)


@pytest.mark.parametrize("seconds", [4, 70])
def test_thumbnails_show_the_picture_at_their_times(tmp_path, seconds):
    path = tmp_path / "film.mp4"
    rate_hz = 5.0
    grey = torch.linspace(20, 230, int(seconds * rate_hz)).round().byte()
    write_video(path, grey[:, None, None, None].expand(-1, 3, 36, 64), rate_hz)
    times_s, pictures = thumbnails(path, 20, 18)
    assert pictures.shape[1:] == (3, 18, 32)
    assert len(times_s) == len(pictures) <= 20
    shown = pictures.float().mean(dim=(1, 2, 3))
    wanted = grey[(torch.tensor(times_s) * rate_hz).round().long()].float()
    assert (shown - wanted).abs().max() < (
        14 if seconds < 60 else 80
    )  # a frame of rounding; of long videos, the last key frame
    assert (shown.diff() >= -2).all()


def written(path, codec, pixels="yuv420p", options=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
        for packet in [*stream.encode(frame.reformat(format=pixels)), *stream.encode()]:
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "mime"),
    [
        ("a.mp4", "libx264", "yuv420p", "video/mp4"),
        ("a.mov", "libx264", "yuv420p", "video/mp4"),
        ("a.webm", "libvpx-vp9", "yuv420p", "video/webm"),
        ("a.mkv", "libx264", "yuv420p", "video/webm"),
        ("a.mp4", "libx264", "yuv444p", None),
        ("a.mov", "prores_ks", "yuv422p10le", None),
        ("a.avi", "mpeg4", "yuv420p", None),
    ],
)
def test_what_browsers_play(tmp_path, name, codec, pixels, mime):
    assert browser_type(written(tmp_path / name, codec, pixels)) == mime


def test_a_preview_that_fails_is_said_and_not_tried_for_ever(tmp_path, monkeypatch):
    def fails(*_):
        raise InputError("the disk is full")

    monkeypatch.setattr("studio.pictures.mux", fails)
    place, previews = Place(tmp_path), Previews()
    written(tmp_path / "video.avi", "mpeg4")
    with pytest.raises(PreviewError):
        previews.playable(place)

    def has_failed():
        try:
            previews.playable(place)
        except PreviewError:
            return False
        except InputError as error:
            return "the disk is full" in str(error)

    until(has_failed)


def test_two_requests_at_once_make_thumbnails_once(tmp_path, monkeypatch):
    place, made = Place(tmp_path), []
    write_video(tmp_path / "video.mp4", torch.zeros(25, 3, 32, 32, dtype=torch.uint8), 25.0)
    monkeypatch.setattr("studio.pictures.thumbnails", lambda *args: made.append(args) or thumbnails(*args))
    with ThreadPoolExecutor(4) as threads:
        sheets = [sheet for _, sheet in threads.map(thumbnail_sheet, [place] * 4)]
    assert len(made) == 1
    assert sheets[0].is_file()
