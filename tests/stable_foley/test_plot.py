"""Figures of sounds: the same picture however it is computed, and a bounded number of columns."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from media.envelope import fine_envelope
from stable_foley import plot

RATE_HZ = 44_100


def click_at(time_s, duration_s):
    wave = 1e-3 * torch.randn(round(duration_s * RATE_HZ), generator=torch.Generator().manual_seed(0))
    wave[round(time_s * RATE_HZ)] = 1.0
    return wave


def levels_of(mono):
    axes = Figure().subplots()
    plot._draw_spectrogram(axes, mono[None], RATE_HZ)
    return np.asarray(axes.collections[0].get_array())


def test_the_spectrogram_does_not_depend_on_blocks(monkeypatch):
    mono = click_at(5.0, 29.0)
    in_blocks = levels_of(mono)
    monkeypatch.setattr(plot, "_BLOCK_COLUMNS", 10**6)
    monkeypatch.setattr(plot, "_BLOCK_SAMPLES", 10**9)
    np.testing.assert_array_equal(in_blocks, levels_of(mono))


@pytest.mark.parametrize(("duration_s", "time_s"), [(2.0, 0.5), (60.0, 41.3)])
def test_a_click_is_seen_in_its_place(duration_s, time_s):
    sound = click_at(time_s, duration_s).repeat(2, 1)
    figure = plot.comparison_figure({"sound": sound}, RATE_HZ, control=fine_envelope(sound, RATE_HZ))
    axes = figure.axes[2]
    (mesh,) = axes.collections
    levels = np.asarray(mesh.get_array())
    edges_s = mesh.get_coordinates()[0, :, 0]
    assert levels.shape[1] <= 2 * plot._MOST_COLUMNS
    loudest = int(levels.mean(axis=0).argmax())
    assert edges_s[loudest] - 0.03 <= time_s <= edges_s[loudest + 1] + 0.03
    assert axes.get_xlim() == (0, duration_s)


def test_the_range_of_a_long_waveform_is_drawn():
    axes = Figure().subplots()
    plot._draw_waveform(axes, click_at(3.0, 40.0)[None], RATE_HZ)
    (filled,) = axes.collections
    corners = filled.get_paths()[0].vertices
    assert corners[:, 1].max() == pytest.approx(1.0)
    assert corners[corners[:, 1].argmax(), 0] == pytest.approx(3.0, abs=0.03)
    assert len(corners) < 5 * plot._MOST_COLUMNS


@pytest.mark.parametrize("duration_s", [0.5, 60.0, 121.3])
def test_the_envelope_in_the_figure_is_that_of_the_whole_sound(duration_s):
    sound = 0.1 * torch.randn(2, round(duration_s * RATE_HZ), generator=torch.Generator().manual_seed(0))
    whole = fine_envelope(sound, RATE_HZ).rms
    drawn = plot._envelope(sound, RATE_HZ).rms
    torch.testing.assert_close(drawn, whole, rtol=1e-4, atol=1e-6)
