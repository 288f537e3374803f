"""Put sound on a video: ``python infer.py --video FILE``.

Writes NAME.wav, NAME.mp4 (the video with that sound), NAME.envelope.csv, NAME.png and NAME.json to the output folder.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import logging
import sys
from pathlib import Path

from common.errors import InputError, check_seed, printable, user_errors
from common.options import (
    add_device,
    add_dtype,
    add_level_match,
    add_num_samples,
    add_output_dir,
    add_part,
    add_seed,
    add_set,
    add_steps,
    command_parser,
)
from common.stopwatch import Stopwatch
from stable_foley.backbone import DTYPES
from stable_foley.checkpoint import default_checkpoint
from stable_foley.sampler import SAMPLERS
from video2audio import FoleyPipeline, FoleyRequest
from video2audio.files import check_files
from video2audio.peaks import PEAKS
from video2rms.predict import BUNDLED_VIDEO2RMS

log = logging.getLogger("infer")


def build_parser() -> argparse.ArgumentParser:
    """Return all options, with their defaults."""
    parser = command_parser("python infer.py", __doc__)
    add = parser.add_argument
    add(
        "--video",
        type=Path,
        required=True,
        metavar="FILE",
        help="video file, or folder of a clip in the processed layout",
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
        help="when and how loud: CSV (time_s,rms; times of the video), or a sound or video whose sound is measured "
        "(default: Video2RMS predicts it from the picture)",
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
        help="sounds it should be like, averaged; of each the first minute",
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
    add_device(parser)
    add_dtype(parser, DTYPES)
    add_output_dir(parser, "outputs")
    add_set(parser)
    return parser


def request_of(args: argparse.Namespace) -> FoleyRequest:
    """Return what is asked for, checked.

    Raises:
        InputError: naming the option or the file.
    """
    check_seed(args.seed + args.num_samples - 1, f"--seed {args.seed} --num-samples {args.num_samples}: the last seed")
    if None not in (args.envelope, args.video2rms):
        raise InputError("--video2rms predicts an envelope and --envelope gives one; leave out one of them.")
    return FoleyRequest(
        video=args.video,
        envelope=args.envelope,
        envelope_seed=args.envelope_seed,
        prompt=args.prompt,
        audio_prompts=args.audio_prompt,
        negative_prompt=args.negative_prompt,
        start_s=args.start,
        duration_s=args.duration,
        control_strength=args.control_strength,
        sampler=args.sampler,
        n_steps=args.steps,
        cfg_scale=args.cfg,
        level_match_db=args.level_match,
        peaks=args.peaks,
    )


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Check the request, load the models, generate, save, and say how long each stage took."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(arguments)
    request, watch = request_of(args), Stopwatch()
    models = [path for path in (args.checkpoint, args.video2rms) if path is not None]
    names = check_files(request, args.output_dir, args.num_samples, models)
    request.check()
    with watch.stage("model"):
        checkpoint = args.checkpoint or default_checkpoint(args.set)
        video2rms = (args.video2rms or BUNDLED_VIDEO2RMS) if args.envelope is None else None
        pipeline = FoleyPipeline.from_checkpoint(checkpoint, video2rms, args.device, args.dtype, args.set)
    seeds = range(args.seed, args.seed + args.num_samples)
    for name, result in zip(names, pipeline.results(request, seeds, progress=True, watch=watch), strict=True):
        with watch.stage("write"):
            for path in result.save(args.output_dir, name):
                log.info("wrote %s", printable(path))
    log.info("seconds: %s", watch)


if __name__ == "__main__":
    sys.exit(main())
