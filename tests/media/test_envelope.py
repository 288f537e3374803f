"""Envelopes against closed forms, a plain float64 reference, librosa and round trips."""

import math
import time

import librosa
import numpy as np
import pytest
import torch

from common.errors import InputError
from media.envelope import (
    FINE_RATE_HZ,
    Envelope,
    control_envelope,
    fine_envelope,
    instant_envelope,
    low_passed,
    read_envelope_csv,
    sliding_mean,
    write_envelope_csv,
)
from media.reading import read_sound


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32))


def _published(wave: np.ndarray, window: int, smoothing: int) -> np.ndarray:
    """The published control envelope of one channel, by direct convolution in float64."""
    past = np.pad(wave.astype(np.float64) ** 2, (window - 1, 0))
    rms = np.sqrt(np.convolve(past, np.ones(window) / window, mode="valid"))
    padded = np.pad(rms, smoothing // 2)
    return np.convolve(padded, np.ones(smoothing) / smoothing, mode="valid")[: len(wave)]


@pytest.mark.parametrize("n_samples", [1, 2, 7, 50, 51, 100, 999, 2500])
@pytest.mark.parametrize(("window", "smoothing"), [(100, 20), (101, 21), (1, 1), (4000, 1000)])
def test_control_envelope_is_the_published_definition(n_samples, window, smoothing):
    wave = _noise(2, n_samples)
    control = control_envelope(
        instant_envelope(wave, 44_100),
        n_samples=n_samples,
        sample_rate_hz=44_100,
        window_samples=window,
        smoothing_samples=smoothing,
    )
    assert control.dtype == torch.float32
    assert control.shape == (2, n_samples)
    for channel in range(2):
        assert np.abs(control[channel].numpy() - _published(wave[channel].numpy(), window, smoothing)).max() < 1e-5


def test_control_envelope_of_ten_seconds_at_the_published_size():
    # Loud, then silent, then faint: a float32 running sum would leave the loud part's rounding in the faint one.
    n_samples = 441_000
    wave = _noise(n_samples)
    wave[100_000:200_000] = 0
    wave[200_000:] *= 1e-3
    control = control_envelope(instant_envelope(wave[None], 44_100), n_samples=n_samples, sample_rate_hz=44_100)[0]
    energy = np.concatenate([np.zeros(9_999), wave.double().numpy() ** 2])
    for n in [0, 1, 500, 9_999, 10_000, 99_999, 105_000, 150_000, 205_000, 300_000, 439_999, 440_999]:
        near = range(n - 1000, n + 1000)
        rms = [math.sqrt(energy[k : k + 10_000].mean()) if 0 <= k < n_samples else 0.0 for k in near]
        assert abs(float(control[n]) - math.fsum(rms) / 2000) < 1e-5
    assert control[120_000:190_000].max() < 1e-6


@pytest.mark.parametrize("first", [1, 300, 7000])
def test_a_part_of_a_control_envelope_is_that_part(first):
    values = Envelope(torch.rand(90, generator=torch.Generator().manual_seed(0)), 125.0)
    form = {"sample_rate_hz": 16_000, "window_samples": 900, "smoothing_samples": 200}
    whole = control_envelope(values, n_samples=12_000, **form)
    part = control_envelope(values, n_samples=4000, first_sample=first, **form)
    torch.testing.assert_close(part[:-100], whole[first : first + 3900])


def test_control_envelope_of_a_constant_and_of_a_sine():
    n_samples, settled = 44_100, slice(11_000, 43_000)
    constant = torch.full((1, n_samples), 0.25)
    sine = 0.8 * torch.sin(2 * math.pi * 441 * torch.arange(n_samples) / 44_100)[None]
    for wave, rms in ((constant, 0.25), (sine, 0.8 / math.sqrt(2))):
        control = control_envelope(instant_envelope(wave, 44_100), n_samples=n_samples, sample_rate_hz=44_100)
        assert torch.allclose(control[0, settled], torch.tensor(rms), atol=1e-5)
    # Rise of the constant without smoothing: n + 1 of 10,000 samples are filled.
    rise = control_envelope(
        instant_envelope(constant, 44_100), n_samples=n_samples, sample_rate_hz=44_100, smoothing_samples=1
    )
    expected = 0.25 * torch.sqrt((torch.arange(10_000) + 1) / 10_000)
    assert torch.allclose(rise[0, :10_000], expected, atol=1e-6)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("n_samples", "window"), [(1, 1), (1, 5), (4, 9), (10, 4), (10, 3), (10, 10), (100, 7)])
