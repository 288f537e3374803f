"""Make the README's moving picture and sounds with the bundled model: ``python -m docs.examples``.

Writes teaser.webp, the demo clip above the spectrogram of its generated sound, and sounds/*.mp3.
"""

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
import numpy as np
from PIL import Image
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from common.errors import user_errors
from common.files import atomic_path
from common.options import add_output_dir, command_parser
from demo import NAME, render
from media.reading import read_frames, read_sound
from media.writing import mp3_bytes
from video2audio import FoleyPipeline

SAMPLE_RATE_HZ = 44_100
PICTURE_PX = (480, 270)
SPECTROGRAM_PX = (480, 110)
FRAME_RATE_HZ = 12.5  # 80 ms a picture: WebP takes whole milliseconds
QUALITY = 75
DB_RANGE = (-70.0, 25.0)
FFT_SAMPLES = 2048
PLAYED, AHEAD, CURSOR = 1.0, 0.35, (255, 255, 255)  # brightness of the spectrogram before and after the cursor
RHYTHM = "time_s,rms\n0,0\n" + "".join(
    f"{start + 0.02:.2f},0\n{start + 0.03:.2f},{rms}\n{start + 0.2:.2f},0\n"
    for start, rms in zip(np.arange(0.5, 9.5, 0.5), [0.1, 0.03, 0.05, 0.03] * 5, strict=False)
)
"""An envelope drawn by hand: a hit every half a second, the first of four loud."""

log = logging.getLogger(__name__)


def make_sounds(clip: Path) -> dict[str, Tensor]:
    """Generate the sounds for a clip.

    Args:
        clip: Folder that `demo.render` filled.

    Returns:
        Sounds (2, N) at 44.1 kHz by name; the first has no prompt.
    """
    video, rhythm = clip / f"{NAME}.mp4", clip / "rhythm.csv"
    rhythm.write_text(RHYTHM, encoding="utf-8")
    pipeline = FoleyPipeline.from_checkpoint()
    return {
        "from-the-picture": pipeline(video).sound,
        "hitting-metal": pipeline(video, prompt="hitting metal").sound,
        "hitting-water": pipeline(video, prompt="hitting water").sound,
        "own-rhythm-on-wood": pipeline(video, envelope=rhythm, prompt="hitting wood").sound,
        "reference": read_sound(clip / f"{NAME}.wav", sample_rate_hz=SAMPLE_RATE_HZ),
    }


def spectrogram(sound: Tensor) -> np.ndarray:
    """Draw the log-mel spectrogram of a sound (C, N) as RGB pixels (H, W, 3), uint8."""
    width, height = SPECTROGRAM_PX
    mel = MelSpectrogram(
        SAMPLE_RATE_HZ,
        FFT_SAMPLES,
        hop_length=sound.shape[-1] // (2 * width),
        n_mels=height,
        norm="slaney",
        mel_scale="slaney",
    )
    level_db = 10 * mel(sound.mean(0)).clamp(min=1e-12).log10()
    level = ((level_db - DB_RANGE[0]) / (DB_RANGE[1] - DB_RANGE[0])).clamp(0, 1).flip(0)
    colours = mpl.colormaps["magma"](level.numpy(), bytes=True)[..., :3]
    return np.asarray(Image.fromarray(colours).resize(SPECTROGRAM_PX))


def pictures(frames: Tensor, sound: Tensor) -> Iterator[Image.Image]:
    """Yield the frames (T, 3, H, W), uint8, each above the spectrogram with a cursor at its time."""
    strip = spectrogram(sound).astype(np.float32)
    for i, frame in enumerate(frames):
        x = round(i / len(frames) * strip.shape[1])
        shown = strip * np.where(np.arange(strip.shape[1]) <= x, PLAYED, AHEAD)[None, :, None]
        shown[:, x : x + 2] = CURSOR
        yield Image.fromarray(np.concatenate([frame.permute(1, 2, 0).numpy(), shown.astype(np.uint8)]))


def moving_picture(frames: Tensor, sound: Tensor) -> bytes:
    """Encode the pictures as an animated WebP that repeats."""
    first, *others = pictures(frames, sound)
    buffer, frame_ms = io.BytesIO(), round(1000 / FRAME_RATE_HZ)
    first.save(
        buffer, "WEBP", save_all=True, append_images=others, duration=frame_ms, loop=0, quality=QUALITY, method=6
    )
    return buffer.getvalue()


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Generate, draw and write."""
    parser = command_parser("python -m docs.examples", __doc__)
    add_output_dir(parser, "docs")
    folder = parser.parse_args(arguments).output_dir
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with TemporaryDirectory() as temporary:
        clip = Path(temporary)
        render(clip)
        sounds = make_sounds(clip)
        frames = read_frames(clip / f"{NAME}.mp4", frame_rate_hz=FRAME_RATE_HZ, size_px=PICTURE_PX)
    sound = sounds["from-the-picture"]
    files = {"teaser.webp": moving_picture(frames, sound)}
    files |= {f"sounds/{name}.mp3": mp3_bytes(wave, SAMPLE_RATE_HZ) for name, wave in sounds.items()}
    for name, content in files.items():
        with atomic_path(folder / name) as path:
            path.write_bytes(content)
        log.info("wrote %s, %d KB", folder / name, len(content) // 1000)


if __name__ == "__main__":
    main()
