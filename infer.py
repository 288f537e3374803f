"""Put sound on videos: ``python infer.py --video FILE``.

Writes NAME.wav, NAME.mp4 (the video with that sound), NAME.envelope.csv, NAME.png and NAME.json to the output folder;
for several videos, summary.csv and summary.html too.
"""

if __name__ == "__main__":  # before all other imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import logging
import sys
from pathlib import Path

from common.choices import (
    BIT_DEPTHS,
    DEFAULT_QUALITY,
    PEAKS,
    PICTURE_CODECS,
    SAMPLERS,
    SAMPLING_DTYPES,
    SOUND_FORMATS,
    VIDEO_FORMATS,
)
from common.errors import end_on_interrupt, user_errors
from common.options import (
    add_device,
    add_dtype,
    add_level_match,
    add_num_samples,
    add_number,
    add_output_dir,
    add_part,
    add_seed,
    add_set,
    add_steps,
    command_parser,
)

PART = "FILE#track=2,from=1.5,to=3 chooses a sound track and seconds"


def build_parser() -> argparse.ArgumentParser:
    """Return all options, with their defaults."""
    parser = command_parser("python infer.py", __doc__)
    add = parser.add_argument
    add(
        "--video",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="videos, folders of videos, patterns such as 'clips/*.mp4', image files as a folder or as f_%%04d.png, or "
        "folders of clips in the processed layout",
    )
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="best.safetensors or last.ckpt of a training run, or a published .ckpt (default: the bundled mini, or "
        "random weights, to measure, with --set backbone=NAME paths.random_weights=true)",
    )
    add(
        "--envelope",
        type=Path,
        metavar="FILE",
        help="when and how loud: CSV (time_s,rms, or hits as time_s,level,decay_s; times of the video), MIDI, labels "
        "of Audacity (.txt), or a sound or video whose sound is measured; "
        f"{PART} (default: Video2RMS predicts it from the picture)",
    )
    add("--video2rms", type=Path, metavar="FILE", help="checkpoint of Video2RMS (default: the bundled one)")
    add(
        "--envelope-seed",
        type=int,
        metavar="SEED",
        help="draw the loudness of each predicted hit from its distribution (default: the median)",
    )
    add("--prompt", metavar="WORDS", help="words for what it should sound like")
    add(
        "--audio-prompt",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"sounds it should be like, averaged; of each the first minute; {PART}",
    )
    add("--negative-prompt", metavar="WORDS", help="words for what it should not sound like")
    add_part(parser)
    add_steps(parser)
    add("--cfg", type=float, metavar="SCALE", help="guidance scale, 1 for none (default: the checkpoint's)")
    add_level_match(parser)
    add("--sampler", choices=list(SAMPLERS), help="sampler (default: the checkpoint's)")
    add_seed(parser, "the first sample")
    add_num_samples(parser)
    add(
        "--control-strength",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="influence of the envelope, 0 for none, at most 10",
    )
    add(
        "--peaks",
        choices=PEAKS,
        default="limit",
        help="what becomes of peaks above full scale: limited, the whole sound made softer, or cut off",
    )
    add(
        "--keep-sound",
        nargs="?",
        const=0.0,
        type=_kept,
        metavar="DB",
        help="mix the original sound in, at a gain in dB (0 if none is given), or keep it as a second track: track",
    )
    add("--loudness", type=float, metavar="LUFS", help="loudness of the result, with true peaks of at most -1 dBTP")
    add("--sample-rate", type=int, metavar="HZ", help="sample rate of the result (default: the model's)")
    add("--sound-format", choices=SOUND_FORMATS, default="wav", help="format of the sound file: %(choices)s")
    add("--bit-depth", type=int, choices=BIT_DEPTHS, default=24, help="bits a sample in it; 32 is floating point")
    add(
        "--sampler-dir",
        type=Path,
        metavar="DIR",
        help="play sounds from a folder at the hits of the envelope, instead of generating",
    )
    add(
        "--sampler-mix",
        nargs="?",
        const=0.0,
        type=float,
        metavar="DB",
        help="generate too, and mix the sounds of --sampler-dir in, at a gain in dB (0 if none is given)",
    )
    add("--fps", type=float, metavar="HZ", help="frames per second of a folder or a pattern of image files")
    add("--format", choices=("auto", *VIDEO_FORMATS), default="auto", help="format of the video: %(choices)s")
    add(
        "--codec",
        choices=PICTURE_CODECS,
        default="auto",
        help="picture of the video: copied where a format holds it and else H.264 (auto), copied, H.264, ProRes 4444",
    )
    add_number(
        parser, "--quality", 0, 51, default=DEFAULT_QUALITY, help="quality of H.264, 0 (lossless) to 51", metavar="CRF"
    )
    add(
        "--session",
        type=Path,
        metavar="FOLDER",
        help="keep the sound in a new session, to edit it with python -m session; the files are its export",
    )
    add("--overwrite", action="store_true", help="make results again that are there with the same settings")
    add_device(parser)
    add_dtype(parser, SAMPLING_DTYPES)
    add_output_dir(parser, "outputs")
    add_set(parser)
    return parser


def _kept(text: str) -> float | str:
    """Return the gain of the original sound, or ``track``."""
    try:
        return text if text == "track" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a gain in dB nor the word track") from None


def main(arguments: list[str] | None = None) -> int:
    """Do what the options ask for.

    Returns:
        Exit status: 1 if any of several videos failed.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with user_errors():
        args = build_parser().parse_args(arguments)
    end_on_interrupt()
    with user_errors():  # imports are not above: they take seconds, and a wrong option is told at once
        if args.session is not None:
            from session.begin import begin

            return begin(args, build_parser().parse_args(["--video", "FILE"]))
        from video2audio.command import run

        return run(args)


if __name__ == "__main__":
    sys.exit(main())
