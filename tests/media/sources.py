"""Videos of many codecs, containers and odd properties, and what a reader finds in them."""

import io
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition
from PIL import Image

from media.container import opened, origin_s
from media.picture_copy import frame_digest
from tests.media.clips import SIZE, picture, sound_packets

RATE_HZ = 44_100
N = 20
AT = Fraction(1, 25)
EVEN = tuple(k * AT for k in range(N))
UNEVEN = tuple(Fraction(t, 100) for t in (0, 4, 6, 11, 31, 33, 40, 41, 52, 57, 58, 64, 71, 90, 94))
LATE = tuple(Fraction(12, 25) + k * AT for k in range(N))
HEVC = {"x265-params": "log-level=none:keyint=8:bframes=2:pools=none:frame-threads=1", "preset": "ultrafast"}
HDR = HEVC | {
    "x265-params": HEVC["x265-params"]
    + ":hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
}
VP9 = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
B_FRAMES = {"x264-params": "keyint=10:scenecut=0:bframes=3:open-gop=1", "preset": "ultrafast"}
FIELDS = {"flags": "+ildct+ilme", "field_order": "tt"}
BT2020_PQ = (9, 1, 9, 16)  # matrix, range, primaries, curve
TEXT = ("first line", "second line")
STYLES = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@dataclass(frozen=True)
class Source:
    """A video to make, and the container that it should get."""

    suffix: str
    codec: str
    expected: str
    way: str = "copy"
    pixels: str = "yuv420p"
    times: tuple = EVEN
    time_base: Fraction = AT
    size: tuple = SIZE
    options: dict = field(default_factory=dict)
    sounds: tuple = ()  # codec and start
    rotation: int | None = None
    pixel_aspect: Fraction | None = None
    colours: tuple | None = None
    subtitles: str | None = None
    chapters: bool = False
    cover: bool = False
    attachment: bool = False
    timecode: str | None = None
    container_options: dict = field(default_factory=dict)


