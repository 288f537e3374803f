"""Renderer of a plan's sound: each strike separately, then room, microphone and background noise."""

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft

from synthetic.acoustics import background, room_response, transfer
from synthetic.grains import bubbles, burst, resonate, rustle
from synthetic.materials import MATERIALS, Material
from synthetic.modes import Modes, draw_modes, ring, stick_modes
from synthetic.plan import Plan, Strike
from synthetic.scene import Thing, log_uniform
from synthetic.spec import SAMPLE_RATE_HZ, SyntheticSpec

STRENGTH_EXPONENT = 1.3
HERTZ_EXPONENT = -0.2  # the contact time is proportional to speed ** HERTZ_EXPONENT
SHORTEST_DWELL_S = 0.03
DWELL_DAMPING_PER_S = (4.0, 30.0)  # added by a stick that stays on the thing it hit
EARLY_DB, EARLY_S = (0.0, 15.0), (0.002, 0.008)
"""By how much a hit is louder at first, and the time constant with which this goes: modes that die within milliseconds.
With this, rendered hits fall within 10 and 20 ms about as far as recorded ones."""
_LEVEL_BLOCK = 441  # 10 ms
_NOISE_BLOCK = 1323  # 30 ms, so that a short click does not raise the level of the background


@dataclass(frozen=True, eq=False)
class RenderedSound:
    """The sound of a clip.

    Args:
        wave: Sound as recorded (2, N), float32, magnitude below 1.
        clean: Strikes alone, with room and microphone, at the same level (2, N), float32.
    """

    wave: np.ndarray
    clean: np.ndarray


@dataclass(frozen=True, eq=False)
class Voice:
    """Sound parameters of one thing.

    Args:
        material: Its material.
        is_water: Whether strikes leave bubbles.
        modes: Its modes.
        stick: Modes of the stick that hits it.
        contact_s: Contact time of the strongest hit.
        gains: Levels of "ring", "thud", "grain" and "stick", as amplitude factors.
        thud_hz: Lower and upper edge of the thud.
        thud_decay_s: Time constant of the thud.
        grain_spread_s: Time constant with which the grains thin out.
        roughness_m: Distance between the bumps that a scratch meets.
    """

    material: Material
    is_water: bool
    modes: Modes
    stick: Modes
    contact_s: float
    gains: dict[str, float]
    thud_hz: tuple[float, float]
    thud_decay_s: float
    grain_spread_s: float
    roughness_m: float


def render_sound(plan: Plan, spec: SyntheticSpec, rng: np.random.Generator) -> RenderedSound:
    """Render the sound of a plan.

    Args:
        plan: Events of the clip.
        spec: Form of the clip.
        rng: Random generator.

    Returns:
        The sound.
    """
    voices = [draw_voice(np.random.default_rng(thing.seed), thing) for thing in plan.scene.things]
    dry = np.zeros(spec.n_samples, np.float32)
    for strike in plan.strikes:
        wave = strike_sound(voices[strike.thing], strike, rng)
        level = 10 ** (voices[strike.thing].material.level_db / 20) * strike.strength**STRENGTH_EXPONENT
        _add(dry, level * wave, strike.time_s)
    distance_m = plan.scene.span_m * plan.scene.distance_spans
    response = room_response(rng, plan.strikes[0].material, distance_m)
    clean = transfer(dry, response, rng)
    loudest = math.sqrt(np.max(np.mean(_blocks(clean.mean(axis=0), _NOISE_BLOCK) ** 2, axis=1)))
    below_db = log_uniform(rng, (20, 80))
    noise = _handling(plan, spec, rng) * loudest * 10 ** (-rng.uniform(28, 60) / 20)
    wave = clean + background(rng, spec.n_samples) * loudest * 10 ** (-below_db / 20) + noise
    gain = 10 ** (-rng.uniform(0.5, 14) / 20) / np.abs(wave).max()
    return RenderedSound((gain * wave).astype(np.float32), (gain * clean).astype(np.float32))


