"""A new session with its first takes, and what ``infer.py --session FOLDER`` does: its export too."""

import argparse
import logging
from pathlib import Path

from common.errors import InputError
from session.folder import check_new
from session.mixing import check_export, export
from session.work import Workshop, shown_bar
from video2audio.command import check_seeds, load_pipeline, request_of
from video2audio.request import FoleyRequest

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
    request = request_of(args, args.video[0])
    check_export(args.session, request.video, args.output_dir, request.video.stem, overwrite=args.overwrite)
    work = begun(args, request)
    with work.place.locked():
        for path in export(work, args.output_dir, sample_rate_hz=args.sample_rate, overwrite=args.overwrite):
            log.info("wrote %s", path)
    log.info("wrote the session %s; python -m session show %s lists it", args.session, args.session)
    return 0


def begun(args: argparse.Namespace, request: FoleyRequest) -> Workshop:
    """Begin a session and make its first takes; everything is checked before a model is loaded.

    Args:
        args: The options: folder, seeds, models, device and precision.
        request: The video and what is asked for.

    Raises:
        InputError: An option or a file cannot be used.
    """
    check_seeds(args)
    request.check()
    check_new(args.session)
    work = Workshop.begin(args.session, request, load_pipeline(args, request), bars=shown_bar)
    with work.place.locked():
        return work.generate(None, range(args.seed, args.seed + args.num_samples))