UNEVEN_H264 = {"times": UNEVEN, "time_base": Fraction(1, 100), "options": B_FRAMES}
SOURCES = {
    "turned, two sounds, chapters": Source(
        ".mp4", "libx264", ".mp4", options=B_FRAMES, rotation=90, sounds=(("aac", 0), ("aac", 0.2)), chapters=True
    ),
    "upside down, fragments": Source(
        ".mp4", "libx264", ".mp4", rotation=180, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "uneven, subtitles, Opus": Source(
        ".mkv", "libx264", ".mp4", **UNEVEN_H264, subtitles="subrip", sounds=(("libopus", 0), ("flac", 0.1))
    ),
    "late picture": Source(".mkv", "libx264", ".mp4", times=LATE, options=B_FRAMES, sounds=(("aac", 0), ("ac3", 0))),
    "transport stream, late sound": Source(
        ".ts", "libx264", ".mp4", options=B_FRAMES, sounds=(("aac", 0.3), ("aac", 0.3))
    ),
    "wide pixels, timecode, PCM": Source(
        ".mov", "libx264", ".mp4", pixel_aspect=Fraction(4, 3), timecode="01:02:03:04",
        sounds=(("pcm_s16le", 0), ("pcm_s24le", 0)),
    ),
    "cover": Source(".mp4", "libx264", ".mp4", cover=True, sounds=(("aac", 0),)),
    "HDR": Source(
        ".mp4", "libx265", ".mp4", pixels="yuv420p10le", options=HDR, colours=BT2020_PQ, rotation=180,
        sounds=(("aac", 0), ("libopus", 0)),
    ),
    "HDR in Matroska, subtitles": Source(
        ".mkv", "libx265", ".mp4", pixels="yuv420p10le", options=HDR, colours=BT2020_PQ, times=LATE, subtitles="ass"
    ),
    "AV1": Source(".mkv", "libsvtav1", ".mp4", options={"preset": "12", "svtav1-params": "lp=1"}, subtitles="subrip"),
    "VP9, two sounds": Source(".webm", "libvpx-vp9", ".mp4", options=VP9, sounds=(("libopus", 0), ("libopus", 0.2))),
    "VP9 with alpha": Source(".webm", "libvpx-vp9", ".mkv", pixels="yuva420p", options=VP9 | {"auto-alt-ref": "0"}),
    "VP8, uneven": Source(
        ".webm", "libvpx", ".mkv", times=UNEVEN, time_base=Fraction(1, 100), options=VP9, sounds=(("libopus", 0),) * 2
    ),
    "ProRes 422, fields": Source(
        ".mov", "prores_ks", ".mov", pixels="yuv422p10le", options={"profile": "hq", **FIELDS}, timecode="00:00:10:00",
        sounds=(("pcm_s16le", 0), ("pcm_s16le", 0)),
    ),
    "ProRes 4444 with alpha": Source(
        ".mov", "prores_ks", ".mov", pixels="yuva444p10le", options={"profile": "4444"}, chapters=True
    ),
    "DNxHR": Source(
        ".mov", "dnxhd", ".mov", pixels="yuv422p", options={"profile": "dnxhr_hq"}, size=(256, 120),
        sounds=(("pcm_s24le", 0),) * 2,
    ),
    "Windows": Source(".wmv", "wmv2", ".mp4", "h264", sounds=(("wmav2", 0), ("wmav2", 0))),
    "Flash": Source(".flv", "flv", ".mp4", "h264", sounds=(("libmp3lame", 0),)),
    "MPEG-2, fields, late sound": Source(
        ".ts", "mpeg2video", ".mp4", options=FIELDS, sounds=(("mp2", 0.2), ("ac3", 0.2))
    ),
    "program stream, wide": Source(".mpg", "mpeg2video", ".mp4", pixel_aspect=Fraction(4, 3), sounds=(("mp2", 0),) * 2),
    "MPEG-4 in AVI": Source(".avi", "mpeg4", ".mp4", sounds=(("libmp3lame", 0), ("libmp3lame", 0))),
    "raw I420 in AVI": Source(".avi", "rawvideo", ".mkv", sounds=(("pcm_s16le", 0),) * 2),
    "raw in QuickTime": Source(".mov", "rawvideo", ".mov", pixels="uyvy422"),
    "FFV1, odd size, 10 bits": Source(".mkv", "ffv1", ".mp4", pixels="yuv422p10le", size=(63, 47), chapters=True),
    "Motion JPEG, odd size": Source(".avi", "mjpeg", ".mp4", pixels="yuvj420p", size=(63, 47)),
    "Animation with alpha": Source(".mov", "qtrle", ".mov", pixels="argb", sounds=(("pcm_s16le", 0),) * 2),
    "PNG with alpha": Source(".mov", "png", ".mp4", pixels="rgba"),
    "Ut Video": Source(".avi", "utvideo", ".mp4", "h264", pixels="gbrp", size=(63, 47)),
    "animated PNG": Source(".apng", "apng", ".mp4", "h264", pixels="rgba"),
}  # fmt: skip


def image_of(number, source):
    width, height = source.size
    image = np.zeros((-(-height // 2) * 2, -(-width // 4) * 4, 3), np.uint8)
    image[:] = picture(number, image.shape[1::-1])
    return np.ascontiguousarray(image[:height, :width])


def encoded_picture(source, stream):
    for number, time in enumerate(source.times):
        frame = av.VideoFrame.from_ndarray(image_of(number, source), format="rgb24").reformat(format=source.pixels)
        frame.pts, frame.time_base = round(time / source.time_base), source.time_base
        yield from stream.encode(frame)
    yield from stream.encode(None)


def add_text(container, codec):
    stream = container.add_stream(codec)
    stream.metadata.update({"language": "ita", "title": "words"})
    stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
    stream.codec_context.subtitle_header = STYLES
    packets = []
    for number, text in enumerate(TEXT):
        line = f"{number},0,Default,,0,0,0,,{text}".encode()
        packet = stream.codec_context.encode_subtitle(av.subtitles.subtitle.SubtitleSet.create(line, 0, 200))
        packet.pts = packet.dts = 100 + 300 * number
        packet.duration, packet.time_base, packet.stream, packet.is_keyframe = 200, Fraction(1, 1000), stream, True
        packets.append(packet)
    return packets


def jpeg():
    file = io.BytesIO()
    Image.fromarray(picture(5)).save(file, "JPEG")
    return file.getvalue()


def add_sounds(container, source):
    packets = []
    for number, (codec, start_s) in enumerate(source.sounds):
        rate_hz = 48_000 if codec == "libopus" else RATE_HZ
        sound = container.add_stream(codec, rate=rate_hz, layout="mono", bit_rate=64_000)
        sound.metadata.update({"language": ("eng", "deu")[number], "title": f"sound {number}"})
        wave = 0.3 * np.sin(2 * np.pi * (300 + 200 * number) * np.arange(round(0.7 * rate_hz)) / rate_hz)[None]
        form = sound.codec_context.format.name
        packets += sound_packets_as(sound, wave, rate_hz, start_s, form)
    return packets


def make(path, source):
    with av.open(str(path), "w", container_options=source.container_options) as container:
        stream = container.add_stream(source.codec, rate=25, options=source.options, width=source.size[0])
        stream.height, stream.pix_fmt = source.size[1], source.pixels
        stream.codec_context.time_base = source.time_base
        if source.pixel_aspect:
            stream.codec_context.sample_aspect_ratio = source.pixel_aspect
        if source.rotation is not None:
            stream.set_display_rotation(source.rotation)
        if source.colours:
            context = stream.codec_context
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = source.colours
        if source.timecode:
            stream.metadata["timecode"] = source.timecode
        if source.suffix in (".mp4", ".mov", ".mkv"):
            container.metadata["title"] = "strikes"
        if source.chapters:
            part = {"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}}
            container.set_chapters([part, part | {"id": 2, "start": 400, "end": 800, "metadata": {"title": "two"}}])
        packets = list(encoded_picture(source, stream))
        packets += add_sounds(container, source)
        packets += add_text(container, source.subtitles) if source.subtitles else []
        if source.attachment:
            container.add_attachment("notes.txt", "text/plain", b"what was struck")
        if source.cover:
            packets += cover_packets(container)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def sound_packets_as(stream, wave, rate_hz, start_s, form):
    if form.startswith("flt"):
        return sound_packets(stream, wave, rate_hz, start_s, "mono", form)
    whole = (wave * 2 ** (15 if form.startswith("s16") else 31)).astype(
        np.int16 if form.startswith("s16") else np.int32
    )
    frame = av.AudioFrame.from_ndarray(whole, format=form, layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, round(start_s * rate_hz), Fraction(1, rate_hz)
    return [*stream.encode(frame), *stream.encode(None)]


def cover_packets(container):
    if container.format.name == "matroska":
        container.add_attachment("cover.jpg", "image/jpeg", jpeg())
        return []
    cover = container.add_stream("mjpeg", rate=1, width=SIZE[0], height=SIZE[1], pix_fmt="yuvj420p")
    cover.disposition = Disposition.attached_pic
    packet = av.Packet(jpeg())
    packet.pts = packet.dts = 0
    packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), cover, True
    return [packet]


def shown(path):
    """Time from the start of the file and digest of every frame, pixel shape, colours and matrix of the picture."""
    with opened(path) as container:
        stream = container.streams.video[0]
        frames = [frame for frame in container.decode(stream) if not frame.is_corrupt]
        origin = origin_s(container)
        digests = [(frame.pts * frame.time_base - origin, frame_digest(frame)) for frame in frames]
        first = frames[0]
        colours = first.colorspace, first.color_range, first.color_primaries, first.color_trc
        light = {data.type.name: bytes(data) for data in first.side_data if data.type.name in LIGHT}
        matrix = [bytes(data) for data in first.side_data if data.type.name == "DISPLAYMATRIX"]
        return digests, (stream.sample_aspect_ratio or 1, colours, light, matrix)


LIGHT = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")


def sounds_of(path):
    """Codec, language, and content of each sound; transport streams have other headers, so there it is the samples."""
    with opened(path) as container:
        n_sounds = len(container.streams.audio)
    found = []
    for number in range(n_sounds):
        with opened(path) as container:
            stream = container.streams.audio[number]
            content = (
                [frame.to_ndarray().tobytes() for frame in container.decode(stream)]
                if path.suffix == ".ts"
                else [bytes(packet) for packet in container.demux(stream) if packet.size]
            )
            found.append((stream.codec_context.codec.canonical_name, stream.metadata.get("language"), content))
    return found


def texts_of(path):
    with opened(path) as container:
        stream = container.streams.subtitles[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        lines = []
        for packet in packets:
            if content := stream.codec_context.decode2(packet):
                lines += [
                    (round(float(packet.pts * packet.time_base - origin_s(container)), 3), rect.dialogue.decode())
                    for rect in content
                    if rect.dialogue
                ]
        return stream.metadata.get("language"), lines
