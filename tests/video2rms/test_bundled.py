"""The bundled network as it comes: small, silent where nothing moves, better than the baselines."""

import functools
import weakref
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from benchmarks.video2rms import count_hits_at_cuts, measure_real, measure_synthetic, render, with_network
from evaluation.onsets import onset_f1
from media.frames import FrameWindow
from media.writing import write_video
from synthetic import SyntheticSpec, render_clip
from tests.media.clips import copy_from
from video2rms.baselines import constant_levels, motion_levels
from video2rms.levels import join_levels
from video2rms.predict import load_video2rms, main, predict_envelope
from video2rms.streaming import predict_levels

SPEC = SyntheticSpec(duration_s=4.0, width=224, height=128, max_offset_s=0.0)
SEED = 2_000_003  # of clips that nothing else uses
N_CLIPS = 24


@pytest.fixture(scope="module")
def model():
    """The bundled network."""
    return load_video2rms()


@pytest.fixture(scope="module")
def items():
    """Clips that no training saw."""
    return list(render(SPEC, N_CLIPS, (24.0, 25.0, 30.0, 60.0), SEED))


@pytest.fixture(scope="module")
def minute():
    """A minute of strikes in one scene, at 30 frames a second."""
    return render_clip(replace(SPEC, duration_s=60.0), SEED, 1, sound=False).frames


@pytest.fixture(scope="module")
def fast_clips():
    """Clips of 6 s at 60 frames a second, with the times of their strikes."""
    clips = [render_clip(replace(SPEC, duration_s=6.0, frame_rate_hz=60.0), SEED, i, sound=False) for i in range(6)]
    return [(clip.frames, np.array([strike.picture_time_s for strike in clip.plan.strikes])) for clip in clips]


def windows_of(frames, n_frames):
    for first in range(0, len(frames), n_frames):
        part = frames[first : first + n_frames]
        yield FrameWindow(first, part, torch.zeros(len(part), dtype=torch.float64))


