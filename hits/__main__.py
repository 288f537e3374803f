"""Show the hits of an envelope and edit them: ``python -m hits ENVELOPE.csv --move 1.70 1.85 --output FILE``.

Prints the hits as a table, which is an envelope too. The input is never changed.
"""

if __name__ == "__main__":  # before the slow imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import InputError, user_errors
from common.files import check_writable_folder, same_file
from common.options import add_number, command_parser
from hits.edit import HitEnvelope
from hits.files import hit_table, open_envelope, write_hit_table
from hits.grid import FASTEST_BPM, SLOWEST_BPM
from hits.labels import write_labels
from hits.midi import USUAL_TEMPO_BPM, write_midi
from hits.options import add_edits, applied
from hits.timeline import Scene, write_edl, write_otio
from media.envelope import write_envelope_csv
from media.probe import probe
from media.sound_part import SoundPart

OUTPUTS = {
    "output": (".csv",),
    "table": (".csv",),
    "midi": (".mid", ".midi"),
    "labels": (".txt", ".csv"),
    "otio": (".otio",),
    "edl": (".edl",),
}
"""Options that name a file to write, and its suffixes."""


def build_parser() -> argparse.ArgumentParser:
    """Return all options, with their defaults."""
    parser = command_parser("python -m hits", __doc__)
    parser.add_argument(
        "envelope",
        metavar="ENVELOPE",
        help="CSV (time_s,rms, or hits as time_s,level,decay_s), MIDI, labels of Audacity (.txt), or a sound or video "
        "whose sound is measured",
    )
    add_edits(parser)
    add = parser.add_argument
    add("--video", type=Path, metavar="FILE", help="video: for --otio and --edl, and for the duration of hits alone")
    add("--sounds", type=Path, nargs="+", default=[], metavar="FILE", help="sounds of the video, for --otio and --edl")
    add("--output", type=Path, metavar="FILE", help="file to write: the envelope as edited, CSV (time_s,rms)")
    add("--table", type=Path, metavar="FILE", help="file to write: the hits as edited, CSV (time_s,level,decay_s)")
    add("--midi", type=Path, metavar="FILE", help="file to write: the hits as notes, velocity 127 * sqrt(level)")
    tempo = "tempo of the MIDI file, in quarter notes a minute"
    add_number(parser, "--tempo", SLOWEST_BPM, FASTEST_BPM, default=USUAL_TEMPO_BPM, metavar="BPM", help=tempo)
    add("--labels", type=Path, metavar="FILE", help="file to write: labels, .txt for Audacity, .csv for Reaper")
    add("--otio", type=Path, metavar="FILE", help="file to write: an OpenTimelineIO timeline with markers at the hits")
    add("--edl", type=Path, metavar="FILE", help="file to write: an EDL (CMX 3600) with locators at the hits")
    return parser


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written, or that would replace an input or each other.

    Raises:
        InputError: The error names the option.
    """
    given = [SoundPart.parse(args.envelope).path, args.video, *args.sounds]
    inputs = [path for path in given if path is not None]
    outputs = {f"--{name}": getattr(args, name) for name in OUTPUTS if getattr(args, name) is not None}
    for option, path in outputs.items():
        check_writable_folder(path.parent, option)
        if path.is_dir() or path.absolute() in (other.absolute() for name, other in outputs.items() if name != option):
            raise InputError(f"{option} {path} is a folder, or another output: give another file")
        if any(same_file(path, given) for given in inputs):
            raise InputError(f"{option} {path} is an input and would be overwritten: give another file")
        suffixes = OUTPUTS[option[2:]]
        if path.suffix.lower() not in suffixes:
            raise InputError(
                f"{option} {path} ends with {path.suffix!r}: give a file name with {' or '.join(suffixes)}"
            )
        if option in ("--otio", "--edl") and args.video is None:
            raise InputError(f"{option} {path} needs the video that the hits belong to: give --video FILE")


def write(args: argparse.Namespace, edited: HitEnvelope) -> None:
    """Write all outputs; the hits of tools are those that are not muted.

    Raises:
        InputError: There are no hits to write, or a file cannot be used or written.
    """
    hits = edited.as_hits
    tools = [path for path in (args.midi, args.labels, args.otio, args.edl) if path is not None]
    if tools and len(hits) == 0:
        raise InputError(f"{tools[0]} would hold no hits: the envelope has none")
    scene = Scene.of(args.video, args.sounds, hits) if args.otio or args.edl else None
    if args.output:
        write_envelope_csv(args.output, edited.envelope)
    if args.table:
        write_hit_table(args.table, edited)
    if args.midi:
        write_midi(args.midi, hits, args.tempo)
    if args.labels:
        write_labels(args.labels, hits)
    if scene and args.otio:
        write_otio(args.otio, scene)
    if scene and args.edl:
        write_edl(args.edl, scene)


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Read, edit, write and print."""
    args = build_parser().parse_args(arguments)
    check_outputs(args)
    duration_s = None if args.video is None else probe(args.video).duration_s
    edited = applied(open_envelope(args.envelope, duration_s), args.edits)
    write(args, edited)
    sys.stdout.write(hit_table(edited))


if __name__ == "__main__":
    main()
