"""Films keep the truth through cameras, cuts and codecs; films without strikes are silent."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from media.envelope import FINE_RATE_HZ, fine_envelope
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, plain_footage, render_clip, render_footage
from synthetic.dressing import BORDERS, TITLES, draw_border, draw_title
from synthetic.editing import KINDS, Join, draw_join
from synthetic.footage import EDITED_SHARE, SILENT, SILENT_SHARE
from synthetic.motion import draw_motions
from synthetic.picture import render_picture
from synthetic.plan import draw_plan
from synthetic.recording import LATE_SHARE, gestures
from synthetic.take import Take, draw_take

SPEC = SyntheticSpec(duration_s=2.0, width=48, height=32, max_offset_s=0.0)
LARGE = replace(SPEC, width=112, height=64)


@pytest.fixture(scope="module")
def films():
    """Many films."""
    return [render_footage(SPEC, 7, number) for number in range(160)]


def of_kinds(films, kinds):
    return [film for film in films if not set(kinds).isdisjoint(film.kinds)]


def test_a_seed_and_a_number_determine_a_film(films):
    for number in (17, 3):
        again = render_footage(SPEC, 7, number)
        assert again.kinds == films[number].kinds
        for name in ("frames", "lateness_s", "clean", "onsets_s"):
            assert torch.equal(getattr(again, name), getattr(films[number], name))
    assert not torch.equal(render_footage(SPEC, 8, 3).frames, films[3].frames)


def test_films_are_of_all_kinds_and_of_one_form(films):
    for film in films:
        assert film.frames.shape == (60, 3, 32, 48)
        assert film.frames.dtype == torch.uint8
        assert film.lateness_s.shape == (60,)
        assert film.clean.shape == (2, SPEC.n_samples)
        assert film.clean.abs().max() < 1.05
        assert (film.onsets_s.diff() >= 0).all()
        assert ((film.onsets_s >= 0) & (film.onsets_s < 2)).all()
    for kinds, share in ((SILENT, SILENT_SHARE), (KINDS, EDITED_SHARE), (("late",), 0.82 * LATE_SHARE)):
        assert len(of_kinds(films, kinds)) / len(films) == pytest.approx(share, abs=0.12)
        assert of_kinds(films, kinds)


def test_films_without_strikes_are_silent(films):
    silent = [film for film in films if set(film.kinds) & set(SILENT) and not set(film.kinds) & set(KINDS)]
    assert silent
    for film in silent:
        assert len(film.onsets_s) == 0
        assert not film.clean.any()


def test_gestures_touch_nothing():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        plan = gestures(rng, draw_plan(rng, SPEC))
        assert not plan.strikes
        (motion,) = draw_motions(plan, SPEC, rng)
        assert motion.lift.at(np.arange(0, SPEC.duration_s, 1 / 200)).min() > 0.002


def levels(film):
    return fine_envelope(film.clean, SAMPLE_RATE_HZ).rms.numpy()


def rise_share(films, later_s):
    """The share of well separated onsets, moved by some time, at which the level rises."""
    rises = []
    for film in films:
        rms, onsets_s = levels(film), film.onsets_s.numpy()
        for onset_s in onsets_s[np.diff(onsets_s, prepend=-1.0) > 0.3] + later_s:
            slot = int(onset_s * FINE_RATE_HZ)
            if 6 < slot < len(rms) - 6:  # a level is that of 32 ms
                rises.append(rms[slot : slot + 6].max() > 1.2 * rms[slot - 6 : slot - 2].max())
    assert len(rises) > 100
    return np.mean(rises)


def test_sounds_start_at_their_onsets(films):
    assert rise_share(films, 0.0) > 0.97
    assert max(rise_share(films, later_s) for later_s in (-0.08, 0.08)) < 0.3


def test_nothing_is_heard_before_the_first_onset_but_what_rings_on(films):
    late = [film for film in of_kinds(films, ("late",)) if len(film.onsets_s)]
    assert any(float(film.onsets_s[0]) < 0.1 for film in late)
    for film in late:
        before = levels(film)[: max(0, int(float(film.onsets_s[0]) * FINE_RATE_HZ) - 2)]
        assert (before[2:] < 2 * before[:-2].max(initial=0) + 0.05).all()  # it may only fade
    assert any(levels(film)[0] > 0.001 for film in late)  # of strikes before the start


def test_a_plain_film_is_the_clip():
    film, clip = plain_footage(SPEC, 3, 5, 30.0), render_clip(SPEC, 3, 5)
    assert torch.equal(film.frames, clip.frames)
    assert not film.lateness_s.any()
    torch.testing.assert_close(film.clean, clip.clean / clip.wave.abs().max())
    assert film.onsets_s.tolist() == pytest.approx([strike.time_s for strike in clip.plan.strikes])
    slow = plain_footage(SPEC, 3, 5, 8.0)
    assert torch.equal(slow.frames[0::15], render_clip(replace(SPEC, frame_rate_hz=8.0), 3, 5).frames[0::4])


def pictures(take, seed=1):
    plan = draw_plan(np.random.default_rng(seed), LARGE)
    return render_picture(plan, LARGE, np.random.default_rng(seed), take).astype(float)


def test_a_take_shows_its_times():
    near, far = [], []
    for seed in range(4):
        first = Take.of(LARGE)
        whole, later = pictures(first, seed), pictures(replace(first, starts_s=first.starts_s + 0.5), seed)
        whole, later = (x.reshape(60, 3, 8, 8, 14, 8).mean(axis=(1, 3, 5)) for x in (whole, later))  # without noise
        near.append(np.abs(later[:-15] - whole[15:]).mean())
        far.append(np.abs(later - whole).mean())
    assert np.mean(near) < 0.2 * np.mean(far)


def test_the_operator_moves_and_darkens_the_picture():
    still = Take(np.zeros(2), 1 / 30)
    plain = pictures(still)[0]
    warps = np.array([[[1.0, 0, 9], [0, 1, -5]]] * 2)
    moved = pictures(replace(still, warps=warps))[0]
    inside = np.abs(moved[:, 8:-13, 17:-8] - plain[:, 13:-8, 8:-17])
    assert inside.mean() < 0.5 * np.abs(moved - plain).mean()
    dark = pictures(replace(still, gains=np.array([0.5, 0.5])))[0]
    assert dark.mean() < 0.9 * plain.mean()
    soft = pictures(replace(still, blur_px=np.full((2, 2), 4.0)))[0]
    assert np.abs(np.diff(soft.mean(axis=0))).mean() < 0.9 * np.abs(np.diff(plain.mean(axis=0))).mean()


def test_operators_never_show_more_than_a_picture_away():
    times_s = np.arange(60) / 30
    takes = [draw_take(np.random.default_rng(seed), SPEC, times_s, times_s, 1 / 30) for seed in range(200)]
    moving = [take for take in takes if take.warps is not None]
    assert 0.15 < len(moving) / len(takes) < 0.5
    for take in takes:
        assert take.gains is None or (take.gains > 0.1).all()
        assert take.blur_px is None or (take.blur_px >= 0).all()
    for take in moving:
        assert np.isfinite(take.warps).all()
        assert take.warps.shape == (60, 2, 3)


@pytest.mark.parametrize(("kind", "length_s"), [("cut", 0.0), ("dissolve", 0.5), ("wipe", 0.5)])
def test_joins_change_from_one_shot_to_the_other(kind, length_s):
    join = Join(kind, 1.0, length_s)
    times_s = np.arange(60) / 30
    first, second = np.zeros((60, 3, 8, 16), np.uint8), np.full((60, 3, 8, 16), 200, np.uint8)
    share = join.pictures(first, second, times_s).mean(axis=(1, 2, 3)) / 200
    expected = np.clip((times_s - 1.0) / length_s, 0, 1) if length_s else times_s >= 1.0
    np.testing.assert_allclose(share, expected, atol=0.15 if kind == "wipe" else 0.01)
    sound = join.sounds(np.zeros((2, 2, 200)), np.ones((2, 2, 200)), 100)
    assert sound[0, 0, 99] == 0
    assert sound[1, 1, 99 + round(100 * length_s) + 1] == 1
    heard_s = join.onsets_s(np.array([0.5, 0.99, 1.55]), np.array([0.4, 0.98, 1.01 + length_s]))
    assert heard_s.tolist() == [0.5, 0.99, 1.01 + length_s]


def test_hard_cuts_keep_clear_of_strikes():
    first_s, second_s = np.arange(0.1, 4, 0.5), np.arange(0.3, 4, 0.4)
    cuts = [join for join in (draw_join(np.random.default_rng(i), 4.0, first_s, second_s) for i in range(200))]
    cuts = [join for join in cuts if join.kind == "cut"]
    assert len(cuts) > 60
    for cut in cuts:
        before_s, after_s = cut.start_s - first_s, second_s - cut.start_s
        assert before_s[before_s >= 0].min() >= 0.06
        assert after_s[after_s >= 0].min(initial=9) >= 0.03


def test_fades_are_black_and_silent_at_their_end(films):
    fades = of_kinds(films, ("fade in", "fade out"))
    assert fades
    for film in fades:
        light, rms = film.frames.float().mean(dim=(1, 2, 3)), levels(film)
        ends = (0, 30) if "fade in" in film.kinds else (-1, 20)
        if film.kinds[-1] not in ("border", "title", "compressed"):
            assert light[ends[0]] < 0.5 * light.max()
        assert rms[ends[0]] < 0.3


@pytest.mark.parametrize("draw", [lambda rng: draw_title(rng, 112, 64, 4.0), lambda rng: draw_border(rng, 112, 64)])
def test_titles_and_borders_change_the_picture_alone(draw):
    changes = []
    for seed in range(60):
        overlay = draw(np.random.default_rng(seed))
        for time_s in (0.0, 1.0, 3.9):
            picture = np.random.default_rng(0).integers(0, 255, (64, 112, 3), np.uint8)
            before = picture.copy()
            overlay(picture, time_s)
            changes.append((picture != before).mean())
    assert np.mean(np.array(changes) > 0) > 0.7
    assert np.mean(changes) < 0.8
    assert len(BORDERS) > 3
    assert len(TITLES) > 3