def draw_voice(rng: np.random.Generator, thing: Thing) -> Voice:
    """Draw the sound parameters of a thing from its material, shape and size."""
    material = MATERIALS[thing.material]
    db = {"ring": material.ring_db, "thud": material.thud_db, "stick": material.stick_db}
    gains = {name: 10 ** (rng.uniform(*limits) / 20) for name, limits in db.items()}
    gains["grain"] = 10 ** (rng.uniform(*material.grain_db) / 20) if material.grain_db else 0.0
    low_hz, high_hz = material.thud_band_hz
    return Voice(
        material=material,
        is_water=thing.material == "water",
        modes=draw_modes(rng, thing),
        stick=stick_modes(rng),
        contact_s=1e-3 * log_uniform(rng, material.contact_ms),
        gains=gains,
        thud_hz=(low_hz * rng.uniform(0.7, 1.4), high_hz * rng.uniform(0.6, 1.3)),
        thud_decay_s=1e-3 * log_uniform(rng, material.thud_decay_ms),
        grain_spread_s=log_uniform(rng, material.grain_spread_s),
        roughness_m=1e-3 * log_uniform(rng, material.roughness_mm),
    )


def strike_sound(voice: Voice, strike: Strike, rng: np.random.Generator) -> np.ndarray:
    """Render the dry sound of a strike from its contact on (N,), float32.

    The RMS of the loudest 10 ms of a hit is 1; a scratch is weaker.
    """
    if strike.action == "scratch":
        return rng.uniform(0.2, 0.6) * _levelled(_scratch(voice, strike, rng))
    contact_s = voice.contact_s * strike.strength**HERTZ_EXPONENT * rng.uniform(0.9, 1.1)
    modes = voice.modes
    if strike.dwell_s > SHORTEST_DWELL_S:
        modes = replace(modes, decay_per_s=modes.decay_per_s + rng.uniform(*DWELL_DAMPING_PER_S))
    parts = {
        "ring": ring(modes, modes.gain_at(strike.spot.eccentricity), contact_s),
        "stick": ring(voice.stick, voice.stick.gain_at(rng.uniform(0, 0.2)), contact_s),
        "thud": _thud(voice, contact_s, rng),
    }
    if voice.gains["grain"]:
        parts["grain"] = _grains(voice, strike, rng)
    mixed = np.zeros(max(map(len, parts.values())), np.float32)
    for name, part in parts.items():
        mixed[: len(part)] += voice.gains[name] * _levelled(part)
    extra, fall_s = 10 ** (rng.uniform(*EARLY_DB) / 20) - 1, log_uniform(rng, EARLY_S)
    mixed *= 1 + extra * np.exp(-np.arange(len(mixed), dtype=np.float32) / (fall_s * SAMPLE_RATE_HZ))
    return _levelled(mixed)


def _thud(voice: Voice, contact_s: float, rng: np.random.Generator) -> np.ndarray:
    """Render band noise that rises during the contact and decays; a longer contact makes it darker."""
    n_samples = int((6 * voice.thud_decay_s + contact_s) * SAMPLE_RATE_HZ) + 64
    time_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    low_hz, high_hz = voice.thud_hz
    high_hz = max(1.5 * low_hz, min(high_hz, 1.5 / contact_s))
    wave = resonate(rng.standard_normal(n_samples), math.sqrt(low_hz * high_hz), 0.6)
    wave += 0.5 * resonate(rng.standard_normal(n_samples), high_hz, 0.8)
    rise = np.minimum(1.0, time_s / contact_s)
    return (wave * rise * np.exp(-time_s / voice.thud_decay_s)).astype(np.float32)


def _grains(voice: Voice, strike: Strike, rng: np.random.Generator) -> np.ndarray:
    if voice.is_water:
        splash = burst(rng, voice.material, strike.strength, voice.grain_spread_s, 0.0)
        tones = bubbles(rng, strike.strength)
        mixed = np.zeros(max(len(splash), len(tones)), np.float32)
        mixed[: len(splash)] += rng.uniform(0.3, 1) * _levelled(splash)
        mixed[: len(tones)] += rng.uniform(0.3, 1) * _levelled(tones)
        return mixed
    first = burst(rng, voice.material, strike.strength, voice.grain_spread_s * (0.5 + strike.strength), 0.0)
    if strike.reaction != "scatter":
        return first
    later = 0.3 * _levelled(burst(rng, voice.material, 0.4 * strike.strength, 0.12, rng.uniform(0.12, 0.25)))
    mixed = np.zeros(max(len(first), len(later)), np.float32)
    mixed[: len(first)] += _levelled(first)
    mixed[: len(later)] += later
    return mixed


