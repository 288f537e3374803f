"""Put sound on videos: ``python infer.py --video FILE``.

Writes NAME.wav, NAME.mp4 (the video with that sound), NAME.envelope.csv, NAME.png and NAME.json to the output folder;
for several videos, summary.csv and summary.html too.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common.errors import InputError, check_seed, printable, user_errors
from common.files import check_writable_folder
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
from common.stopwatch import Stopwatch
from media.muxing import DEFAULT_QUALITY, PICTURE_CODECS
from stable_foley.backbone import DTYPES
from stable_foley.checkpoint import default_checkpoint
from stable_foley.sampler import SAMPLERS
from video2audio import FoleyPipeline, FoleyRequest
from video2audio.batch import DONE, FAILED, UNCHANGED, Batch, Outcome, names_of
from video2audio.files import BIT_DEPTHS, SOUND_FORMATS, VIDEO_FORMATS, FileForm, check_files
from video2audio.peaks import PEAKS
from video2audio.summary import check_summary, write_summary
from video2audio.videos import Job, find_jobs, is_several
from video2rms.predict import BUNDLED_VIDEO2RMS

log = logging.getLogger("infer")

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
        help="when and how loud: CSV (time_s,rms; times of the video), or a sound or video whose sound is measured; "
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
    add("--overwrite", action="store_true", help="make results again that are there with the same settings")
    add_device(parser)
    add_dtype(parser, DTYPES)
    add_output_dir(parser, "outputs")
    add_set(parser)
    return parser


def _kept(text: str) -> float | str:
    """Return the gain of the original sound, or ``track``."""
    try:
        return text if text == "track" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a gain in dB nor the word track") from None


def request_of(args: argparse.Namespace, video: Path) -> FoleyRequest:
    """Return what is asked for of a video."""
    return FoleyRequest(
        video=video,
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
        keep_sound=args.keep_sound,
        loudness_lufs=args.loudness,
        sample_rate_hz=args.sample_rate,
        frame_rate_hz=args.fps,
        codec=args.codec,
        quality=args.quality,
    )


def check(
    args: argparse.Namespace, job: Job, request: FoleyRequest, models: Sequence[Path], form: FileForm, *, is_one: bool
) -> None:
    """Refuse, before a model is loaded, options and files that cannot be used; of a single video all of them.

    Args:
        args: all options.
        job: the first video.
        request: the request for it.
        models: files of the models.
        form: formats of the files.
        is_one: whether it is the only video.

    Raises:
        InputError: naming the option or the file.
    """
    check_seed(args.seed + args.num_samples - 1, f"--seed {args.seed} --num-samples {args.num_samples}: the last seed")
    if None not in (args.envelope, args.video2rms):
        raise InputError("--video2rms predicts an envelope and --envelope gives one; leave out one of them.")
    form.check()
    if is_one:
        check_files(request, job.folder, names_of(job, args.num_samples), form, models)
        request.check()
    else:
        request.check_options()
        check_writable_folder(args.output_dir, "--output-dir")
        check_summary(args.output_dir)


def run_one(batch: Batch, job: Job, request: FoleyRequest, watch: Stopwatch) -> None:
    """Make the results of one video and say which files they are.

    Raises:
        InputError: a file cannot be used.
    """
    for outcome in batch.run(job, request, watch):
        if outcome.status == UNCHANGED:
            log.info("%s is there with the same settings; --overwrite makes it again", outcome.name)
        for path in outcome.paths:
            log.info("%s %s", "kept" if outcome.status == UNCHANGED else "wrote", printable(path))


def run_many(batch: Batch, jobs: Sequence[Job], args: argparse.Namespace, watch: Stopwatch) -> int:
    """Make the results of many videos and write a summary, after an interrupt too; return how many failed."""
    outcomes: list[Outcome] = []
    try:
        for outcome in batch.run_all(jobs, partial(request_of, args), watch):
            outcomes.append(outcome)
            if outcome.status == FAILED:
                named = "" if str(outcome.job.video) in outcome.reason else f"{printable(outcome.job.video)}: "
                log.warning("%s%s", named, outcome.reason)
    finally:
        for path in write_summary(args.output_dir, outcomes):
            log.info("wrote %s", printable(path))
    counts = Counter(outcome.status for outcome in outcomes)
    log.info(", ".join(f"{counts[status]} {status}" for status in (DONE, UNCHANGED, FAILED)))
    return counts[FAILED]


@user_errors()
def main(arguments: list[str] | None = None) -> int:
    """Check the request, load the models, generate, save, and say how long each stage took.

    Returns:
        Exit status: 1 if any of several videos failed.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(arguments)
    watch, form = Stopwatch(), FileForm(args.sound_format, args.bit_depth, args.format)
    jobs = find_jobs(args.video, args.output_dir)
    models = [path for path in (args.checkpoint, args.video2rms) if path is not None]
    first, is_one = request_of(args, jobs[0].video), not is_several(args.video)
    check(args, jobs[0], first, models, form, is_one=is_one)
    with watch.stage("model"):
        checkpoint = args.checkpoint or default_checkpoint(args.set)
        video2rms = (args.video2rms or BUNDLED_VIDEO2RMS) if args.envelope is None else None
        pipeline = FoleyPipeline.from_checkpoint(checkpoint, video2rms, args.device, args.dtype, args.set)
    seeds = range(args.seed, args.seed + args.num_samples)
    batch = Batch(pipeline, seeds, form, models, overwrite=args.overwrite, progress=is_one)
    n_failed = 0
    if is_one:
        run_one(batch, jobs[0], first, watch)
    else:
        n_failed = run_many(batch, jobs, args, watch)
    log.info("seconds: %s", watch)
    return int(n_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
