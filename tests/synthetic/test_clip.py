"""A synthetic clip is the same for the same numbers, and its truth is true."""

import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from common.errors import InputError
from media.envelope import fine_envelope
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, foley_item, render_clip
from synthetic.materials import MATERIALS
from synthetic.plan import LURE_GAP_S
from tests.conftest import REPOSITORY

SPEC = SyntheticSpec(duration_s=3.0, frame_rate_hz=15.0, width=96, height=64)
SEED = 5
N_CLIPS = 24


@pytest.fixture(scope="module")
def clips():
    return [render_clip(SPEC, SEED, index) for index in range(N_CLIPS)]


def digest(clip):
    parts = [clip.wave, clip.clean, clip.envelope.rms, clip.frames]
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


def isolated(clip, gap_s=0.25):
    """Hits that nothing precedes closely."""
    times_s = [strike.time_s for strike in clip.plan.strikes]
    return [
        strike
        for strike in clip.plan.strikes
        if strike.action == "hit" and not any(0 < strike.time_s - other_s < gap_s for other_s in times_s)
    ]


def rises_s(wave):
    """Where the energy of 3 ms, every 0.5 ms, rises by 9 dB or more within 6 ms, more than anywhere near."""
    power = wave.double().square().mean(dim=0).numpy()
    hop, window = 22, 132
    total = np.concatenate([np.zeros(window), np.cumsum(np.pad(power, (window, 0)))])
    energy = (total[window:] - total[:-window])[window::hop]  # of the window that ends at i * hop
    level_db = 10 * np.log10(energy + 1e-7 * energy.max() + 1e-20)
    rise_db = level_db[12:] - level_db[:-12]
    found = [
        i
        for i in np.flatnonzero(rise_db > 9)
        if rise_db[i] == rise_db[max(0, i - 60) : i + 61].max() and (i == 0 or rise_db[i - 1] < rise_db[i])
    ]
    # the rise between i and i + 12 is steepest where the onset has just entered the later window
    first = [next(j for j in range(i, i + 13) if level_db[j] > level_db[i] + 3) for i in found]
    return np.array(first) * hop / SAMPLE_RATE_HZ


@pytest.mark.slow
def test_same_numbers_give_the_same_clip_in_another_process_and_thread_count(clips):
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from tests.synthetic.test_clip import *\n"
        "print([digest(render_clip(SPEC, SEED, i)) for i in (3, 1)])"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == str([digest(clips[3]), digest(clips[1])])


def test_other_seeds_and_numbers_give_other_clips(clips):
    assert len({digest(clip) for clip in clips}) == N_CLIPS
    assert digest(render_clip(SPEC, SEED + 1, 0)) != digest(clips[0])


def test_sound_and_picture_do_not_depend_on_each_other(clips):
    assert torch.equal(render_clip(SPEC, SEED, 2, picture=False).wave, clips[2].wave)
    silent = render_clip(SPEC, SEED, 2, sound=False)
    assert silent.wave is None
    assert torch.equal(silent.frames, clips[2].frames)


def test_forms_that_are_not_possible_are_refused():
    for name, value in (("frame_rate_hz", 5.0), ("width", 8), ("duration_s", float("nan")), ("lure_share", 1.0)):
        with pytest.raises(InputError, match=name):
            SyntheticSpec(**{name: value})


def test_sounds_are_finite_neither_clipped_nor_silent(clips):
    for clip in clips:
        assert clip.wave.shape == clip.clean.shape == (2, SPEC.n_samples)
        assert clip.wave.isfinite().all()
        assert 0.1 < clip.wave.abs().max() < 1
        assert clip.envelope.rms.max() > 1e-3
        assert clip.frames.shape == (SPEC.n_frames, 3, 64, 96)
        assert clip.frames.float().std() > 3


def test_onsets_lie_where_the_energy_of_the_sound_rises(clips):
    errors_s = []
    n_strikes = 0
    for clip in clips:
        found_s = rises_s(clip.clean)
        for strike in isolated(clip):
            n_strikes += 1
            if len(found_s) and np.abs(found_s - strike.time_s).min() < 0.05:
                errors_s.append(np.abs(found_s - strike.time_s).min())
    assert n_strikes > 40
    assert len(errors_s) > 0.9 * n_strikes
    assert np.median(errors_s) < 0.005
    assert np.quantile(errors_s, 0.9) < 0.02