def scratch_speed(phase: np.ndarray, n_strokes: int) -> np.ndarray:
    """Return the speed of a scratching tip, 0 to 1, at a share of its duration, 0 to 1: minimum-jerk strokes."""
    within = (phase * n_strokes) % 1.0
    return 16 * within**2 * (1 - within) ** 2


def _scratch(voice: Voice, strike: Strike, rng: np.random.Generator) -> np.ndarray:
    """Render the noise of the bumps that the tip meets, higher at higher speed, partly through the thing's modes."""
    n_samples = int(strike.duration_s * SAMPLE_RATE_HZ)
    speed = scratch_speed(np.arange(n_samples) / n_samples, strike.n_strokes)
    bump_hz = float(np.clip(0.35 * (0.3 + strike.strength) / voice.roughness_m, 250, 9000))
    bumps = rng.standard_normal(n_samples) * (rng.random(n_samples) < 0.15) * rng.standard_exponential(n_samples)
    slow, fast = resonate(bumps, 0.5 * bump_hz, 0.7), resonate(bumps, 1.4 * bump_hz, 0.7)
    force = (speed * (1 - speed) * slow / (slow.std() + 1e-9) + speed**1.5 * fast / (fast.std() + 1e-9)).astype(
        np.float32
    )
    force *= 1 + 0.4 * resonate(rng.standard_normal(n_samples), 12.0, 0.7).astype(np.float32) * 30
    body = ring(voice.modes, voice.modes.gain_at(strike.spot.eccentricity), 2e-4)[: SAMPLE_RATE_HZ // 2]
    length = 1 << (n_samples + len(body) - 1).bit_length()
    rung = scipy.fft.irfft(scipy.fft.rfft(force, length) * scipy.fft.rfft(body, length), length)[
        : n_samples + len(body)
    ]
    rubbing = voice.gains["thud"] / max(voice.gains["thud"], voice.gains["grain"])
    mixed = (rubbing * voice.gains["ring"] * rng.uniform(0.3, 1.2) * _even(rung)).astype(np.float32)
    mixed[:n_samples] += rubbing * _even(force)
    if voice.gains["grain"]:
        mixed[:n_samples] += voice.gains["grain"] * _even(rustle(rng, voice.material, speed))
    return mixed


def _even(wave: np.ndarray) -> np.ndarray:
    """Scale a steady sound to an RMS of 1."""
    return wave / (float(np.sqrt(np.mean(wave**2))) + 1e-12)


def _handling(plan: Plan, spec: SyntheticSpec, rng: np.random.Generator) -> np.ndarray:
    """Render the rustle of sleeve and hand during swings (N,), float32, about 1 at its loudest."""
    noise = np.zeros(spec.n_samples, np.float32)
    for time_s in [event.picture_time_s for event in plan.strikes] + [lure.picture_time_s for lure in plan.lures]:
        if rng.random() < 0.5:
            n_samples = int(rng.uniform(0.08, 0.4) * SAMPLE_RATE_HZ)
            window = np.sin(math.pi * np.arange(n_samples) / n_samples) ** 2
            sleeve = resonate(rng.standard_normal(n_samples), log_uniform(rng, (300, 3000)), 0.7) * window
            start_s = time_s + plan.offset_s - n_samples / SAMPLE_RATE_HZ
            _add(noise, rng.uniform(0.2, 1) * _levelled(sleeve.astype(np.float32)), max(0.0, start_s))
    return noise


def _levelled(wave: np.ndarray) -> np.ndarray:
    """Scale a sound to an RMS of 1 in its loudest 10 ms; silence stays silent."""
    loudest = float(np.sqrt(np.max(np.mean(_blocks(wave, _LEVEL_BLOCK) ** 2, axis=1))))
    return wave / loudest if loudest > 0 else wave


def _blocks(wave: np.ndarray, n_samples: int) -> np.ndarray:
    """Split a sound (N,) into rows of `n_samples`, padded with zeros at the end."""
    n_blocks = -(-len(wave) // n_samples)
    padded = np.zeros(n_blocks * n_samples, np.float32)
    padded[: len(wave)] = wave
    return padded.reshape(n_blocks, n_samples)


def _add(target: np.ndarray, wave: np.ndarray, start_s: float) -> None:
    """Add a sound to a longer one in place, from a time on; samples beyond its end are dropped."""
    start = round(start_s * SAMPLE_RATE_HZ)
    part = wave[: len(target) - start]
    target[start : start + len(part)] += part