def test_sliding_mean_averages_the_samples_it_states(n_samples, window, causal):
    values = _noise(3, n_samples)
    mean = sliding_mean(values, window, causal=causal)
    first = window - 1 if causal else window // 2
    for n in range(n_samples):
        inside = range(max(n - first, 0), min(n - first + window, n_samples))
        expected = values[:, list(inside)].double().sum(-1) / window
        assert torch.allclose(mean[:, n], expected, atol=1e-12)


def test_sliding_mean_takes_no_longer_for_a_long_window():
    values = _noise(2_000_000)

    def seconds(window: int) -> float:
        start = time.process_time()
        sliding_mean(values, window, causal=True)
        return time.process_time() - start

    assert min(seconds(1_000_000) for _ in range(3)) < 50 * min(seconds(10) for _ in range(3))


@pytest.mark.parametrize("n_samples", [1, 100, 128, 192, 193, 500, 512, 513, 16_000, 16_127, 160_000])
def test_fine_envelope_is_librosas_on_the_same_padded_signal(n_samples):
    wave = _noise(1, n_samples)
    envelope = fine_envelope(wave, 16_000)
    mono = np.pad(wave[0].numpy(), (0, max(0, 128 - n_samples)))
    padded = np.pad(mono, 192, mode="reflect" if n_samples > 192 else "constant")
    expected = librosa.feature.rms(y=padded, frame_length=512, hop_length=128, center=False)[0]
    assert envelope.rate_hz == FINE_RATE_HZ
    assert envelope.rms.shape == (max(1, n_samples // 128),)
    assert np.abs(envelope.rms.numpy() - expected).max() < 1e-5


def test_fine_envelope_of_a_batch_is_that_of_each_sound():
    waves = _noise(2, 3, 2, 44_100)
    batch = fine_envelope(waves, 44_100)
    assert batch.rms.shape == (2, 3, 125)
    assert torch.allclose(batch.rms[1, 2], fine_envelope(waves[1, 2], 44_100).rms, atol=1e-6)


def test_fine_envelope_of_ten_seconds_has_1250_values_in_time():
    # A burst between 4 and 5 s: half of each edge slot's window lies inside.
    n_samples = 441_000
    wave = torch.zeros(2, n_samples)
    wave[:, 4 * 44_100 : 5 * 44_100] = 0.5 * torch.sin(2 * math.pi * 1000 * torch.arange(44_100) / 44_100)
    envelope = fine_envelope(wave, 44_100)
    assert envelope.rms.shape == (1250,)
    assert envelope.duration_s == 10
    loud = torch.nonzero(envelope.rms > 0.25)[:, 0]  # above sqrt(1/2) of the RMS of the sine: more than half the window
    assert loud[0].item() in (500, 501)
    assert loud[-1].item() in (623, 624)
    assert torch.allclose(envelope.rms[510:615], torch.tensor(0.5 / math.sqrt(2)), atol=1e-3)
    assert envelope.rms[:490].max() < 1e-4


def test_a_longer_window_is_the_average_energy_of_a_finer_one():
    # Slots of 441 samples with their exact RMS: over whole slots the causal RMS is the root of the mean energy.
    wave = _noise(44_100)
    slots = wave.reshape(100, 441).square().mean(-1).sqrt()
    settings = {"n_samples": 44_100, "sample_rate_hz": 44_100, "window_samples": 8820, "smoothing_samples": 1}
    from_slots = control_envelope(Envelope(slots, 100.0), **settings)
    exact = control_envelope(instant_envelope(wave[None], 44_100), **settings)[0]
    at_slot_ends = torch.arange(20, 100) * 441 - 1 + 441
    averaged = torch.stack([slots[k - 19 : k + 1].square().mean().sqrt() for k in range(20, 100)])
    assert torch.allclose(exact[at_slot_ends], averaged, atol=1e-6)
    assert torch.allclose(from_slots[at_slot_ends], averaged, atol=2e-3)
    assert (from_slots - exact).abs().max() < 0.01


@pytest.mark.parametrize("rate_hz", [125.0, 100.0, 44_100.0])
def test_control_envelope_is_silent_beyond_the_end(rate_hz):
    envelope = Envelope(torch.ones(int(rate_hz)), rate_hz)  # one second
    control = control_envelope(envelope, n_samples=88_200, sample_rate_hz=44_100, window_samples=1, smoothing_samples=1)
    assert torch.equal(control, (torch.arange(88_200) < 44_100).float())


def test_interpolation_is_linear_in_energy_between_the_middles_of_slots():
    envelope = Envelope(torch.tensor([0.0, 1.0]), 1.0)  # energy 0 at 0.5 s, 1 at 1.5 s
    control = control_envelope(envelope, n_samples=200, sample_rate_hz=100, window_samples=1, smoothing_samples=1)
    time_s = (torch.arange(200) + 0.5) / 100
    assert torch.allclose(control, (time_s - 0.5).clamp(0, 1).sqrt(), atol=1e-6)


@pytest.mark.real
def test_fine_and_instant_envelopes_control_alike_on_a_real_sound(shared):
    wave = read_sound(shared / "real/videos/hitting_bag.mp4", sample_rate_hz=44_100, duration_s=6.0)
    settings = {"n_samples": wave.shape[1], "sample_rate_hz": 44_100}
    mono = wave.mean(0, keepdim=True)
    exact = control_envelope(instant_envelope(mono, 44_100), **settings)[0]
    fine = control_envelope(fine_envelope(wave, 44_100), **settings)
    correlation = {lag: np.corrcoef(exact, torch.roll(fine, lag))[0, 1] for lag in (-441, 0, 441)}
    assert correlation[0] > 0.998
    assert max(correlation, key=correlation.__getitem__) == 0


def test_low_pass_keeps_slow_changes_and_drops_fast_ones_without_delay():
    time_s = (torch.arange(1250) + 0.5) / FINE_RATE_HZ
    slow, fast = (0.2 + 0.1 * torch.sin(2 * math.pi * frequency_hz * time_s) for frequency_hz in (3.0, 30.0))
    torch.testing.assert_close(
        low_passed(Envelope(slow, FINE_RATE_HZ)).rms[125:-125], slow[125:-125], atol=1e-3, rtol=0
    )
    ripple = low_passed(Envelope(fast, FINE_RATE_HZ)).rms[125:-125]
    assert ripple.max() - ripple.min() < 0.2 * 10 ** (-85 / 20)


def test_low_pass_of_a_hit_is_symmetric_and_never_negative():
    hit = torch.zeros(2, 501)
    hit[0, 250] = 1.0
    smooth = low_passed(Envelope(hit, FINE_RATE_HZ)).rms
    torch.testing.assert_close(smooth[0], smooth[0].flip(-1), atol=1e-6, rtol=0)
    assert smooth[0].argmax() == 250
    assert smooth.min() == 0
    assert not smooth[1].any()


@pytest.mark.parametrize("rate_hz", [125.0, 44_100.0, 29.97])
@pytest.mark.parametrize("n_values", [1, 2, 1250])
def test_csv_round_trip(tmp_path, rate_hz, n_values):
    envelope = Envelope(_noise(n_values).abs(), rate_hz)
    write_envelope_csv(tmp_path / "envelope.csv", envelope)
    read = read_envelope_csv(tmp_path / "envelope.csv")
    assert read.rate_hz == pytest.approx(rate_hz, rel=1e-9)
    assert torch.allclose(read.rms, envelope.rms, atol=1e-6)
    assert read.rms.dtype == torch.float32


SPREADSHEETS = {
    "as written": "time_s,rms\n0.5,0\n1.5,1.0\n1.75,0.5\n",
    "spaces": "time_s, rms\n0.5,0\n1.5, 1.0\n1.75,0.5",
    "line ends of Windows, empty lines": "\r\ntime_s,rms\r\n\r\n0.5,0\r\n1.5,1.0\r\n1.75,0.5\r\n,\r\n\r\n",
    "line ends of old Macs": "time_s,rms\r0.5,0\r1.5,1.0\r1.75,0.5\r",
    "quotes": '"time_s","rms"\n"0.5","0"\n"1.5","1.0"\n"1.75","0.5"\n',
    "capitals": "Time_s,RMS\n0.5,0\n1.5,1.0\n1.75,0.5\n",
    "empty columns": "time_s,rms,,\n0.5,0,,\n1.5,1.0,,\n1.75,0.5,,\n",
    "semicolons": "time_s;rms\n0.5;0\n1.5;1.0\n1.75;0.5\n",
    "semicolons and decimal commas": "time_s;rms;\n0,5;0;\n1,5;1,0;\n1,75;0,5;\n;;\n",
    "tabs and decimal commas": "time_s\trms\n0,5\t0\n1,5\t1,0\n1,75\t0,5\n",
    "quoted decimal commas": 'time_s,rms\n"0,5",0\n"1,5","1,0"\n"1,75","0,5"\n',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("text", SPREADSHEETS.values(), ids=SPREADSHEETS)
def test_csv_curve_of_any_spreadsheet_is_read_off_at_125_hz(tmp_path, text, encoding):
    path = tmp_path / "curve.csv"
    path.write_bytes(("\ufeff" * (encoding == "utf-16-be") + text).encode(encoding))
    envelope = read_envelope_csv(path)
    assert envelope.rate_hz == FINE_RATE_HZ
    middles_s = (np.arange(math.ceil(1.75 * 125)) + 0.5) / 125
    assert np.abs(envelope.rms.numpy() - np.interp(middles_s, [0.5, 1.5, 1.75], [0, 1, 0.5])).max() < 1e-6


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "`time_s,rms`"), ("time_s,rms\n", "no line"), ("t,r\n0,1\n", "'t,r'"),
     ("time_s|rms\n0|1\n", r"'time_s\|rms'"), ("0,1\n1,1\n", "'0,1'"),
     ("time_s,rms\n0,nan\n", "line 2, `0,nan`"), ("time_s,rms\n0,0\n\n1,-0.1\n", "line 4, `1,-0.1`"),
     ("time_s,rms\n-1,0\n", "-1,0"), ("time_s,rms\ninf,0\n", "inf,0"), ("time_s,rms\n0,loud\n", "0,loud"),
     ("time_s,rms\n0\n", "line 2, `0`"), ("time_s,rms\n0,0,0\n", "0,0,0"),
     ("time_s,rms\n0,5,0,1\n", "commas"), ("time_s;rms\n0,1\n", "semicolons"), ("time_s;rms\n0,5;-1,5\n", "`0,5;-1,5`"),
     ("time_s,rms\n1,0\n0,0\n", "line 3, `0,0`"), ("time_s,rms\n1,0\n1,0\n", "line 3, `1,0`"),
     ("time_s,rms\n0,1e300\n", "1e\\+300"), ("time_s,rms\n0,1000.5\n", "1000.5"),
     ("time_s,rms\n0,1\n1e6,1\n", "line 3, `1e6,1`"), ("time_s,rms\n1767225600,1\n", "1767225600"),
     ("time_s,rms\n1e-9,0\n3e-9,1\n", "192,000"), ("time_s,rms\n0.000001,0\n0.000003,1\n", "192,000"),
     ('time_s,rms\n0,"1\n' + 9 * "0,1\n", "line 11"), (f"time_s,rms\n0,{'1' * 200_000}\n", "table")],
)  # fmt: skip
def test_csv_mistakes_are_named(tmp_path, text, told):
    path = tmp_path / "envelope.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        read_envelope_csv(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_csv_that_is_no_file(tmp_path, name):
    with pytest.raises(InputError, match=str(tmp_path / name)):
        read_envelope_csv(tmp_path / name)