def write_at(path, frames, times_s, options):
    """A video that shows frames at these times, and for how long it lasts is left to the last of them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=60, options=options)
        stream.width, stream.height = frames.shape[-1], frames.shape[-2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 12_000)
        for frame, time_s in zip(frames, times_s, strict=True):
            image = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            image.pts = round(12_000 * time_s)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))


def test_it_runs_in_full_precision(model):
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_it_beats_the_baselines_on_clips_it_never_saw(model, items):
    mean_rms = float(torch.cat([item.rms for item, _ in items]).mean())
    network = measure_synthetic(with_network(model), items)
    for baseline in (functools.partial(constant_levels, mean_rms), motion_levels):
        other = measure_synthetic(baseline, items)
        assert network["onset F1"] > other["onset F1"] + 0.2
        assert network["RMS correlation"] > other["RMS correlation"] + 0.2
        assert network["E-L1 [VF]"] < other["E-L1 [VF]"]
    assert network["median error (ms)"] <= 15
    assert abs(network["peak, predicted to true (dB)"]) <= 1


@pytest.mark.parametrize(
    ("scene", "noise", "options"),
    [
        (0, 0, {"crf": "23"}),
        (1, 3, {"crf": "18"}),
        (0, 3, {"crf": "28", "g": "30"}),  # every second the picture is coded anew
        ("black", 8, {"crf": "28", "g": "60"}),
    ],
)
def test_a_picture_that_stands_still_is_silent(tmp_path, capsys, scene, noise, options):
    generator = torch.Generator().manual_seed(0)
    if scene == "black":
        still = torch.zeros(1, 3, 90, 160)
    else:
        still = render_clip(SyntheticSpec(duration_s=1.0, width=160, height=90), SEED, scene, sound=False).frames[:1]
    frames = (still + noise * torch.randn(200, 3, 90, 160, generator=generator)).clamp(0, 255).to(torch.uint8)
    frames = frames.repeat(4, 1, 1, 1)[:660]
    write_at(tmp_path / "still.mp4", frames, np.arange(660) / 30, options)
    main(["--video", str(tmp_path / "still.mp4"), "--output", str(tmp_path / "still.csv")])
    rms = np.loadtxt(tmp_path / "still.csv", delimiter=",", skiprows=1)[:, 1]
    assert len(rms) == pytest.approx(2750, abs=5)
    assert not rms.any()
    assert capsys.readouterr().out.startswith("0 hits")


def test_windows_cut_elsewhere_give_the_same_hits(model, minute):
    whole = join_levels(predict_levels(model, windows_of(minute, len(minute))))
    assert len(whole.hits) > 30
    for n_frames in (600, 480):
        parts = join_levels(predict_levels(model, windows_of(minute, n_frames)))
        assert (parts.onset - whole.onset).abs().max() < 0.1  # so only hits near the threshold can differ
        assert onset_f1(whole.hits.times_s.numpy(), parts.hits.times_s.numpy(), 0.02).f1 >= 0.97


def test_few_hits_are_found_where_a_film_is_cut(model):
    assert count_hits_at_cuts(with_network(model), SPEC) <= 3  # of 40


def test_only_three_windows_are_in_memory_at_a_time(model):
    alive: set[int] = set()
    most = 0

    def watched():
        nonlocal most
        for window in windows_of(torch.zeros(1800, 3, 128, 224, dtype=torch.uint8), 300):
            frames = window.frames.clone()
            alive.add(number := window.first)
            weakref.finalize(frames, alive.discard, number)
            most = max(most, len(alive))
            yield FrameWindow(window.first, frames, window.lateness_s)

    assert sum(len(part.rms) for part in predict_levels(model, watched())) == 7500
    assert most <= 4  # one before, one after, and the one just read


def f1_of(model, clips, times_of, tmp_path):
    """Mean F1 over clips of which the frames are shown that `times_of` chooses of those of 60 a second."""
    found = []
    for i, (frames, true_s) in enumerate(clips):
        chosen = times_of(len(frames), i)
        write_at(tmp_path / f"{i}.mp4", frames[chosen], chosen / 60 - chosen[0] / 60, {"crf": "16"})
        onsets_s = predict_envelope(model, tmp_path / f"{i}.mp4").onsets_s.numpy() + chosen[0] / 60
        score = onset_f1(true_s, onsets_s)
        found.append(score.f1)
    return float(np.mean(found))


def every(step, first=0):
    return lambda n_frames, _: np.arange(first, n_frames, step)


@pytest.fixture(scope="module")
def usual_f1(model, fast_clips, tmp_path_factory):
    """Of 30 frames a second."""
    return f1_of(model, fast_clips, every(2), tmp_path_factory.mktemp("usual"))


def with_gaps(n_frames, seed):
    """Every second frame, a third of which are lost."""
    rng = np.random.default_rng(seed)
    return np.array([k for k in range(0, n_frames, 2) if k == 0 or rng.random() > 1 / 3])


@pytest.mark.parametrize(
    ("times_of", "least"),
    [(every(1), 0.9), (every(2, first=1), 0.9), (with_gaps, 0.85), (every(5), 0.5), (every(10), 0.3)],
    ids=["60 a second", "30 a second, later", "uneven", "12 a second", "6 a second"],
)
def test_other_frame_rates_are_understood(model, fast_clips, usual_f1, tmp_path, times_of, least):
    """Compared with 30 frames a second, whose share of the F1 is stated."""
    assert usual_f1 > 0.5
    assert f1_of(model, fast_clips, times_of, tmp_path) > least * usual_f1


def test_a_cut_by_stream_copy_has_its_hits_where_they_were(tmp_path, model):
    clip = render_clip(SyntheticSpec(duration_s=10.0, width=320, height=180, frame_rate_hz=25.0), SEED, 3, sound=False)
    write_video(tmp_path / "whole.mp4", clip.frames, 25.0)
    copy_from(tmp_path / "whole.mp4", tmp_path / "cut.mp4", start_s=4.1)
    whole, cut = (predict_envelope(model, tmp_path / name) for name in ("whole.mp4", "cut.mp4"))
    assert cut.envelope.duration_s == pytest.approx(5.9, abs=0.05)
    later = whole.onsets_s[whole.onsets_s > 4.6].numpy() - 4.1
    assert len(later) >= 3
    assert onset_f1(later, cut.onsets_s[cut.onsets_s > 0.5].numpy(), 0.05).f1 > 0.9


@pytest.mark.parametrize(("name", "least"), [("hitting_bag.mp4", 0.8), ("drum.mp4", 0.7)])
def test_real_strikes_are_heard_better_than_by_the_baselines(model, shared, name, least):
    path, size_px = shared / "real" / "videos" / name, model.features.size_px
    network = measure_real(with_network(model), path, size_px)
    assert network >= least
    for baseline in (functools.partial(constant_levels, 0.03), motion_levels):
        assert network > measure_real(baseline, path, size_px) + 0.05
