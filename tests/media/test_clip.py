"""Lengths derived from durations and rates."""

import math
import re

import pytest

from common.errors import InputError
from media.clip import ClipSpec, count_at_rate, part_duration_s
from synthetic import SyntheticSpec


def test_default_clip_is_ten_seconds_of_44100_hz_stereo():
    spec = ClipSpec()
    assert (spec.n_samples, spec.n_frames, spec.n_channels, spec.frame_size_px) == (441_000, 40, 2, 224)


@pytest.mark.parametrize(
    ("duration_s", "rate_hz", "count"),
    [(10, 44_100, 441_000), (440_320 / 44_100, 44_100, 440_320), (0.1, 4, 1), (1 / 3, 30, 10), (5.752, 30, 173)],
)
def test_counts_are_rounded_and_never_zero(duration_s, rate_hz, count):
    assert count_at_rate(duration_s, rate_hz) == count


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e9, 10**9, 10**400, "ten", None])
@pytest.mark.parametrize("name", ["duration_s", "sample_rate_hz", "n_channels", "frame_rate_hz", "frame_size_px"])
def test_impossible_values_are_named(name, value):
    with pytest.raises(InputError, match=re.escape(f"clip.{name} {value} ")):
        ClipSpec(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("sample_rate_hz", 44100.5), ("frame_size_px", 2.5), ("n_channels", 6)])
def test_values_that_are_no_choice_are_named(name, value):
    with pytest.raises(InputError, match=f"clip.{name} {value}"):
        ClipSpec(**{name: value})


@pytest.mark.parametrize("spec", [ClipSpec, SyntheticSpec])
def test_clips_that_no_memory_holds_are_refused_before_it_is_taken(spec):
    size = {"width": 2000, "height": 1000} if spec is SyntheticSpec else {"frame_size_px": (2000, 1000)}
    assert spec(duration_s=20.0, frame_rate_hz=30.0, **size).n_frames == 600  # 3.4 GiB
    with pytest.raises(InputError, match=r"600.* 2000x2000 .* 6\.7 GiB"):
        spec(duration_s=20.0, frame_rate_hz=30.0, **dict.fromkeys(size, 2000))


@pytest.mark.parametrize(("duration_s", "rate_hz"), [(0, 4), (1, -4), (math.nan, 4), (math.inf, 4), (1, math.inf)])
def test_count_refuses_impossible_values(duration_s, rate_hz):
    with pytest.raises(InputError, match="is not possible"):
        count_at_rate(duration_s, rate_hz)


def test_frames_may_have_a_width_and_a_height():
    assert ClipSpec(frame_size_px=[224, 128]) == ClipSpec(frame_size_px=(224, 128))  # a list in configurations
    hash(ClipSpec(frame_size_px=[224, 128]))


@pytest.mark.parametrize("size_px", [(224,), (224, 128, 3), (224, 0), (224, 2.5)])
def test_impossible_sizes_are_refused(size_px):
    with pytest.raises(InputError, match="frame_size_px"):
        ClipSpec(frame_size_px=size_px)


@pytest.mark.parametrize("whole_s", [3.0, 2.9964, 2.0049, 0.07, 1 / 30])
def test_the_longest_duration_that_an_error_allows_is_possible(whole_s):
    for start_s in (0.0, whole_s / 3):
        with pytest.raises(InputError) as refusal:
            part_duration_s("video", whole_s, start_s, 99.0)
        most_s = float(re.search(r"at most ([0-9.]+) s", str(refusal.value))[1])
        assert part_duration_s("video", whole_s, start_s, most_s) == most_s
        assert most_s > whole_s - start_s - 0.01


@pytest.mark.parametrize("start_s", [-1.0, 3.0, math.nan])
def test_a_start_outside_is_refused(start_s):
    with pytest.raises(InputError, match=str(start_s)):
        part_duration_s("video", 3.0, start_s, None)
    assert part_duration_s("video", 3.0, 2.5, None) == 0.5
