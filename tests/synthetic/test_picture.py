"""The picture shows what the truth says: the stick touches when it should, and only then; things react."""

from dataclasses import replace

import numpy as np
import pytest

from synthetic import SyntheticSpec
from synthetic.materials import MATERIALS
from synthetic.motion import draw_motions
from synthetic.picture import render_picture
from synthetic.plan import draw_plan
from synthetic.puppet import draw_look
from synthetic.reactions import Reactions
from synthetic.scene import FOREARM_M, SIZES_M
from synthetic.shapes import _DRAWERS
from synthetic.stage import build_stage
from synthetic.textures import texture
from synthetic.track import Track
from synthetic.view import draw_camera
from synthetic.water import Water

SPEC = SyntheticSpec(duration_s=4.0, width=160, height=96)


def planned(index):
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence((11, index)).spawn(2)]
    plan = draw_plan(streams[0], SPEC)
    return plan, draw_motions(plan, SPEC, streams[1])


@pytest.fixture(scope="module")
def plans():
    return [planned(index) for index in range(60)]


def test_the_tip_meets_the_spot_at_the_time_of_the_strike(plans):
    half_frame_s = 0.5 / SPEC.frame_rate_hz
    for plan, motions in plans:
        for strike in plan.strikes:
            motion = motions[strike.stick]
            tip_m = motion.ends_m(np.array([strike.picture_time_s]))[0][0]
            assert tip_m == pytest.approx(strike.spot.point_m, abs=1e-3)
            near_s = strike.picture_time_s + np.linspace(-half_frame_s, half_frame_s, 21)
            assert motion.lift.at(near_s).min() == pytest.approx(0, abs=1e-6)


def test_the_tip_touches_at_no_other_time(plans):
    for plan, motions in plans:
        for number, motion in enumerate(motions):
            times_s = np.arange(0, SPEC.duration_s, 1 / 500)
            touching = motion.lift.at(times_s) < 1e-4
            for strike in plan.strikes:
                if strike.stick == number:
                    end_s = strike.picture_time_s + max(strike.dwell_s, strike.duration_s)
                    touching[(times_s > strike.picture_time_s - 0.02) & (times_s < end_s + 0.05)] = False
            assert not touching.any()


def test_an_arm_keeps_its_length_and_stays_outside_what_it_strikes(plans):
    times_s = np.arange(0, SPEC.duration_s, 1 / 60)
    for _, motions in plans:
        for motion in motions:
            tip, hand = motion.ends_m(times_s)
            assert np.linalg.norm(hand - tip, axis=1) == pytest.approx(motion.length_m)
            assert np.linalg.norm(motion.elbows_m(times_s, hand) - hand, axis=1) == pytest.approx(FOREARM_M)
            height_m = ((hand - motion.contact.at(times_s)) * motion.normal.at(times_s)).sum(axis=1)
            assert height_m[motion.away.at(times_s) == 0].min() > 0


def test_strikes_come_from_the_first_moment_to_the_last_with_the_arm_in_swing():
    spec = SyntheticSpec(duration_s=2.0, max_offset_s=0.1)
    first_s, last_s, falling = [], [], 0
    for index in range(150):
        rng = np.random.default_rng((12, index))
        plan = draw_plan(rng, spec)
        times_s = [time_s for strike in plan.strikes for time_s in (strike.time_s, strike.picture_time_s)]
        first_s.append(min(times_s))
        last_s.append(max(times_s))
        lifts_m = [motion.lift.at(np.array([-0.01, 0.0])) for motion in draw_motions(plan, spec, rng)]
        falling += any(after < before - 1e-3 for before, after in lifts_m)
    assert 0 < min(first_s) < 0.03
    assert spec.duration_s - 0.1 < max(last_s) < spec.duration_s
    assert falling > 10


