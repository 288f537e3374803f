"""Tables of hits: round trips, both forms of CSV, and what they are refused for."""

import numpy as np
import pytest
import torch

from common.errors import InputError
from evaluation.onsets import detect_onsets, onset_f1
from hits.edit import HitEnvelope
from hits.files import open_envelope, read_envelope, read_hits, write_hit_table
from hits.level import level_of_hits
from media.envelope import FINE_RATE_HZ, Envelope, fine_envelope, read_envelope_csv, write_envelope_csv
from media.reading import read_sound
from media.writing import write_sound
from tests.hits.test_edit import ROWS, level, noisy
from tests.hits.test_level import hits
from video2rms.sounding import noise_along

RATE_HZ = 44_100


def round_trip(envelope, folder):
    """The envelope that the table of an envelope's hits makes."""
    write_hit_table(folder / "hits.csv", HitEnvelope.of(envelope))
    return read_envelope(folder / "hits.csv", envelope.duration_s)


def heard_s(envelope):
    """Onsets that the detector of the evaluation finds in noise along an envelope."""
    return detect_onsets(noise_along(envelope, RATE_HZ), RATE_HZ).times_s


def test_an_envelope_of_hits_survives_its_table(tmp_path):
    envelope = level((0.5, 0.4, 0.04), (1.2, 0.1, 0.15), (2.0, 0.3, 0.05), (3.0, 0.2, 0.03))
    again = round_trip(envelope, tmp_path)
    assert len(heard_s(envelope)) == 4
    assert onset_f1(heard_s(envelope), heard_s(again), 0.05).f1 == 1
    assert (again.rms - envelope.rms).abs().max() < 0.08 * envelope.rms.max()
    assert (again.rms - envelope.rms).abs().mean() < 0.001


def test_the_hits_over_a_background_survive_their_table(tmp_path):
    envelope = noisy(level(*ROWS))
    wanted, found = (HitEnvelope.of(each).as_hits for each in (envelope, round_trip(envelope, tmp_path)))
    torch.testing.assert_close(found.times_s, wanted.times_s, atol=0.004, rtol=0)
    torch.testing.assert_close(found.rms, wanted.rms, rtol=0.05, atol=0)


@pytest.mark.real
def test_real_envelopes_survive_their_tables(shared, tmp_path):
    for path in sorted((shared / "real" / "greatest_hits_clips").glob("*.mp4")):
        envelope = fine_envelope(read_sound(path, sample_rate_hz=RATE_HZ), RATE_HZ)
        again = round_trip(envelope, tmp_path)
        assert onset_f1(heard_s(envelope), heard_s(again)).f1 == 1, path.name
        assert (again.rms - envelope.rms).abs().mean() < 0.06 * envelope.rms.max(), path.name


def test_a_table_is_told_from_an_envelope_by_its_header(tmp_path):
    (tmp_path / "hits.csv").write_text("Time_s;Level;Decay_s\n3;0,2;0,03\n1,2;0,1;0,15\n")
    write_envelope_csv(tmp_path / "rms.csv", level(*ROWS))
    expected = level((1.2, 0.1, 0.15), (3.0, 0.2, 0.03)).rms
    torch.testing.assert_close(read_envelope(tmp_path / "hits.csv", 4.0).rms, expected)
    assert read_hits(tmp_path / "rms.csv") is None
    assert torch.equal(read_envelope(tmp_path / "rms.csv").rms, read_envelope_csv(tmp_path / "rms.csv").rms)


def test_a_part_of_a_table_is_that_part_of_its_envelope(tmp_path):
    write_hit_table(tmp_path / "hits.csv", HitEnvelope.of_hits(hits(*ROWS)))
    whole, part = read_envelope(tmp_path / "hits.csv", 4.0), read_envelope(tmp_path / "hits.csv", 2.0, 1.28)
    torch.testing.assert_close(part.rms, whole.rms[160:410], atol=1e-6, rtol=1e-4)
    free = read_envelope(tmp_path / "hits.csv")
    assert free.duration_s == pytest.approx(3.0 + 0.03 * np.log(1000), abs=0.01)
    with pytest.raises(InputError, match="7"):
        read_envelope(tmp_path / "hits.csv", 2.0, 7.0)


def test_muted_hits_stay_in_the_table_and_are_silent(tmp_path):
    write_hit_table(tmp_path / "hits.csv", HitEnvelope.of_hits(hits(*ROWS)).mute(1.5))
    read = open_envelope(str(tmp_path / "hits.csv"), 4.0)
    assert [hit.level > 0 for hit in read.hits] == [True, True, False, True]
    torch.testing.assert_close(read.envelope.rms, level(*[row for row in ROWS if row[0] != 1.5]).rms)


def test_the_level_of_a_sound_is_opened_too(tmp_path):
    sound = noise_along(level(*ROWS), RATE_HZ)
    write_sound(tmp_path / "sound.wav", sound, RATE_HZ)
    read = open_envelope(f"{tmp_path / 'sound.wav'}#from=1")
    assert [hit.time_s for hit in read.hits] == pytest.approx([0.2, 0.5, 2.0], abs=0.01)
    rms = fine_envelope(sound[:, RATE_HZ:], RATE_HZ).rms
    torch.testing.assert_close(read.envelope.rms, rms, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("time_s,level,decay_s\n", "time_s,level,decay_s"),
        ("time_s,level,decay_s\n1,x,0.1\n", "line 2"),
        ("time_s,level,decay_s\n1,0.1\n", "line 2"),
        ("time_s,level,decay_s\n-1,0.1,0.1\n", "-1"),
        ("time_s,level,decay_s\n1,nan,0.1\n", "nan"),
        ("time_s,level,decay_s\n1,0.1,9\n", "9"),
        ("when,what\n1,2\n", "when,what"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, named):
    (tmp_path / "hits.csv").write_text(text)
    with pytest.raises(InputError) as refused:
        read_envelope(tmp_path / "hits.csv")
    assert named in str(refused.value)


def test_an_envelope_without_hits_has_no_table(tmp_path):
    steady = HitEnvelope.of(Envelope(torch.full((200,), 0.1), FINE_RATE_HZ))
    with pytest.raises(InputError, match=r"hits\.csv"):
        write_hit_table(tmp_path / "hits.csv", steady)
    assert not list(tmp_path.iterdir())
    torch.testing.assert_close(steady.add(0.5, 0.2).named(0.5).level, 0.2)
    assert level_of_hits(steady.as_hits, 10).max() == 0
