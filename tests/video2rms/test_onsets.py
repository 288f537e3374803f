"""Peaks of onset probabilities."""

import pytest
import torch

from video2rms.losses import onset_heights
from video2rms.onsets import pick_onsets


def test_bells_are_found_where_they_were_drawn():
    times_s = torch.tensor([0.004, 0.3, 0.7123, 1.5, 1.996])
    heights = onset_heights([times_s], 250, 0.012)[0]
    found = pick_onsets(heights, 0.3)
    assert len(found) == 5
    assert (found - times_s).abs().max() < 0.0015


def test_of_two_near_peaks_the_higher_one_stays():
    heights = torch.zeros(100)
    heights[40], heights[46] = 0.6, 0.9
    assert pick_onsets(heights, 0.3).tolist() == pytest.approx([46.5 / 125])
    assert pick_onsets(heights, 0.95).numel() == 0


def test_no_onsets_give_no_heights():
    assert not onset_heights([torch.zeros(0), torch.zeros(0)], 30, 0.012).any()
    assert pick_onsets(torch.zeros(30), 0.3).numel() == 0
