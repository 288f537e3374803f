"""Modes, grains and rooms against closed forms."""

import numpy as np
import pytest

from data.greatest_hits import ACTIONS, MATERIALS, REACTIONS
from synthetic.acoustics import background, room_response, transfer
from synthetic.grains import bubbles, burst, resonate, rustle
from synthetic.materials import MATERIALS as CONSTANTS
from synthetic.modes import Modes, draw_modes, half_sine_spectrum, ring
from synthetic.plan import Strike
from synthetic.scene import SIZES_M, Spot, Thing, log_uniform, pick
from synthetic.sound import draw_voice, scratch_speed, strike_sound
from synthetic.spec import SAMPLE_RATE_HZ


def modes_of(frequency_hz, decay_per_s):
    n = len(frequency_hz)
    return Modes(np.array(frequency_hz), np.array(decay_per_s), np.ones(n), np.zeros(n), np.zeros(n))


def test_modes_ring_as_damped_sinusoids():
    frequency_hz, decay_per_s, contact_s = np.array([440.0, 3100.0]), np.array([9.0, 40.0]), 1e-4
    wave = ring(modes_of(frequency_hz, decay_per_s), np.array([1.0, 0.5]), contact_s)
    time_s = np.arange(len(wave))[:, None] / SAMPLE_RATE_HZ
    gain = np.array([1.0, 0.5]) * half_sine_spectrum(frequency_hz * contact_s)
    expected = (gain * np.exp(-decay_per_s * time_s) * np.sin(2 * np.pi * frequency_hz * time_s)).sum(axis=1)
    rise = max(2, round(contact_s * SAMPLE_RATE_HZ))
    assert wave[rise:] == pytest.approx(expected[rise:], abs=1e-5)
    assert len(wave) / SAMPLE_RATE_HZ == pytest.approx(np.log(1e3) / 9, abs=0.01)


def test_the_spectrum_of_a_contact_is_that_of_a_half_sine():
    n = 400
    pulse = np.sin(np.pi * (np.arange(n) + 0.5) / n)
    cycles = np.array([0.0, 0.3, 0.5, 1.1, 2.2])
    spectrum = np.abs(np.exp(-2j * np.pi * cycles[:, None] * (np.arange(n) + 0.5) / n) @ pulse) / pulse.sum()
    assert half_sine_spectrum(cycles) == pytest.approx(spectrum, abs=1e-4)


def test_long_contacts_are_darker():
    thing = Thing("wood", "slab", (0.3, 0.2, 0.03), (0.0, 0.0, 0.0), 0.0, 0)
    modes = draw_modes(np.random.default_rng(0), thing)
    short, long = (centroid_hz(ring(modes, modes.gain, contact_s)) for contact_s in (2e-4, 2e-3))
    assert long < 0.7 * short


def test_metal_rings_longer_than_wood_and_wood_longer_than_cloth():
    median_s = {}
    for material, shape in (("metal", "slab"), ("wood", "slab"), ("cloth", "sheet")):
        decays = []
        for seed in range(15):
            thing = Thing(material, shape, (0.3, 0.2, 0.03), (0.0, 0.0, 0.0), 0.0, seed)
            modes = draw_modes(np.random.default_rng(seed), thing)
            decays.append(np.log(1e3) / np.median(modes.decay_per_s[:5]))
        median_s[material] = np.median(decays)
    assert median_s["metal"] > 2 * median_s["wood"] > 3 * median_s["cloth"]


def test_a_resonance_passes_its_frequency_and_weakens_others():
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    gains = [resonate(np.sin(2 * np.pi * f * time_s), 1000.0, 5.0)[20_000:].std() * 2**0.5 for f in (500, 1000, 2000)]
    assert gains[1] == pytest.approx(1, abs=0.02)
    # |H| of a band-pass of second order: 1 / sqrt(1 + Q² (f/f0 - f0/f)²)
    assert [gains[0], gains[2]] == pytest.approx([1 / np.sqrt(1 + 25 * 1.5**2)] * 2, rel=0.15)


def test_grains_thin_out_and_are_more_for_stronger_hits():
    rng = np.random.default_rng(0)
    weak, strong = (
        np.mean([np.square(burst(rng, CONSTANTS["gravel"], s, 0.1, 0.0)).sum() for _ in range(20)]) for s in (0.2, 1)
    )
    assert strong > 2 * weak
    wave = burst(rng, CONSTANTS["gravel"], 1.0, 0.1, 0.0)
    assert np.square(wave[:4410]).sum() > 3 * np.square(wave[8820:]).sum()


def test_a_rustle_follows_the_speed():
    speed = np.concatenate([np.ones(20_000), np.zeros(20_000)])
    wave = rustle(np.random.default_rng(0), CONSTANTS["leaf"], speed)
    assert len(wave) == len(speed)
    assert np.square(wave[20_500:]).sum() < 1e-3 * np.square(wave).sum()


