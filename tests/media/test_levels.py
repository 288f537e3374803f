"""Loudness and true peak against closed forms and against FFmpeg's meter."""

import math

import av
import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import torch
from av.filter import Graph

from media.levels import loudness_lufs, true_peak_db, true_peaks
from media.stored import PART_SAMPLES

RATE_HZ = 48_000


def ffmpeg_meter(wave: torch.Tensor, rate_hz: int) -> dict[str, float]:
    """Integrated loudness in LUFS and true peak in dBTP by FFmpeg's ebur128."""
    layout = "mono" if len(wave) == 1 else "stereo"
    graph = Graph()
    source = graph.add(
        "abuffer", f"time_base=1/{rate_hz}:sample_rate={rate_hz}:sample_fmt=fltp:channel_layout={layout}"
    )
    meter, sink = graph.add("ebur128", "peak=true:metadata=1:framelog=quiet"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.numpy()), format="fltp", layout=layout)
    frame.sample_rate, frame.pts = rate_hz, 0
    source.push(frame)
    source.push(None)
    last = {}
    while True:
        try:
            last = dict(sink.pull().metadata)
        except (av.BlockingIOError, av.EOFError):
            peak = max(float(value) for key, value in last.items() if key.startswith("lavfi.r128.true_peaks_ch"))
            return {"lufs": float(last["lavfi.r128.I"]), "peak_db": 20 * math.log10(peak)}


def hits(rate_hz: int, n_channels: int = 1) -> torch.Tensor:
    """Decaying noise once a second, 5 s."""
    noise = torch.randn(n_channels, 5 * rate_hz, generator=torch.Generator().manual_seed(1))
    time_s = torch.arange(5 * rate_hz) / rate_hz
    return 0.3 * noise * torch.exp(-20 * (time_s % 1))


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_ffmpeg_measures_the_same(rate_hz, n_channels):
    sound = hits(rate_hz, n_channels)
    expected = ffmpeg_meter(sound, rate_hz)
    assert loudness_lufs(sound, rate_hz) == pytest.approx(expected["lufs"], abs=0.1)
    assert true_peak_db(sound) == pytest.approx(expected["peak_db"], abs=0.3)


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.5])
def test_the_true_peak_of_a_sine_is_its_amplitude_whatever_is_sampled(phase):
    """At a quarter of the sample rate the samples may miss the peaks by 3 dB."""
    time = torch.arange(RATE_HZ, dtype=torch.float64)
    fade = torch.hann_window(RATE_HZ, dtype=torch.float64)
    sound = (0.5 * fade * torch.sin(2 * math.pi * (time / 4 + phase / 2)))[None]
    assert true_peak_db(sound) == pytest.approx(20 * math.log10(0.5), abs=0.05)


def test_each_sample_has_the_peak_beside_it():
    sound = torch.zeros(2, 100)
    sound[1, 40] = 0.5
    peaks = true_peaks(sound)
    assert peaks.shape == (100,)
    assert peaks.argmax() == 40
    assert peaks[40] == pytest.approx(0.5, rel=1e-3)
    assert peaks[:20].max() < 0.02


def test_silence_has_no_peak():
    assert true_peak_db(torch.zeros(1, 100)) is None
    assert true_peak_db(torch.zeros(2, 0)) is None


def test_levels_of_a_long_sound_do_not_depend_on_the_parts_in_which_it_is_read():
    wave = torch.randn(2, PART_SAMPLES + 5000, generator=torch.Generator().manual_seed(0)) * 0.1
    wave[:, PART_SAMPLES - 2 : PART_SAMPLES + 2] = torch.tensor([0.9, -0.9, -0.9, 0.9])  # its peak is between samples
    fine = np.abs(scipy.signal.resample_poly(wave.double().numpy(), 8, 1, axis=-1)).max()
    assert true_peak_db(wave) == pytest.approx(20 * math.log10(fine), abs=1e-9)
    assert true_peaks(wave).max() == pytest.approx(fine)
    for rate_hz in (44_100, 11_025):
        expected = pyloudnorm.Meter(rate_hz).integrated_loudness(wave.T.double().numpy())
        assert loudness_lufs(wave, rate_hz) == pytest.approx(expected, abs=1e-6)
