"""Edit the sound of a video: ``python -m session new SESSION --video FILE``, then other commands on the same folder.

A session is a folder with tracks, takes, their envelopes and sounds. Nothing that was made is written over.
"""

if __name__ == "__main__":  # before the slow imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.choices import SAMPLING_DTYPES
from common.errors import InputError, user_errors
from common.options import (
    add_device,
    add_dtype,
    add_num_samples,
    add_output_dir,
    add_part,
    add_seed,
    add_set,
    add_steps,
    command_parser,
)
from hits.edit import Hit
from hits.files import hit_table
from hits.options import add_edits
from media.sound_part import SoundPart
from session.begin import begun
from session.folder import SessionFolder
from session.mixing import export
from session.model import Track
from session.models import load_models
from session.work import Workshop, shown_bar
from video2audio.pipeline import FoleyPipeline
from video2audio.request import FoleyRequest

log = logging.getLogger("session")


def build_parser() -> argparse.ArgumentParser:
    """Return all commands with their options."""
    parser = command_parser("python -m session", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str,
        help: str,
        run: Callable[[argparse.Namespace], Any],
        *,
        of_track: bool = True,
        generates: bool = False,
    ) -> Any:
        added = commands.add_parser(name, help=help, allow_abbrev=False)
        added.set_defaults(run=run)
        added.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
        if name != "new":
            added.add_argument("--video", type=Path, metavar="FILE", help="the video, if it was moved")
        if generates:
            add_device(added)
        if of_track:
            added.add_argument("--track", metavar="NAME", help="the track (default: the only one)")
        return added

    new = command("new", "begin a session, with one track and its first takes", _new, of_track=False, generates=True)
    new.add_argument("--video", type=Path, required=True, metavar="FILE", help="video file")
    _add_prompts(new)
    new.add_argument("--envelope", type=Path, metavar="FILE", help="when and how loud (default: from the picture)")
    add_part(new)
    add_seed(new, "the first take")
    add_num_samples(new)
    add_steps(new)
    new.add_argument("--cfg", type=float, metavar="SCALE", help="guidance scale (default: the checkpoint's)")
    new.set_defaults(video2rms=None)
    new.add_argument("--checkpoint", type=Path, metavar="FILE", help="checkpoint (default: the bundled mini)")
    add_dtype(new, SAMPLING_DTYPES)
    add_set(new)

    command("show", "list tracks, takes (the best first) and hits", _show)
    takes = command("generate", "make more takes of a track", _generate, generates=True)
    add_seed(takes, "the first take")
    add_num_samples(takes)
    edit = command("edit", "edit hits; of the sound only what changes is made anew", _edit, generates=True)
    add_edits(edit)
    edit.add_argument("--envelope", metavar="FILE", help="an envelope in place of the track's, before other edits")
    redo = command("redo", "make a region of a track anew", _redo, generates=True)
    redo.add_argument("start", type=float, metavar="START", help="start of the region, in seconds of the video")
    redo.add_argument("end", type=float, metavar="END", help="its end")
    add_seed(redo, "the region", default=1)
    keep = command("keep", "choose the take that is heard; this undoes edits", _keep)
    keep.add_argument("take", type=int, metavar="TAKE", help="number of the take")
    discard = command("discard", "remove takes", _discard)
    discard.add_argument("takes", type=int, nargs="+", metavar="TAKE", help="numbers of the takes")
    change = command("set", "change prompt, gain, place and mute of a track", _set)
    _add_prompts(change)
    _add_place(change)
    change.add_argument("--mute", action=argparse.BooleanOptionalAction, default=None, help="leave it out of the mix")
    add = command("add", "add a track with an envelope of its own", _add_track, of_track=False)
    add.add_argument("--name", required=True, metavar="NAME", help="name of the new track")
    add.add_argument("--envelope", required=True, metavar="FILE", help="when and how loud: any envelope of infer.py")
    _add_prompts(add)
    _add_place(add)
    split = command("split", "move hits of a track to a new one", _split, generates=True)
    split.add_argument("--name", required=True, metavar="NAME", help="name of the new track")
    which = split.add_mutually_exclusive_group(required=True)
    which.add_argument("--hits", type=float, nargs="+", metavar="TIME", help="the hits at these times")
    which.add_argument("--between", type=float, nargs=2, metavar=("START", "END"), help="all hits between two times")
    which.add_argument("--louder", type=float, metavar="LEVEL", help="all hits above a level")
    which.add_argument("--softer", type=float, metavar="LEVEL", help="all hits below a level")
    which.add_argument("--heard-as", metavar="WORDS", help="all hits that sound more like these words than the prompt")
    _add_prompts(split)
    _add_place(split)
    command("remove", "remove a track", _remove)
    original = command("original", "mix the video's own sound in, or leave it out", _original, of_track=False)
    original.add_argument("gain", metavar="DB", help="its gain in dB, or off")
    out = command("export", "write video, mix, stems, MIDI, labels and timelines", _export, of_track=False)
    add_output_dir(out, "outputs")
    out.add_argument("--name", metavar="NAME", help="name of the files (default: the video's)")
    out.add_argument("--overwrite", action="store_true", help="replace files that are there")
    out.add_argument("--sample-rate", type=int, choices=(44_100, 48_000), metavar="HZ", help="44100 or 48000")
    return parser


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", metavar="WORDS", help="words for what it should sound like")
    parser.add_argument("--negative-prompt", metavar="WORDS", help="words for what it should not sound like")
    parser.add_argument("--audio-prompt", nargs="+", metavar="FILE", help="sounds it should be like")


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gain", type=float, metavar="DB", help="gain in the mix")
    parser.add_argument("--pan", type=float, metavar="PLACE", help="place in the mix, -1 (left) to 1 (right)")