def test_lures_keep_clear_of_things(plans):
    lures = [(lure, motions) for plan, motions in plans for lure in plan.lures]
    assert len(lures) > 30
    for lure, motions in lures:
        near_s = lure.picture_time_s + np.linspace(-0.03, 0.03, 9)
        assert motions[lure.stick].lift.at(near_s).min() > 0.004
        if lure.spot.normal[1] == -1:  # a wall, at y = 0
            assert motions[lure.stick].ends_m(near_s)[0][:, 1].max() < -0.004


def test_scratches_stay_on_things():
    n_scratches = 0
    for plan, motions in map(planned, range(240)):
        for strike in plan.strikes:
            thing = plan.scene.things[strike.thing]
            if strike.action == "scratch" and thing.shape not in {"ground", "wall"} and strike.spot.normal[2] == 1:
                n_scratches += 1
                times_s = strike.picture_time_s + np.linspace(0, strike.duration_s, 40)
                x, y = (motions[strike.stick].ends_m(times_s)[0] - thing.centre_m)[:, :2].T
                cos, sin = np.cos(thing.turn_rad), np.sin(thing.turn_rad)
                width_m, depth_m, _ = thing.size_m
                assert np.abs(cos * x + sin * y).max() < 0.5 * width_m + 1e-3
                assert np.abs(cos * y - sin * x).max() < 0.5 * depth_m + 1e-3
                assert np.hypot(np.diff(x), np.diff(y)).sum() > 0.003
    assert n_scratches > 20


def test_strong_strikes_are_fast(plans):
    strengths, speeds = [], []  # logarithms, in relation to the mean of the clip
    for plan, motions in plans:
        strikes = [strike for strike in plan.strikes if not strike.is_rebound and strike.stick == 0]
        if len(strikes) > 1:
            times_s = np.array([strike.picture_time_s for strike in strikes])[:, None] - np.array([0.004, 0.002])
            fallen_m = -np.diff(motions[0].lift.at(times_s), axis=1)[:, 0]
            assert fallen_m.min() > 0
            strength = np.log([strike.strength for strike in strikes])
            strengths.extend(strength - strength.mean())
            speeds.extend(np.log(fallen_m) - np.log(fallen_m).mean())
    assert np.corrcoef(strengths, speeds)[0, 1] > 0.6


def test_most_strikes_are_seen(plans):
    seen = []
    for index, (plan, _) in enumerate(plans):
        view = draw_camera(np.random.default_rng(index), plan.scene, SPEC.width, SPEC.height)
        for strike in plan.strikes:
            x, y = view.project(strike.spot.point_m)
            seen.append(0 <= x < SPEC.width and 0 <= y < SPEC.height)
    assert 0.8 < np.mean(seen) < 1.0


def test_the_projection_and_the_planes_agree(plans):
    plan = plans[0][0]
    view = draw_camera(np.random.default_rng(0), plan.scene, SPEC.width, SPEC.height)
    points, distance = view.on_plane(SPEC.height, SPEC.width, 2, 0.0)
    pixels = view.project(points.astype(float))
    y, x = np.mgrid[: SPEC.height, : SPEC.width]
    hit = distance < 20
    assert hit.mean() > 0.2
    assert np.abs(pixels[hit] - np.stack([x, y], axis=-1)[hit]).max() < 0.05


def test_something_moves_before_each_strike_and_the_sticks_are_drawn():
    plan, _ = planned(3)
    frames = render_picture(plan, SPEC, np.random.default_rng(0)).astype(np.int16)
    assert frames.shape == (SPEC.n_frames, 3, SPEC.height, SPEC.width)
    change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    busy = [int(strike.picture_time_s * SPEC.frame_rate_hz) for strike in plan.strikes]
    assert max(change[max(0, i - 4) : i + 1].max() for i in busy) > 1.2 * np.median(change)


