"""Edits of hits: what they change, and that all else stays, bit for bit."""

import math

import numpy as np
import pytest
import torch

from common.errors import InputError
from hits.edit import HitEnvelope
from hits.grid import Grid
from hits.level import level_of_hits
from media.envelope import FINE_RATE_HZ, Envelope, fine_envelope
from media.reading import read_sound
from tests.hits.test_level import hits

N_SLOTS = 500
ROWS = [(0.5, 0.4, 0.04), (1.2, 0.1, 0.15), (1.5, 0.3, 0.05), (3.0, 0.2, 0.03)]


def level(*rows, rate_hz=FINE_RATE_HZ, n_slots=N_SLOTS):
    return Envelope(level_of_hits(hits(*rows), n_slots, rate_hz), rate_hz)


def noisy(envelope, amount=0.002):
    """The same hits over a background that ripples."""
    ripple = amount * (1 + 0.3 * torch.rand(envelope.rms.shape, generator=torch.Generator().manual_seed(1)))
    return Envelope((envelope.rms.square() + ripple.square()).sqrt(), envelope.rate_hz)


def changed_s(before, after):
    """Start and end of what two envelopes differ in, in seconds; all else is equal bit for bit."""
    places = np.flatnonzero((before.rms != after.rms).numpy())
    return places.min() / before.rate_hz, (places.max() + 1) / before.rate_hz


EDITS = {
    "move": lambda hits: hits.move(3.0, 3.15),
    "scale": lambda hits: hits.scale(3.0, 2.0),
    "level": lambda hits: hits.set_level(3.0, 0.2),
    "decay": lambda hits: hits.set_decay(3.0, 0.03),
    "mute": lambda hits: hits.mute(3.0),
    "delete": lambda hits: hits.delete(3.0),
    "add": lambda hits: hits.add(3.1, 0.2, 0.05),
    "quantise": lambda hits: hits.quantise(Grid(times_s=(2.9,))),
}


@pytest.mark.parametrize("rate_hz", [125.0, 344.53125])
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_changes_the_envelope_only_near_its_hit(name, rate_hz):
    envelope = noisy(level(*ROWS, rate_hz=rate_hz, n_slots=round(4 * rate_hz)))
    first_s, last_s = changed_s(envelope, EDITS[name](HitEnvelope.of(envelope)).envelope)
    assert 2.8 < first_s < last_s < 3.9


@pytest.mark.parametrize("envelope", [level(*ROWS), noisy(level(*ROWS)), Envelope(torch.full((300,), 0.1), 125.0)])
def test_without_an_edit_or_after_edits_that_cancel_the_envelope_is_unchanged(envelope):
    read = HitEnvelope.of(envelope)
    assert torch.equal(read.envelope.rms, envelope.rms)
    assert torch.equal(read.scale(None, 1.0).envelope.rms, envelope.rms)
    added = read.add(2.0, 0.3)
    assert not torch.equal(added.envelope.rms, envelope.rms)
    assert torch.equal(added.delete(2.0).envelope.rms, envelope.rms)


def test_a_moved_hit_keeps_the_shape_that_it_has():
    shape = torch.tensor([0.02, 0.1, 0.3, 0.25, 0.28, 0.1, 0.05, 0.02, 0.01, 0.005])  # no exponential
    envelope = Envelope(torch.zeros(N_SLOTS), FINE_RATE_HZ)
    envelope.rms[100:110] = shape
    read = HitEnvelope.of(envelope)
    hit = read.hits[0]
    moved = read.move(hit.time_s, hit.time_s + 50 / FINE_RATE_HZ).envelope.rms
    torch.testing.assert_close(moved[150:160], shape, rtol=1e-5, atol=0)
    assert moved[:150].max() < 0.001
    assert moved[160:].max() == 0
    by_half = read.move(hit.time_s, hit.time_s + 50.5 / FINE_RATE_HZ).envelope.rms.square()
    torch.testing.assert_close(by_half.sum(), shape.square().sum(), rtol=1e-4, atol=0)
    centre = (torch.arange(N_SLOTS) * by_half).sum() / by_half.sum()
    expected = 150.5 + (torch.arange(10) * shape.square()).sum() / shape.square().sum()
    assert float(centre) == pytest.approx(float(expected), abs=0.01)


def test_a_hit_that_is_taken_from_the_tail_of_another_leaves_that_tail():
    without = level(*[row for row in ROWS if row[0] != 1.5]).rms
    deleted = HitEnvelope.of(level(*ROWS)).delete(1.5).envelope.rms
    torch.testing.assert_close(deleted, without, atol=0.015 * 0.3, rtol=0.05)
    first_gone = HitEnvelope.of(level(*ROWS)).delete(1.2).envelope.rms
    torch.testing.assert_close(first_gone, level(ROWS[0], *ROWS[2:]).rms, atol=0.01, rtol=0.1)


