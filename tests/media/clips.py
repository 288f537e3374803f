"""Small clips for tests: every frame carries its number, every sound is given."""

from fractions import Fraction

import av
import numpy as np
import torch

SIZE = (64, 48)  # width, height
EVEN_S = [k / 25 for k in range(60)]
UNEVEN_S = np.concatenate([[0], np.cumsum(np.random.default_rng(0).choice([0.02, 0.05, 0.16, 0.3], 59))]).round(2)
ONE_KEY = {"x264-params": "keyint=999:scenecut=0:bframes=2"}
MANY_KEYS = {"x264-params": "keyint=12:scenecut=0:bframes=3:open-gop=1"}
CLOSED_KEYS = {"x264-params": "keyint=12:scenecut=0:bframes=3"}
OPTIONS = {
    "libx264": ONE_KEY,
    "libx265": {"x265-params": "log-level=none:keyint=24:bframes=3:pools=none:frame-threads=1", "preset": "ultrafast"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "10", "auto-alt-ref": "1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1:keyint=24"},
}


def picture(number, size=SIZE):
    """The number in binary, eight blocks in two rows: 16 x 24 pixels each in a picture of 64 x 48."""
    bits = np.array([number >> bit & 1 for bit in range(8)], dtype=np.uint8).reshape(2, 4)
    block = np.ones((size[1] // 2, size[0] // 4, 1), np.uint8)
    return np.kron(bits[..., None] * np.full(3, 255, np.uint8), block)


def numbers(frames):
    """The numbers in frames (T, 3, H, W), whatever their size."""
    blocks = torch.nn.functional.adaptive_avg_pool2d(frames.float().mean(1, keepdim=True), (2, 4)) > 128
    return (blocks.flatten(1) * 2 ** torch.arange(8)).sum(1).tolist()


def sound_packets(stream, sound, rate_hz, start_s, layout, fmt="fltp"):
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.astype(np.float32)), format=fmt, layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, round(start_s * rate_hz), Fraction(1, rate_hz)
    return [*stream.encode(frame), *stream.encode(None)]


def make_video(
    path,
    times_s=EVEN_S,
    codec="libx264",
    options=None,
    rotation=None,
    flips=(False, False),
    pixel_aspect=None,
    size=SIZE,
    rate=25,
    time_base=Fraction(1, 100),
    sound=None,
    sound_start_s=0.0,
    sound_codec="aac",
    layout="mono",
    sound_rate_hz=44_100,
    container_options=None,
    timecode=None,
):
    """A video that shows frame k at times_s[k], with a sound (C, N) that may start late."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or OPTIONS.get(codec, {}))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if timecode is not None:
            stream.metadata["timecode"] = timecode
        if rotation is not None or any(flips):
            stream.set_display_rotation(rotation or 0, *flips)
        audio = None if sound is None else container.add_stream(sound_codec, rate=sound_rate_hz, layout=layout)
        packets = []
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(picture(number % 256, size), format="rgb24")
            frame.pts, frame.time_base = round(Fraction(time_s) / time_base), time_base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if audio:
            packets += sound_packets(audio, np.asarray(sound), sound_rate_hz, sound_start_s, layout)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def copy_from(source, path, start_s):
    """Cuts a clip by stream copy, from the key frame before start_s on, as `ffmpeg -ss … -c copy` does."""
    with av.open(str(source)) as container, av.open(str(path), "w") as target:
        stream = container.streams.video[0]
        copied = target.add_stream_from_template(stream)
        offset = round(start_s / stream.time_base)
        container.seek(offset, stream=stream)
        for packet in container.demux(stream):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, copied
                target.mux(packet)
    return path


def packets_of(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def click(duration_s, at_s, rate_hz=44_100):
    """A click, spread over 9 samples around at_s so that AAC and resampling keep it."""
    wave = torch.zeros(1, round(duration_s * rate_hz))
    middle = round(at_s * rate_hz)
    wave[0, middle - 4 : middle + 5] = 0.9 * torch.hann_window(9, periodic=False)
    return wave


def peak_s(wave, rate_hz=44_100):
    return wave.abs().sum(0).argmax().item() / rate_hz