def hits_of(material, n_things=25):
    """Dry sounds of hits of medium strength on things of a material."""
    rng = np.random.default_rng(0)
    spot = Spot(np.zeros(3), np.array([0.0, 0.0, 1.0]), 0.5)
    for seed in range(n_things):
        shape = pick(rng, CONSTANTS[material].shapes)
        size_m = tuple(log_uniform(rng, limits) for limits in SIZES_M[shape])
        voice = draw_voice(rng, Thing(material, shape, size_m, (0.0, 0.0, 0.0), 0.0, seed))
        strike = Strike(0.0, 0.0, 0.5, material, "hit", "static", 0.0, False, 0.0, 0, 0, spot)
        yield strike_sound(voice, strike, rng)


def test_materials_differ_in_brightness():
    median_hz = {
        material: np.median([centroid_hz(wave) for wave in hits_of(material)])
        for material in ("glass", "wood", "drywall", "carpet")
    }
    assert median_hz["glass"] > 1.5 * median_hz["wood"]
    assert median_hz["wood"] > 2 * max(median_hz["drywall"], median_hz["carpet"])


def test_some_metal_things_ring_for_seconds_and_others_do_not():
    rings_s = [
        np.flatnonzero(np.abs(wave) > 0.01 * np.abs(wave).max())[-1] / SAMPLE_RATE_HZ for wave in hits_of("metal")
    ]
    assert np.max(rings_s) > 1.2
    assert np.min(rings_s) < 0.4


def test_loose_materials_crackle():
    """The level of a burst of grains leaps up and down, that of a thud only falls."""
    rises_db = {}
    for material in ("gravel", "leaf", "plastic-bag", "cloth", "wood"):
        rises = []
        for wave in hits_of(material):
            part = wave[: 22_050 // 441 * 441]
            level = 10 * np.log10(np.square(part[: len(part) // 220 * 220]).reshape(-1, 220).mean(axis=1) + 1e-4)
            rises.append(np.maximum(np.diff(level), 0).sum())
        rises_db[material] = np.median(rises)
    assert min(rises_db[name] for name in ("gravel", "leaf", "plastic-bag")) > 3 * max(
        rises_db["cloth"], rises_db["wood"]
    )


def test_bubbles_sound_as_minnaert_says():
    wave = np.concatenate([bubbles(np.random.default_rng(seed), 1.0) for seed in range(10)])
    assert 400 < centroid_hz(wave) < 6000


def test_the_room_keeps_the_direct_sound_at_its_time_and_decays():
    for seed in range(10):
        response = room_response(np.random.default_rng(seed), "wood", 0.6)
        assert response.shape[0] == 2
        first = [np.flatnonzero(np.abs(channel) > 0.5)[0] for channel in response]
        assert min(first) == 0
        assert max(first) < 0.0006 * SAMPLE_RATE_HZ
        half = response.shape[1] // 2
        assert np.square(response[:, half:]).sum() < 0.2 * np.square(response[:, :half]).sum()


@pytest.mark.parametrize("distance_m", [0.4, 1.5, 6.0])
def test_reflections_come_after_the_direct_sound_and_not_at_the_end(distance_m):
    for seed in range(60):
        response = np.abs(room_response(np.random.default_rng(seed), "wood", distance_m))
        assert response[:, -response.shape[1] // 4 :].max() < 0.15 * response.max()


def test_room_and_microphone_leave_no_echo_of_a_click_at_their_end():
    for seed in range(10):
        dry = np.zeros(20_000, np.float32)
        dry[5000] = 1
        room = np.eye(1, 500, dtype=np.float32).repeat(2, axis=0)
        wet = transfer(dry, room, np.random.default_rng(seed))
        assert np.square(wet[:, 6500:]).sum() < 1e-6 * np.square(wet).sum()


def test_transfer_is_causal_and_keeps_time():
    dry = np.zeros(30_000, np.float32)
    dry[10_000] = 1
    wet = transfer(dry, np.eye(1, 500, dtype=np.float32).repeat(2, axis=0), np.random.default_rng(0))
    assert wet.shape == (2, 30_000)
    assert np.abs(wet[:, :10_000]).max() < 0.02 * np.abs(wet).max()
    assert abs(int(np.abs(wet[0]).argmax()) - 10_000) < 20


def test_the_background_is_of_even_level():
    noise = background(np.random.default_rng(1), 400_000)
    assert np.sqrt(np.square(noise).mean()) == pytest.approx(1, abs=0.05)
    assert not np.array_equal(noise[0], noise[1])


def test_a_scratch_stops_between_its_strokes():
    speed = scratch_speed(np.array([0.0, 0.25, 0.5, 0.75]), 2)
    assert speed == pytest.approx([0, 1, 0, 1])


def test_the_vocabulary_is_that_of_greatest_hits():
    assert set(CONSTANTS) == MATERIALS
    assert {"hit", "scratch"} == ACTIONS
    assert all(set(material.reactions) <= REACTIONS for material in CONSTANTS.values())


def centroid_hz(wave):
    power = np.square(np.abs(np.fft.rfft(wave)))
    return float((np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE_HZ) * power).sum() / power.sum())