def reacting(reaction, dwell_s=None):
    """The reactions to a single strong strike that is seen, its time, and where it is in the picture."""
    for plan, _ in map(planned, range(1200)):
        strike = plan.strikes[0]
        view = draw_camera(np.random.default_rng(0), plan.scene, SPEC.width, SPEC.height)
        x, y = view.project(strike.spot.point_m)
        is_strong = strike.strength > 0.5 and strike.action == "hit" and plan.scene.span_m < 0.6
        is_inside = 20 < x < SPEC.width - 20 and 20 < y < SPEC.height - 20
        if strike.reaction == reaction and is_strong and is_inside:
            strike = strike if dwell_s is None else replace(strike, dwell_s=dwell_s)
            one = replace(plan, strikes=(strike,))
            return Reactions(one, view, 1.0, np.random.default_rng(0)), strike, (x, y)
    raise AssertionError(reaction)


def picture_of_noise():
    return np.random.default_rng(0).integers(60, 180, (SPEC.height, SPEC.width, 3), np.uint8)


def changed(before, after):
    return np.argwhere((before != after).any(axis=2))[:, ::-1]


def test_what_is_pushed_rocks_slides_and_then_stays():
    reactions, strike, _ = reacting("rigid-motion")
    assert reactions.place(strike.thing, strike.picture_time_s) == ((0.0, 0.0), 0.0)
    turns = [abs(reactions.place(strike.thing, strike.picture_time_s + later_s)[1]) for later_s in (0.03, 0.05, 0.07)]
    assert max(turns) > 0.005
    settled = [reactions.place(strike.thing, strike.picture_time_s + later_s) for later_s in (1.5, 3.0)]
    assert [turn for _, turn in settled] == pytest.approx([0, 0], abs=1e-4)
    assert settled[0][0] == pytest.approx(settled[1][0], abs=1e-3)
    assert not reactions.is_moving(strike.picture_time_s + 2)


def test_what_is_dented_gives_way_around_the_spot_alone():
    reactions, strike, place = reacting("deform")
    before, after = picture_of_noise(), picture_of_noise()
    reactions.bend(after, strike.picture_time_s)
    assert len(changed(before, after)) == 0
    reactions.bend(after, strike.picture_time_s + 0.02)
    moved = changed(before, after)
    assert len(moved) > 4
    assert np.linalg.norm(np.median(moved, axis=0) - place) < 10


def test_the_tip_sinks_with_what_it_presses():
    reactions, strike, place = reacting("deform", dwell_s=0.4)
    times_s = strike.picture_time_s + np.array([-0.1, 0.0, 0.2, 0.4, 0.8])
    sunk_px = reactions.sunk_px(strike.stick, times_s)
    depth_px = np.linalg.norm(sunk_px[2])
    assert depth_px > 0.3
    assert np.linalg.norm(sunk_px, axis=1) == pytest.approx([0, 0, depth_px, depth_px, 0], abs=1e-6)
    assert not reactions.sunk_px(1 - strike.stick, times_s).any()
    y, x = np.mgrid[: SPEC.height, : SPEC.width]
    dot = 255 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 1.2**2))
    picture = np.repeat(dot.round().astype(np.uint8)[..., None], 3, axis=2)
    reactions.bend(picture, times_s[2])
    weight = picture[..., 0] / picture[..., 0].sum()
    moved_px = np.array([(weight * x).sum(), (weight * y).sum()]) - place
    assert 0.5 * depth_px**2 < moved_px @ sunk_px[2] < 1.1 * depth_px**2


def test_grains_fly_after_the_strike_and_come_to_lie():
    reactions, strike, place = reacting("scatter")
    start_s = strike.picture_time_s
    before, after = picture_of_noise(), picture_of_noise()
    reactions.draw_flying(after, start_s - 0.1, start_s - 0.01)
    assert len(changed(before, after)) == 0
    reactions.draw_flying(after, start_s + 0.02, start_s + 0.03)
    assert np.linalg.norm(np.median(changed(before, after), axis=0) - place) < 15
    lying = picture_of_noise()
    reactions.draw_landed(lying, 0.0, start_s + 2)
    assert len(changed(before, lying)) > 5
    again = picture_of_noise()
    reactions.draw_landed(again, start_s + 2, start_s + 3)
    assert len(changed(before, again)) == 0