def test_energies_of_all_shares_and_of_what_is_sustained_are_the_envelope():
    rubbing = torch.where((torch.arange(N_SLOTS) > 430), 0.05, 0.0)
    envelope = noisy(Envelope((level(*ROWS).rms.square() + rubbing.square()).sqrt(), FINE_RATE_HZ))
    read = HitEnvelope.of(envelope)
    silent = read
    for hit in read.hits:
        silent = silent.mute(hit.time_s)
    torch.testing.assert_close(silent.envelope.rms, read.sustained.rms, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(read.sustained.rms[435:], rubbing[435:], rtol=0.05, atol=0)
    assert len(silent.as_hits) == 0
    assert [hit.level for hit in silent.hits] == [0.0] * len(read.hits)


def test_gains_are_exact():
    envelope = level(*ROWS)
    louder = HitEnvelope.of(envelope).scale(0.5, 10 ** (6 / 20)).envelope.rms
    ratio_db = 20 * torch.log10(louder[62:66] / envelope.rms[62:66])
    assert ratio_db.tolist() == pytest.approx([6.0] * 4, abs=1e-3)
    everything = HitEnvelope.of(envelope).scale(None, 0.5)
    torch.testing.assert_close(everything.envelope.rms, envelope.rms / 2, atol=1e-3, rtol=0.02)


def test_a_level_and_a_decay_are_what_was_given():
    read = HitEnvelope.of(level(*ROWS))
    assert read.mute(3.0).set_level(3.0, 0.2).named(3.0).level == 0.2
    louder = read.set_level(3.0, 2 * read.named(3.0).level)
    torch.testing.assert_close(louder.envelope.rms, read.scale(3.0, 2.0).envelope.rms)
    longer = HitEnvelope.of(read.set_decay(3.0, 0.2).envelope).named(3.0)
    assert longer.decay_s == pytest.approx(0.2, rel=0.1)
    assert longer.level == pytest.approx(read.named(3.0).level, rel=0.05)
    same = read.named(3.0)
    assert read.set_level(3.0, same.level).set_decay(3.0, same.decay_s) is read


def test_edits_apply_in_their_order():
    read = HitEnvelope.of(level(*ROWS))
    assert read.move(3.0, 3.5).scale(3.5, 2.0).hits[-1].level == pytest.approx(2 * read.hits[-1].level)
    with pytest.raises(InputError, match=r"3\.5"):
        read.scale(3.5, 2.0).move(3.0, 3.5)
    assert [hit.time_s for hit in read.add(0.2, 0.1).add(3.5, 0.1).hits] == sorted(
        [0.2, 3.5, *(hit.time_s for hit in read.hits)]
    )


def test_a_hit_is_named_by_a_time_within_50_ms():
    read = HitEnvelope.of(level(*ROWS))
    time_s = read.hits[0].time_s
    for near_s in (time_s - 0.049, time_s + 0.049):
        assert read.named(near_s) is read.hits[0]
    with pytest.raises(InputError) as refused:
        read.named(time_s + 0.06)
    for hit in read.hits[:3]:
        assert f"{hit.time_s:.3f}" in str(refused.value)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda hits: hits.move(0.5, 4.5), "4.5"),
        (lambda hits: hits.move(0.5, -0.1), "-0.1"),
        (lambda hits: hits.shift(1.5), "4.5"),
        (lambda hits: hits.scale(0.5, -1.0), "-1.0"),
        (lambda hits: hits.scale(0.5, math.nan), "nan"),
        (lambda hits: hits.set_level(0.5, -1.0), "-1.0"),
        (lambda hits: hits.set_decay(0.5, 5.0), "5.0"),
        (lambda hits: hits.add(9.0, 0.1), "9.0"),
        (lambda hits: hits.add(1.0, -0.1), "-0.1"),
        (lambda hits: hits.add(1.0, 0.1, 5.0), "5.0"),
        (lambda hits: hits.quantise(Grid(times_s=(7.0,))), "7.0"),
    ],
)
def test_impossible_edits_are_refused(edit, named):
    with pytest.raises(InputError) as refused:
        edit(HitEnvelope.of(level(*ROWS)))
    assert named in str(refused.value)


def test_an_added_hit_has_the_level_of_its_model():
    silence = Envelope(torch.zeros(N_SLOTS), FINE_RATE_HZ)
    added = HitEnvelope.of(silence).add(1.0, 0.2, 0.1)
    torch.testing.assert_close(added.envelope.rms, level_of_hits(hits((1.0, 0.2, 0.1)), N_SLOTS))
    assert HitEnvelope.of(level(*ROWS)).add(2.0, 0.1).named(2.0).decay_s == pytest.approx(0.045, rel=0.25)


def test_hits_alone_make_an_envelope_that_edits_change_exactly():
    known = hits(*ROWS)
    read = HitEnvelope.of_hits(known, duration_s=4.0)
    torch.testing.assert_close(read.envelope.rms, level(*ROWS).rms)
    moved = read.move(1.2, 2.2).envelope.rms
    torch.testing.assert_close(moved, level(ROWS[0], ROWS[2], (2.2, 0.1, 0.15), ROWS[3]).rms, atol=1e-5, rtol=1e-4)
    assert len(HitEnvelope.of_hits(known, duration_s=2.0).hits) == 3
    assert HitEnvelope.of_hits(known, duration_s=4.0).scale(None, 0.0).envelope.rms.max() < 1e-6


@pytest.mark.real
def test_edits_of_real_recordings_stay_near_their_hits(shared):
    clips = sorted((shared / "real" / "greatest_hits_clips").glob("*.mp4"))
    for path in clips:
        envelope = fine_envelope(read_sound(path, sample_rate_hz=44_100), 44_100)
        read = HitEnvelope.of(envelope)
        assert torch.equal(read.envelope.rms, envelope.rms)
        loudest = max(read.hits, key=lambda hit: hit.level)
        first_s, last_s = changed_s(envelope, read.delete(loudest.time_s).envelope)
        assert loudest.time_s - 0.1 < first_s < last_s < loudest.time_s + 1.1, path.name
