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
from common.options import command_parser
from hits.files import hit_table, open_envelope, write_hit_table
from hits.options import add_edits, applied
from media.envelope import write_envelope_csv
from media.reading import probe
from media.sound_part import SoundPart

OUTPUTS = ("output", "table")
"""Options that name a file to write."""


def build_parser() -> argparse.ArgumentParser:
    """Return all options, with their defaults."""
    parser = command_parser("python -m hits", __doc__)
    parser.add_argument(
        "envelope",
        metavar="ENVELOPE",
        help="CSV (time_s,rms, or hits as time_s,level,decay_s), or a sound or video whose sound is measured",
    )
    add_edits(parser)
    parser.add_argument("--video", type=Path, metavar="FILE", help="video: its duration is that of a table of hits")
    add = parser.add_argument
    add("--output", type=Path, metavar="FILE", help="file to write: the envelope as edited, CSV (time_s,rms)")
    add("--table", type=Path, metavar="FILE", help="file to write: the hits as edited, CSV (time_s,level,decay_s)")
    return parser


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written, or that would replace an input or each other.

    Raises:
        InputError: The error names the option.
    """
    inputs = [path for path in (SoundPart.parse(args.envelope).path, args.video) if path is not None]
    outputs = {f"--{name}": getattr(args, name) for name in OUTPUTS if getattr(args, name) is not None}
    for option, path in outputs.items():
        check_writable_folder(path.parent, option)
        if path.is_dir() or path.absolute() in (other.absolute() for name, other in outputs.items() if name != option):
            raise InputError(f"{option} {path} is a folder, or another output: give another file")
        if any(same_file(path, given) for given in inputs):
            raise InputError(f"{option} {path} is an input and would be overwritten: give another file")


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Read, edit, write and print."""
    args = build_parser().parse_args(arguments)
    check_outputs(args)
    duration_s = None if args.video is None else probe(args.video).duration_s
    edited = applied(open_envelope(args.envelope, duration_s), args.edits)
    if args.output:
        write_envelope_csv(args.output, edited.envelope)
    if args.table:
        write_hit_table(args.table, edited)
    sys.stdout.write(hit_table(edited))


if __name__ == "__main__":
    main()