def test_the_envelope_is_that_of_the_clean_sound_and_near_that_of_the_recorded_one(clips):
    for clip in clips:
        assert torch.equal(clip.envelope.rms, fine_envelope(clip.clean, SAMPLE_RATE_HZ).rms)
        noise = (clip.wave - clip.clean).square().mean().sqrt()
        assert noise < 0.2 * clip.envelope.rms.max()
        if clip.plan.strikes[0].time_s < 0.05:  # an envelope mirrors the sound at the ends of the clip
            continue
        mono = clip.clean.mean(dim=0)
        slots = clip.envelope.rms.square().mean() * clip.envelope.duration_s
        energy = torch.fft.rfft(mono.double()).abs().square().cumsum(0) / mono.numel() * 2 / SAMPLE_RATE_HZ
        below_5_khz, below_8_khz = (float(energy[int(SPEC.duration_s * limit_hz)]) for limit_hz in (5000, 8000))
        assert 0.97 * below_5_khz < slots < 1.03 * below_8_khz


def test_the_sound_is_silent_before_the_first_strike(clips):
    for clip in clips:
        before = clip.clean[:, : int((clip.plan.strikes[0].time_s - 0.002) * SAMPLE_RATE_HZ)]
        assert before.abs().max() < 1e-3 * clip.clean.abs().max()


def test_louder_strikes_are_stronger():
    spec = SyntheticSpec(duration_s=6.0)
    ratios = []
    for index in range(12):
        clip = render_clip(spec, 1, index, picture=False)
        hits = [strike for strike in isolated(clip) if strike.time_s < 5.5]
        for one, other in itertools.pairwise(hits):
            weak, strong = sorted((one, other), key=lambda strike: strike.strength)
            if one.material == other.material and strong.strength > 1.4 * weak.strength:
                ratios.append(peak(clip, strong) / peak(clip, weak))
    assert len(ratios) > 5
    assert np.mean(np.array(ratios) > 1) > 0.9


def peak(clip, strike):
    start = int(strike.time_s * SAMPLE_RATE_HZ)
    return float(clip.clean[:, start : start + 4410].square().mean())


def test_items_in_the_form_of_recorded_ones(clips):
    item = foley_item(clips[0])
    assert item.onsets.tolist() == pytest.approx([hit.time_s for hit in clips[0].plan.hits])
    assert item.frames.max() <= 1
    assert (
        clips[0].plan.hits[0].material.replace("-", " ") in item.label
        or len({h.material for h in clips[0].plan.hits}) > 1
    )
    with pytest.raises(InputError, match="without sound"):
        foley_item(render_clip(SPEC, 0, 0, sound=False, picture=False))


def test_every_material_is_struck_and_lures_are_as_many_as_asked_for():
    spec = SyntheticSpec(duration_s=8.0, lure_share=0.4)
    plans = [render_clip(spec, 2, index, sound=False, picture=False).plan for index in range(250)]
    strikes = [strike for plan in plans for strike in plan.strikes if not strike.is_rebound]
    n_lures = sum(len(plan.lures) for plan in plans)
    n_free = 0
    for plan in plans:
        events = [
            event.picture_time_s for event in (*plan.strikes, *plan.lures) if not getattr(event, "is_rebound", False)
        ]
        gaps_s = np.diff(sorted(events), prepend=-1.0, append=99.0)
        n_free += int((np.minimum(gaps_s[1:], gaps_s[:-1]) >= LURE_GAP_S).sum())
    assert {strike.material for strike in strikes} == set(MATERIALS)
    assert n_lures / n_free == pytest.approx(0.4, abs=0.03)
    assert {strike.action for strike in strikes} == {"hit", "scratch"}
    assert {strike.reaction for strike in strikes} == {"static", "deform", "rigid-motion", "scatter", "splash"}
    assert all(len(plan.strikes) > 0 for plan in plans)
    none = render_clip(SyntheticSpec(lure_share=0.0), 2, 0, sound=False, picture=False).plan
    assert none.lures == ()


def test_sound_and_picture_are_apart_by_no_more_than_asked_for():
    offsets_s = []
    for index in range(40):
        plan = render_clip(SyntheticSpec(max_offset_s=0.04), 3, index, sound=False, picture=False).plan
        offsets_s.append(plan.offset_s)
        for strike in plan.strikes:
            assert strike.time_s - strike.picture_time_s == pytest.approx(plan.offset_s)
    assert -0.04 <= min(offsets_s) < -0.03
    assert 0.03 < max(offsets_s) <= 0.04
