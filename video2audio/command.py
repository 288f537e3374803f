"""What `infer.py` does once its options are parsed: one video, or many with a summary."""

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common.errors import InputError, check_seed, printable
from common.files import check_writable_folder
from common.stopwatch import Stopwatch
from stable_foley.checkpoint import default_checkpoint
from video2audio.batch import DONE, FAILED, UNCHANGED, Batch, Outcome, names_of
from video2audio.files import FileForm, check_files
from video2audio.pipeline import FoleyPipeline
from video2audio.request import FoleyRequest
from video2audio.summary import check_summary, write_summary
from video2audio.videos import Job, find_jobs, is_several
from video2rms.predict import BUNDLED_VIDEO2RMS

log = logging.getLogger("infer")


def run(args: argparse.Namespace) -> int:
    """Check the request, load the models, generate, save, and say how long each stage took.

    Args:
        args: the options of `infer.py`.

    Returns:
        Exit status: 1 if any of several videos failed.

    Raises:
        InputError: an option or a file cannot be used.
    """
    watch, form = Stopwatch(), FileForm(args.sound_format, args.bit_depth, args.format)
    jobs = find_jobs(args.video, args.output_dir)
    models = [path for path in (args.checkpoint, args.video2rms) if path is not None]
    first, is_one = request_of(args, jobs[0].video), not is_several(args.video)
    check(args, jobs[0], first, models, form, is_one=is_one)
    with watch.stage("model"):
        pipeline = load_pipeline(args, first)
    seeds = range(args.seed, args.seed + args.num_samples)
    batch = Batch(pipeline, seeds, form, models, overwrite=args.overwrite, progress=is_one)
    n_failed = 0
    if is_one:
        run_one(batch, jobs[0], first, watch)
    else:
        n_failed = run_many(batch, jobs, args, watch)
    log.info("seconds: %s", watch)
    return int(n_failed > 0)


def load_pipeline(args: argparse.Namespace, request: FoleyRequest) -> FoleyPipeline:
    """Load the models that a request needs.

    Args:
        args: the options that name models, device and precision.
        request: the request.

    Raises:
        InputError: a file, an override or the device cannot be used.
    """
    video2rms = (args.video2rms or BUNDLED_VIDEO2RMS) if request.envelope is None else None
    if not request.is_generated:
        return FoleyPipeline.of_recordings(video2rms, args.device)
    checkpoint = args.checkpoint or default_checkpoint(args.set)
    return FoleyPipeline.from_checkpoint(checkpoint, video2rms, args.device, args.dtype, args.set)


def check_seeds(args: argparse.Namespace) -> None:
    """Refuse a number of sounds whose last seed is not possible.

    Raises:
        InputError: naming the seed.
    """
    check_seed(args.seed + args.num_samples - 1, f"--seed {args.seed} --num-samples {args.num_samples}: the last seed")


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
        sampler_dir=args.sampler_dir,
        sampler_gain_db=args.sampler_mix,
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
    check_seeds(args)
    if None not in (args.envelope, args.video2rms):
        raise InputError("--video2rms predicts an envelope and --envelope gives one; leave out one of them.")
    if args.sampler_dir is not None:
        check_sampler(args, request)
    form.check()
    if is_one:
        check_files(request, job.folder, names_of(job, args.num_samples), form, models)
        request.check()
    else:
        request.check_options()
        check_writable_folder(args.output_dir, "--output-dir")
        check_summary(args.output_dir)


def check_sampler(args: argparse.Namespace, request: FoleyRequest) -> None:
    """Refuse options of a model that is not loaded, and results among the recordings.

    Raises:
        InputError: naming the option.
    """
    idle = "--checkpoint" if args.checkpoint else "--set" if args.set else None
    if idle is not None and not request.is_generated:
        raise InputError(
            f"{idle} is for a generated sound, and --sampler-dir plays recordings instead: leave it out, or give "
            "--sampler-mix too"
        )
    if args.output_dir.resolve().is_relative_to(args.sampler_dir.resolve()):
        raise InputError(
            f"--output-dir {args.output_dir} is within --sampler-dir {args.sampler_dir}, and results would be played "
            "as recordings: give another --output-dir"
        )


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