def test_water_splashes_and_nothing_comes_to_lie():
    reactions, strike, _ = reacting("splash")
    start_s = strike.picture_time_s
    before, flying, later, lying = (picture_of_noise() for _ in range(4))
    reactions.draw_flying(flying, start_s + 0.05, start_s + 0.06)
    assert len(changed(before, flying)) > 10
    reactions.draw_flying(later, start_s + 3, start_s + 3.01)
    reactions.draw_landed(lying, 0.0, start_s + 3)
    assert len(changed(before, later)) == len(changed(before, lying)) == 0


@pytest.fixture(scope="module")
def pool():
    """A pool that is struck once, seen from near: its layer, itself, the camera and the strike."""
    for plan, motions in map(planned, range(400)):
        strike = plan.strikes[0]
        if strike.material == "water" and plan.scene.span_m < 0.8 and strike.strength > 0.4:
            view = draw_camera(np.random.default_rng(0), plan.scene, SPEC.width, SPEC.height)
            look = draw_look(np.random.default_rng(0), 1.0)
            stage = build_stage(plan.scene, view, look, motions, SPEC.width, SPEC.height)
            layer = next(layer for layer in stage.layers if layer.index == strike.thing)
            return layer, plan.scene.things[strike.thing], view, strike
    raise AssertionError


def test_water_is_never_still_and_keeps_to_its_pool(pool):
    layer, thing, view, _ = pool
    water = Water(layer, thing, view, [], np.random.default_rng(0))
    for before_s, after_s in ((0.0, 0.2), (1.0, 1.2), (3.0, 3.2)):
        before, after = water.at(before_s), water.at(after_s)
        moved = changed(before.colour, after.colour)
        assert len(moved) > 50
        assert (after.through == layer.through).all()
        assert (after.x_px, after.y_px) == (layer.x_px, layer.y_px)
        assert not layer.through[moved[:, 1], moved[:, 0]].any()


def test_rings_run_outwards_from_where_water_is_struck_and_fade(pool):
    layer, thing, view, strike = pool
    calm, struck = (Water(layer, thing, view, strikes, np.random.default_rng(0)) for strikes in ([], [strike]))
    x, y = view.project(strike.spot.point_m) - [layer.x_px, layer.y_px]
    distances_px = []
    for later_s in (-0.1, 0.1, 0.3, 1.3):
        time_s = strike.picture_time_s + later_s
        moved = changed(calm.at(time_s).colour, struck.at(time_s).colour)
        distances_px.append(np.linalg.norm(moved - [x, y], axis=1).mean() if len(moved) else 0.0)
    assert distances_px[0] == distances_px[3] == 0
    assert 0 < distances_px[1] < distances_px[2]


def test_a_track_passes_its_knots_and_falls_ever_faster():
    track = Track()
    for time_s, value, power in ((0.0, 1.0, 0.0), (1.0, 0.0, 2.0), (2.0, 3.0, 0.0), (3.0, 4.0, -2.0)):
        track.to(time_s, value, power)
    assert track.at(np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 9.0])) == pytest.approx([1, 1, 0, 3, 4, 4])
    assert track.at(np.array([0.5, 1.5, 2.5])) == pytest.approx([0.75, 1.5, 3.75])


@pytest.mark.parametrize("material", sorted(MATERIALS))
def test_every_material_has_a_texture_and_drawn_shapes(material):
    image = texture(np.random.default_rng(0), material, 64)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 1
    assert set(MATERIALS[material].shapes) <= set(SIZES_M)
    assert set(MATERIALS[material].shapes) - {"ground", "wall"} <= set(_DRAWERS)