def _values(args: argparse.Namespace) -> dict[str, Any]:
    """Return the attributes of a track that options give."""
    given = {
        "prompt": args.prompt,
        "negative_prompt": args.negative_prompt,
        "audio_prompts": args.audio_prompt and tuple(str(SoundPart.of(name).resolved()) for name in args.audio_prompt),
        "gain_db": getattr(args, "gain", None),
        "pan": getattr(args, "pan", None),
        "muted": getattr(args, "mute", None),
    }
    return {name: value for name, value in given.items() if value is not None}


def _new(args: argparse.Namespace) -> None:
    request = FoleyRequest(
        args.video,
        envelope=args.envelope,
        prompt=args.prompt,
        negative_prompt=args.negative_prompt,
        audio_prompts=args.audio_prompt or (),
        start_s=args.start,
        duration_s=args.duration,
        n_steps=args.steps,
        cfg_scale=args.cfg,
    )
    _shown(begun(args, request))


def _seeds(args: argparse.Namespace) -> range:
    return range(args.seed, args.seed + args.num_samples)


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[Workshop]:
    """Open a session, with its models if the command generates, and let no other process change it meanwhile."""
    with SessionFolder.open(args.session, args.video).locked():
        place = SessionFolder.open(args.session, args.video)  # another process may have changed it until now
        pipeline = load_models(place.session, args.device) if "device" in args else FoleyPipeline(None, None)
        yield Workshop(place, pipeline, bars=shown_bar)


def _changing(change: Callable[[Workshop, argparse.Namespace], Workshop]) -> Callable[[argparse.Namespace], None]:
    """Return a command that changes a session, and then shows it."""

    def run(args: argparse.Namespace) -> None:
        with _opened(args) as work:
            _shown(change(work, args))

    return run


def _generate_takes(work: Workshop, args: argparse.Namespace) -> Workshop:
    return work.generate(args.track, _seeds(args))