def test_csv_that_is_no_text(tmp_path):
    (tmp_path / "sound.csv").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"sound\.csv"):
        read_envelope_csv(tmp_path / "sound.csv")


@pytest.mark.parametrize("times_s", [(0.5, 1.0, 86_400.0), tuple((np.arange(2000) + 0.5) / 50)], ids=["curve", "even"])
def test_only_the_part_of_a_csv_that_is_needed_is_made(tmp_path, times_s):
    path = tmp_path / "long.csv"
    rows = [f"{time_s},{i % 7}" for i, time_s in enumerate(times_s)]
    path.write_text("\n".join(["time_s,rms", *rows]))
    whole, part = read_envelope_csv(path), read_envelope_csv(path, duration_s=10.01)
    assert part.rate_hz == whole.rate_hz
    assert 10.01 <= part.duration_s <= 10.01 + 1 / part.rate_hz
    assert torch.equal(part.rms, whole.rms[: part.rms.shape[0]])
    assert read_envelope_csv(path, duration_s=1e9).rms.shape == whole.rms.shape


@pytest.mark.parametrize(
    "call",
    [lambda _: Envelope(torch.zeros(0), 125.0), lambda _: Envelope(torch.tensor(1.0), 125.0),
     lambda _: Envelope(torch.ones(1), 0.0), lambda _: Envelope(torch.ones(1), math.nan),
     lambda _: fine_envelope(torch.zeros(2, 0), 44_100), lambda _: sliding_mean(torch.ones(3), 0, causal=True),
     lambda _: control_envelope(Envelope(torch.ones(1), 1.0), n_samples=0, sample_rate_hz=1),
     lambda _: low_passed(Envelope(torch.ones(9), 10.0), 5.0), lambda _: low_passed(Envelope(torch.ones(9), 10.0), 0.0),
     lambda folder: write_envelope_csv(folder / "e.csv", Envelope(torch.ones(2, 3), 1.0))],
)  # fmt: skip
def test_impossible_values_are_refused(tmp_path, call):
    with pytest.raises(InputError):
        call(tmp_path)


