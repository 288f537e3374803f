"""What ``infer.py --session FOLDER`` does: a new session with its takes, and the export of the best one."""

import argparse
import logging
from pathlib import Path

from common.errors import InputError, check_seed
from session.folder import check_new
from session.mixing import check_export, export
from session.work import Workshop
from stable_foley.checkpoint import default_checkpoint
from video2audio.command import request_of
from video2audio.pipeline import FoleyPipeline
from video2rms.predict import BUNDLED_VIDEO2RMS

log = logging.getLogger("infer")

NOT_FOR_SESSIONS = [
    "bit_depth",
    "codec",
    "format",
    "fps",
    "keep_sound",
    "loudness",
    "peaks",
    "quality",
    "sampler_dir",
    "sampler_mix",
    "sound_format",
]
"""Options of `infer.py` that a session does not have."""


def begin(args: argparse.Namespace, usual: argparse.Namespace) -> int:
    """Begin a session with the options of `infer.py`, and export it.

    Args:
        args: The options, with `session`.
        usual: The same with all defaults.

    Returns:
        Exit status.

    Raises:
        InputError: An option or a file cannot be used.
    """
    for name in NOT_FOR_SESSIONS:
        if getattr(args, name) != getattr(usual, name):
            raise InputError(f"--{name.replace('_', '-')} is not for a session: leave it out, or leave --session out")
    if len(args.video) != 1 or not Path(args.video[0]).is_file():
        raise InputError(f"--session {args.session} is for one video file: give one, or leave --session out")
    check_seed(args.seed + args.num_samples - 1, f"--seed {args.seed} --num-samples {args.num_samples}: the last seed")
    request = request_of(args, args.video[0])
    request.check()
    check_new(args.session)
    check_export(args.session, request.video, args.output_dir, request.video.stem, overwrite=args.overwrite)
    video2rms = (args.video2rms or BUNDLED_VIDEO2RMS) if args.envelope is None else None
    checkpoint = args.checkpoint or default_checkpoint(args.set)
    pipeline = FoleyPipeline.from_checkpoint(checkpoint, video2rms, args.device, args.dtype, args.set)
    work = Workshop.begin(args.session, request, pipeline, progress=True)
    with work.place.locked():
        work = work.generate(None, range(args.seed, args.seed + args.num_samples))
        for path in export(work, args.output_dir, sample_rate_hz=args.sample_rate, overwrite=args.overwrite):
            log.info("wrote %s", path)
    log.info("wrote the session %s; python -m session show %s lists it", args.session, args.session)
    return 0
