"""Grids and times towards which hits are moved."""

import numpy as np
import pytest

from common.errors import InputError
from hits.grid import Grid

HITS_S = np.array([0.03, 0.49, 1.2, 1.74, 3.9])


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("120bpm/4", [0.0, 0.5, 1.0, 1.5, 4.0]),
        ("120bpm/16", [0.0, 0.5, 1.25, 1.75, 3.875]),
        ("120bpm/12", [0.0, 0.5, 7 / 6, 10 / 6, 23.5 / 6 - 0.5 / 6]),
        ("60bpm/4,offset=0.25", [0.25, 0.25, 1.25, 1.25, 3.9]),  # a line after the end moves nothing
        ("120bpm/4,strength=0.5", [0.015, 0.495, 1.1, 1.62, 3.95]),
        ("120bpm/4,strength=0", HITS_S),
        ("1.1,1.9", [0.03, 0.49, 1.1, 1.9, 3.9]),
        ("0.5", [0.03, 0.5, 1.2, 1.74, 3.9]),
        ("1.2,1.25,offset=0.5", [0.03, 0.49, 1.7, 1.75, 3.9]),
    ],
)
def test_hits_move_to_their_lines(text, expected_s):
    np.testing.assert_allclose(Grid.parse(text).applied(HITS_S, 4.0), expected_s, atol=1e-9)


def test_each_time_takes_one_hit():
    moved_s = Grid(times_s=(0.9, 1.0, 1.1, 2.0)).applied(np.array([1.0, 1.05]), 3.0)
    assert moved_s.tolist() == [1.0, 1.1]
    assert Grid(times_s=(0.9,)).applied(np.zeros(0), 3.0).tolist() == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("fast", "fast"), ("0bpm/4", "0.0"), ("120bpm/0", "0"), ("120bpm/4,swing=0.2", "swing"), ("1,-2", "-2"),
        ("120bpm/4,strength=2", "2"), ("120bpm/4,strength=x", "x"), ("nan", "nan"), ("", "''"),
    ],
)  # fmt: skip
def test_what_is_no_grid_is_refused(text, named):
    with pytest.raises(InputError) as refused:
        Grid.parse(text)
    assert named in str(refused.value)