@pytest.mark.parametrize("start_s", [2.0, 0.7337])
def test_a_part_of_a_video_has_the_times_of_the_video(tmp_path, start_s):
    rms = torch.rand(188, generator=torch.Generator().manual_seed(0))
    write_envelope_csv(tmp_path / "part.csv", Envelope(rms, 125.0), start_s)
    again = read_envelope_csv(tmp_path / "part.csv", start_s=start_s)
    assert again.rate_hz == pytest.approx(125, abs=1e-6)
    torch.testing.assert_close(again.rms, rms, atol=1e-6, rtol=0)
    whole = read_envelope_csv(tmp_path / "part.csv")
    assert (whole.rms[: round(start_s * 125) - 1] == 0).all()
    assert whole.duration_s == pytest.approx(start_s + 1.5, abs=0.02)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,0\n2,0.2\n4,0.4\n", (0.1, 0.15, 0.2)),  # a curve
        ("".join(f"{(i + 0.5) / 10},{i / 100}\n" for i in range(30)), (0.1, 0.15, 0.2)),  # slots
        ("1.5,0.5\n4,0.5\n", (0.5, 0.5, 0.5)),
        ("0,0\n3,0.3\n", (0.1, 0.15, 0.2)),  # a single point after the start
    ],
)
def test_what_is_read_from_a_start_on_is_the_rest_of_the_whole(tmp_path, text, expected):
    (tmp_path / "drawn.csv").write_text("time_s,rms\n" + text)
    part = read_envelope_csv(tmp_path / "drawn.csv", start_s=1.0)
    found = [part.rms[min(round(time_s * part.rate_hz), len(part.rms) - 1)].item() for time_s in (0, 0.5, 1)]
    assert found == pytest.approx(expected, abs=0.006)


def test_a_table_that_ends_before_the_start_is_refused(tmp_path):
    (tmp_path / "drawn.csv").write_text("time_s,rms\n0,0.5\n1.5,0.5\n")
    with pytest.raises(InputError, match=r"ends 1\.5 s"):
        read_envelope_csv(tmp_path / "drawn.csv", start_s=2.0)