def _edit_hits(work: Workshop, args: argparse.Namespace) -> Workshop:
    if not args.edits and args.envelope is None:
        raise InputError("nothing is to be edited: give edits such as --move TIME TO, or --envelope FILE")
    if args.envelope is not None:
        work = work.set_envelope(args.track, work.of_file(args.envelope))
    return work.edit(args.track, args.edits, args.words) if args.edits else work


def _gain_db(text: str) -> float | None:
    """Return the gain of the original sound; None: it is not heard."""
    try:
        return None if text == "off" else float(text.lower().removesuffix("db"))
    except ValueError:
        raise InputError(f"the gain {text!r} is not possible: give a number of dB, or off") from None


def _split_hits(work: Workshop, args: argparse.Namespace) -> Workshop:
    track = work.session.track(args.track)
    chosen: Callable[[Hit], bool]
    if args.hits is not None:
        hits = work.hits(track)
        named = [hits.named(time_s).time_s for time_s in args.hits]
        chosen = lambda hit: hit.time_s in named  # noqa: E731
    elif args.between is not None:
        chosen = lambda hit: args.between[0] <= hit.time_s < args.between[1]  # noqa: E731
    elif args.louder is not None:
        chosen = lambda hit: hit.level > args.louder  # noqa: E731
    elif args.softer is not None:
        chosen = lambda hit: hit.level < args.softer  # noqa: E731
    else:
        chosen = work.heard_as(args.track, args.heard_as)
    new = Track(args.name, **_values(args))
    return work.split(args.track, new, chosen)


_generate = _changing(_generate_takes)
_edit = _changing(_edit_hits)
_redo = _changing(lambda work, args: work.redo(args.track, args.start, args.end, args.seed))
_keep = _changing(lambda work, args: work.keep(args.track, args.take))
_discard = _changing(lambda work, args: work.discard(args.track, args.takes))
_set = _changing(lambda work, args: work.change(args.track, **_values(args)))
_add_track = _changing(lambda work, args: work.add(Track(args.name, **_values(args)), work.of_file(args.envelope)))
_split = _changing(_split_hits)
_remove = _changing(lambda work, args: work.remove(args.track))
_original = _changing(lambda work, args: work.keep_original(_gain_db(args.gain)))


def _show(args: argparse.Namespace) -> None:
    work = Workshop(SessionFolder.open(args.session, args.video), FoleyPipeline(None, None))
    _shown(work, args.track, hits=True)


def _export(args: argparse.Namespace) -> None:
    with _opened(args) as work:
        for path in export(work, args.output_dir, args.name, args.sample_rate, overwrite=args.overwrite):
            log.info("wrote %s", path)


def _shown(work: Workshop, name: str | None = None, *, hits: bool = False) -> None:
    """Print tracks and takes, and the hits of each track if they are asked for."""
    for track in work.session.tracks if name is None else [work.session.track(name)]:
        about = [repr(track.prompt) if track.prompt else "no words", f"{track.gain_db:+g} dB", f"pan {track.pan:g}"]
        about += ["muted"] if track.muted else []
        print(f"track {track.name}: {', '.join(about)}")
        for take in sorted(track.takes, key=lambda each: each.rank):
            f1 = "-" if take.onset_f1 is None else f"{take.onset_f1:.2f}"
            like = "-" if take.likeness is None else f"{take.likeness:.2f}"
            mark = "*" if take.number == track.kept else " "
            origin = f", from take {take.origin['take']}" if "take" in take.origin else ""
            scores = f"onset F1 {f1}, level within {take.level_error_db:.1f} dB, likeness {like}"
            print(f" {mark} take {take.number}: seed {take.seed}, {scores}{origin}")
        if hits:
            print(hit_table(work.hits(track)), end="")


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    words = sys.argv[1:] if arguments is None else list(arguments)
    args = build_parser().parse_args(words)
    args.words = words[2:]
    args.run(args)


if __name__ == "__main__":
    main()
