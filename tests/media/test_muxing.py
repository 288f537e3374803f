"""Videos with new sound where a choice is made: containers, codecs, several sounds, and what else is kept."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import InputError
from media.container import opened
from media.muxing import MuxPlan, mux, plan_mux
from media.picture_copy import frame_digest
from media.probe import probe
from media.reading import read_frames, read_sound
from tests.media.clips import EVEN_S, MANY_KEYS, UNEVEN_S, click, make_video, numbers, packets_of, peak_s, picture
from tests.media.sources import RATE_HZ, SOURCES, TEXT, N, Source, jpeg, make, shown, sounds_of, texts_of

ALL = Source(
    ".mkv", "libx264", ".mp4", options=MANY_KEYS, subtitles="ass", chapters=True, cover=True, attachment=True,
    sounds=(("libopus", 0), ("flac", 0)), timecode="00:00:01:00",
)  # fmt: skip


def times_of(path):
    return [float(time) for time, _ in shown(path)[0]]


def level_db(a, b):
    return 10 * np.log10(255**2 / np.mean((a.double() - b.double()).numpy() ** 2))


@pytest.mark.parametrize(("suffix", "text", "lost"), [
    (".mkv", "ass", []),
    (".mp4", "mov_text", ["attachment 1 (notes.txt)"]),
    (".mov", "mov_text", ["cover", "attachment 1 (notes.txt)"]),
])  # fmt: skip
def test_everything_that_a_container_holds_is_kept(tmp_path, suffix, text, lost):
    path, out = make(tmp_path / "all.mkv", ALL), tmp_path / f"out{suffix}"
    plan = mux(path, click(0.8, 0.3), RATE_HZ, out)
    assert plan == plan_mux(path, suffix=suffix)
    assert all(any(part in phrase for phrase in plan.lost) for part in lost)
    with opened(out) as container:
        kinds = [stream.type for stream in container.streams]
        assert kinds[:4] == ["video", "audio", "audio", "subtitle"]
        assert container.streams.subtitles[0].codec_context.codec.canonical_name == text
        assert (
            container.streams.video[0].metadata.get("timecode") or container.streams.video[0].metadata.get("TIMECODE")
        ) == "00:00:01:00"
        assert len(container.chapters()) == 2
        attached = {s.metadata.get("filename"): s for s in container.streams if s.type == "attachment"}
        assert set(attached) == ({"notes.txt"} if suffix == ".mkv" else set())
        if attached:
            assert attached["notes.txt"].data == b"what was struck"
        covers = [s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic]
        assert [bytes(next(container.demux(cover))) for cover in covers] == ([] if suffix == ".mov" else [jpeg()])
        defaults = [bool(s.disposition & av.stream.Disposition.default) for s in container.streams.audio]
        assert defaults == [True, False]
    assert texts_of(out) == ("ita", [(0.1, TEXT[0]), (0.4, TEXT[1])])
    assert {phrase for phrase in plan.lost if "flac" in phrase} == (
        set() if suffix != ".mov" else {"sound track 2 (flac) as it was: it becomes AAC"}
    )


def test_texts_of_mp4_go_to_matroska(tmp_path):
    source = make(tmp_path / "text.mp4", Source(".mp4", "libx264", ".mp4", subtitles="mov_text"))
    plan = mux(source, click(0.8, 0.3), RATE_HZ, tmp_path / "out.mkv")
    assert plan.lost == ()
    assert texts_of(tmp_path / "out.mkv") == texts_of(source)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("codec", ["aac", "libopus", "pcm_s16le", "flac"])
def test_first_sound_is_kept_as_second_track(tmp_path, suffix, codec):
    source = make(tmp_path / "two.mkv", Source(".mkv", "libx264", ".mp4", sounds=((codec, 0), ("aac", 0))))
    out = tmp_path / f"out{suffix}"
    sounds = [click(0.8, 0.3), click(0.8, 0.6).repeat(2, 1)]
    plan = mux(source, sounds, RATE_HZ, out, plan_mux(source, suffix=suffix, keep_first_sound=True))
    after, before = sounds_of(out), sounds_of(source)
    assert len(after) == 4
    changed = any("sound track 1" in phrase for phrase in plan.lost)
    if changed:
        assert after[2][0] == "aac"
    else:
        assert (after[2][0], b"".join(after[2][2])) == (before[0][0], b"".join(before[0][2]))
    assert (after[3][0], after[3][2]) == (before[1][0], before[1][2])
    for number, at_s in enumerate((0.3, 0.6)):
        with opened(out) as container:
            wave = np.concatenate([f.to_ndarray() for f in container.decode(container.streams.audio[number])], axis=1)
            first_s = container.streams.audio[number].start_time * container.streams.audio[number].time_base
        assert np.abs(wave).max(0).argmax() / RATE_HZ + float(first_s) == pytest.approx(at_s, abs=0.002)
    with opened(out) as container:  # 0.7 s of a tone of 300 Hz, and silence
        frames = [f.to_ndarray().astype(float) for f in container.decode(container.streams.audio[2])]
        rate_hz = container.streams.audio[2].rate
    wave = np.concatenate(frames, axis=1).ravel()
    heard_hz = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * rate_hz / len(wave)
    assert heard_hz == pytest.approx(300, abs=3)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_h264_keeps_uneven_times_rotation_and_pixel_shape(tmp_path, suffix, size):
    source = tmp_path / "source.mp4"  # Matroska states the shape of pixels only roughly
    times_s = [Fraction(round(t * 100), 100) for t in UNEVEN_S[:20]]
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=size[0], height=size[1], pix_fmt="yuv444p")
        stream.codec_context.time_base = Fraction(1, 100)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(90)
        for number, time_s in enumerate(times_s):
            image = picture(number)[: size[1], : size[0]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(format="yuv444p")
            frame.pts, frame.time_base = round(time_s * 100), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    out = tmp_path / f"out{suffix}"
    plan = mux(source, click(1.0, 0.5), RATE_HZ, out, plan_mux(source, codec="h264", suffix=suffix), quality=10)
    assert (plan.codec, plan.reason) == ("h264", None)
    with opened(out) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.sample_aspect_ratio == Fraction(4, 3)
    assert times_of(out) == pytest.approx([float(t) for t in times_s], abs=1e-3 if suffix == ".mkv" else 1e-9)
    assert probe(out).rotation_deg == 90
    assert probe(out).duration_s == pytest.approx(probe(source).duration_s, abs=1e-3)
    read = read_frames(out, frame_rate_hz=25.0, duration_s=2.0)
    assert numbers(torch.rot90(read, -1, (2, 3))) == numbers(
        torch.rot90(read_frames(source, frame_rate_hz=25.0, duration_s=2.0), -1, (2, 3))
    )


def test_quality_acts(tmp_path):
    rng = np.random.default_rng(0)
    source = tmp_path / "noise.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for _ in range(5):
            image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    sizes = []
    for quality in (0, 18, 40):
        mux(source, click(0.2, 0.1), RATE_HZ, tmp_path / "out.mp4", plan_mux(source, codec="h264"), quality=quality)
        sizes.append(sum(len(packet) for packet in packets_of(tmp_path / "out.mp4")))
        if quality == 0:
            frames = [read_frames(path, frame_rate_hz=25.0) for path in (source, tmp_path / "out.mp4")]
            assert torch.equal(*frames)
    assert sizes[0] > 1.5 * sizes[1] > 3 * sizes[2]


@pytest.mark.parametrize(("space", "value_range", "primaries", "curve"), [(1, 1, 1, 1), (9, 1, 9, 16), (5, 2, 6, 6)])
@pytest.mark.parametrize("codec", ["h264", "prores"])
def test_encoding_keeps_colours(tmp_path, space, value_range, primaries, curve, codec):
    source, out = tmp_path / "source.mkv", tmp_path / "out.mov"
    colour = np.full((48, 64, 3), (200, 30, 60), np.uint8)
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="yuv420p")
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = (
            space,
            value_range,
            primaries,
            curve,
        )
        stored = av.VideoFrame.from_ndarray(colour, format="rgb24")
        stored = stored.reformat(format="yuv420p", dst_colorspace=space, dst_color_range=value_range)
        stored.colorspace, stored.color_range = space, value_range
        container.mux([*stream.encode(stored), *stream.encode(None)])
    mux(source, click(0.1, 0.02), RATE_HZ, out, plan_mux(source, codec=codec, suffix=".mov"))
    assert shown(out)[1][1] == (space, 1 if codec == "prores" else value_range, primaries, curve)
    read = read_frames(out, frame_rate_hz=25.0)
    assert (read.permute(0, 2, 3, 1) - torch.tensor([200, 30, 60])).abs().max() <= 5


def test_prores_keeps_alpha(tmp_path):
    source, out = make(tmp_path / "a.mov", SOURCES["Animation with alpha"]), tmp_path / "out.mov"
    plan = mux(source, click(0.8, 0.3), RATE_HZ, out, plan_mux(source, codec="prores"))
    assert (plan.suffix, plan.codec, plan.lost) == (".mov", "prores", ())
    with opened(out) as container:
        first = next(container.decode(container.streams.video[0]))
        assert container.streams.video[0].codec_context.codec_tag == "ap4h"
        assert any(part.is_alpha for part in first.format.components)
    assert "alpha channel" in plan_mux(source, codec="h264").lost
    assert numbers(read_frames(out, frame_rate_hz=25.0)) == list(range(N))


def test_alpha_of_vp9_is_kept(tmp_path):
    source, out = make(tmp_path / "a.webm", SOURCES["VP9 with alpha"]), tmp_path / "out.mkv"
    mux(source, click(0.8, 0.3), RATE_HZ, out)

    def hidden(path):
        with opened(path) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
            return [bytes(packet.get_sidedata("matroska_block_additional")) for packet in packets]

    assert hidden(out) == hidden(source)
    assert all(hidden(out))
    assert b"\x53\xc0\x81\x01" in out.read_bytes()  # the element AlphaMode, 1


def test_gif_becomes_h264_with_its_delays(tmp_path):
    path, out = tmp_path / "a.gif", tmp_path / "out.mp4"
    images = [Image.fromarray(picture(number, (62, 46))) for number in range(1, 6)]
    delays_ms = [100, 50, 300, 70, 200]
    images[0].save(path, save_all=True, append_images=images[1:], duration=delays_ms)
    plan = mux(path, click(0.72, 0.45), RATE_HZ, out)
    assert (plan.suffix, plan.codec) == (".mp4", "h264")
    assert plan.reason
    with Image.open(path) as gif:  # a second reader
        stated = []
        for number in range(gif.n_frames):
            gif.seek(number)
            stated.append(gif.info["duration"])
    assert stated == delays_ms
    assert times_of(out) == [0, 0.1, 0.15, 0.45, 0.52]
    assert probe(path).duration_s == probe(out).duration_s == 0.72
    assert numbers(read_frames(out, frame_rate_hz=100.0)[[5, 12, 30, 47, 60]]) == [1, 2, 3, 4, 5]
    assert peak_s(read_sound(out, sample_rate_hz=RATE_HZ)) == pytest.approx(0.45, abs=1e-3)
    for suffix in (".mp4", ".mkv", ".mov"):
        with pytest.raises(InputError, match="--codec h264"):
            plan_mux(path, suffix=suffix, codec="copy")


def cut_with_a_gap(path):
    """A clip cut by stream copy before the frames that are shown ahead of its last one."""
    source = make_video(path.with_name("whole.mp4"), EVEN_S, options={"x264-params": "keyint=99:bframes=3:b-adapt=0"})
    with av.open(str(source)) as container, av.open(str(path), "w") as target:
        stream = container.streams.video[0]
        copied = target.add_stream_from_template(stream)
        packets = [packet for packet in container.demux(stream) if packet.size]
        order = [round(25 * packet.pts * packet.time_base) for packet in packets]
        end = next(k for k in range(6, len(order)) if order[k] - max(order[:k]) == 4)
        kept = packets[: end + 1]
        stamps = sorted(float(packet.pts * packet.time_base) for packet in kept)
        for packet in kept:
            packet.stream = copied
            target.mux(packet)
    return stamps


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("cut", [".mp4", ".mkv"])
def test_sound_lasts_until_a_last_frame_after_a_gap_ends(tmp_path, cut, suffix):
    path, out = tmp_path / f"cut{cut}", tmp_path / f"out{suffix}"
    stamps = cut_with_a_gap(path)
    assert stamps[-1] - stamps[-2] == pytest.approx(0.16)  # three frames are missing
    end_s = stamps[-1] - stamps[0] + 0.04
    assert probe(path).duration_s == pytest.approx(end_s, abs=1e-3)
    mux(path, click(3.0, 0.5), RATE_HZ, out)
    assert probe(out).duration_s == pytest.approx(end_s, abs=1e-3)
    assert times_of(out)[-1] == pytest.approx(stamps[-1] - stamps[0], abs=1e-3)
    n_samples = read_sound(out, sample_rate_hz=RATE_HZ).shape[1]
    assert 0 <= n_samples - round(probe(path).duration_s * RATE_HZ) <= (1024 + 45 if suffix == ".mkv" else 0)
    read = read_frames(path, frame_rate_hz=25.0)
    assert len(read) == round(end_s * 25)
    assert numbers(read[-1:]) == [round(stamps[-1] / 0.04)]


@pytest.mark.parametrize("cut", [".mp4", ".mkv"])
def test_ends_of_other_videos_stay(tmp_path, cut):
    for name, form in {"even": {}, "uneven": {"times_s": UNEVEN_S, "options": MANY_KEYS}}.items():
        path = make_video(tmp_path / f"{name}{cut}", **form)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stated = stream.duration
            if stated is not None:
                assert probe(path).duration_s == float((stated + stream.start_time) * stream.time_base)


@pytest.mark.parametrize("name", ["VP8, uneven", "Flash", "ProRes 422, fields"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_forced_container(tmp_path, name, suffix):
    source = SOURCES[name]
    path = make(tmp_path / f"a{source.suffix}", source)
    holds = {"VP8, uneven": (".mkv",), "Flash": (), "ProRes 422, fields": (".mov", ".mkv")}[name]
    plan = plan_mux(path, suffix=suffix)
    assert plan.codec == ("copy" if suffix in holds else "h264")
    assert (plan.reason is None) == (suffix in holds)
    if suffix not in holds:
        with pytest.raises(InputError, match="another --format, or --codec h264"):
            plan_mux(path, suffix=suffix, codec="copy")
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    source = make(tmp_path / "a.flv", SOURCES["Flash"])
    for suffix in (".mp4", ".mov", ".mkv"):
        contents = []
        for number in range(2):
            mux(source, click(0.8, 0.3), RATE_HZ, tmp_path / f"{number}{suffix}")
            contents.append((tmp_path / f"{number}{suffix}").read_bytes())
        assert contents[0] == contents[1] or suffix == ".mkv"  # Matroska gets random identifiers


def test_progress_rises_to_one(tmp_path):
    source = make(tmp_path / "a.flv", SOURCES["Flash"])
    shares = []
    mux(source, click(0.8, 0.3), RATE_HZ, tmp_path / "out.mp4", on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize(("wish", "told"), [
    ({"quality": 52}, "52"), ({"quality": -1}, "-1"), ({"plan": MuxPlan(".mov", "copy", None, ())}, r"out\.mp4.*\.mov"),
])  # fmt: skip
def test_impossible_wishes_are_refused(tmp_path, wish, told):
    source = make_video(tmp_path / "a.mp4", EVEN_S[:5])
    with pytest.raises(InputError, match=told):
        mux(source, click(0.2, 0.1), RATE_HZ, tmp_path / "out.mp4", **wish)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(("wish", "told"), [({"codec": "h265"}, "h265"), ({"codec": "prores"}, "mov")])
def test_impossible_plans_are_refused(tmp_path, wish, told):
    source = make_video(tmp_path / "a.mp4", EVEN_S[:5])
    with pytest.raises(InputError, match=told):
        plan_mux(source, suffix=".mp4", **wish)
    assert list(tmp_path.iterdir()) == [source]


def test_the_plan_of_a_usual_video_is_plain(tmp_path):
    source = make_video(tmp_path / "a.mp4", EVEN_S[:5], sound=click(0.2, 0.1).numpy())
    assert plan_mux(source) == MuxPlan(".mp4", "copy", None, ())


def test_digests_differ_with_pixels_and_their_format():
    frames = [av.VideoFrame.from_ndarray(picture(number, (62, 46)), format="rgb24") for number in (1, 1, 2)]
    digests = [frame_digest(frame) for frame in frames]
    assert digests[0] == digests[1] != digests[2]
    assert frame_digest(frames[0].reformat(format="yuv444p")) != frame_digest(frames[0].reformat(format="yuvj444p"))
