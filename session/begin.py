"""A new session with its first takes, and what ``infer.py --session FOLDER`` does: its export too."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from common.errors import InputError
from media.envelope import FINE_RATE_HZ
from session.folder import SessionFolder, check_new
from session.mixing import check_export, export
from session.model import Session, Track
from session.models import model_record
from session.work import Bars, Workshop, shown_bar
from video2audio.command import check_seeds, load_pipeline, request_of
from video2audio.inputs import read_inputs
from video2audio.pipeline import FoleyPipeline
from video2audio.record import fingerprint
from video2audio.request import FoleyRequest

log = logging.getLogger("infer")

FIRST_TRACK = "main"

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
    work = new_session(args.session, request, load_pipeline(args, request), bars=shown_bar)
    with work.place.locked():
        return work.generate(None, range(args.seed, args.seed + args.num_samples))


def new_session(
    folder: Path,
    request: FoleyRequest,
    pipeline: FoleyPipeline,
    *,
    bars: Bars | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Workshop:
    """Begin a session with one track without takes, whose envelope is predicted from the picture or given.

    Args:
        folder: A new or empty folder.
        request: The video, its part (from a multiple of 8 ms on), prompts, envelope and settings; prompts must be words
            or files.
        pipeline: The models.
        bars: Show progress; None: it is not shown.
        on_progress: Called with the share of the prediction that is done.

    Raises:
        InputError: The folder is not empty, or a file cannot be used.
    """
    section = request.section
    if abs(section.start_s * FINE_RATE_HZ - round(section.start_s * FINE_RATE_HZ)) > 1e-6:
        raise InputError(f"--start {section.start_s:g} is no multiple of 0.008 s: give one for a session")
    if len(request.prompt_files) < len(request.audio_prompts):
        raise InputError("a sound prompt of a session is a tensor: write it to a file, and give that")
    settings = {key: value for key, value in request.sampler_changes.items() if value is not None}
    session = Session(
        video=str(request.video.resolve()),
        fingerprint=fingerprint(request.video),
        start_s=section.start_s,
        duration_s=section.duration_s,
        model=model_record(pipeline),
        settings={**settings, "control_strength": request.control_strength},
    )
    inputs = read_inputs(
        request, pipeline.generator, pipeline.video2rms, progress=bars is not None, on_progress=on_progress
    )
    sounds = tuple(str(part.resolved()) for part in request.prompt_files)
    track = Track(FIRST_TRACK, request.prompt, request.negative_prompt, sounds)
    place = SessionFolder.new(folder, session)
    place.write_envelope(track, inputs.envelope)
    return Workshop(place.saved(session.changed(track)), pipeline, bars)
