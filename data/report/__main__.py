"""Write a page about a data set: ``python -m data.report --root DIR``.

Writes report.md with its pictures, and report.json with every number, to the output folder. What is damaged, silent,
clipped, missing or in two splits is listed with the reason.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import InputError, user_errors
from common.files import atomic_path, check_writable_folder
from common.options import add_output_dir, add_root, add_workers, command_parser
from common.parallel import for_each
from data.greatest_hits import find_recordings
from data.report.findings import find, read_splits
from data.report.page import page
from data.report.plots import figures
from data.report.recording import Recording, examine
from data.report.summary import summarise

log = logging.getLogger("data.report")


def build_parser() -> argparse.ArgumentParser:
    """Return all options, with their defaults."""
    parser = command_parser("python -m data.report", __doc__)
    add_root(parser)
    split = "only the recordings of <root>/SPLIT.txt, or of the seeded share (default: all)"
    parser.add_argument("--split", help=split)
    add_output_dir(parser, "outputs/dataset-report")
    add_workers(parser)
    return parser


def check_options(args: argparse.Namespace) -> None:
    """Refuse what cannot work before any work is done.

    Raises:
        InputError: naming the option.
    """
    check_writable_folder(args.output_dir, "--output-dir")


def run(args: argparse.Namespace) -> None:
    """Read every recording once, count, write.

    Raises:
        InputError: an option, the folder or a split does not fit.
    """
    check_options(args)
    found = find_recordings(args.root)
    if not found:
        raise InputError(f"--root {args.root} holds neither videos nor clips: give the folder that holds the data set")
    splits = read_splits(args.root, args.split, list(found))
    clip_ids = list(found) if args.split is None else list(dict.fromkeys(splits.names[args.split]))
    jobs = [(clip_id, found[clip_id]) for clip_id in clip_ids if clip_id in found]
    recordings = list(for_each(examine, jobs, args.workers, "recordings"))
    summary, findings = summarise(recordings), find(recordings, splits, list(found))
    for name, figure in figures(summary):
        with atomic_path(args.output_dir / f"{name}.png") as temporary:
            figure.savefig(temporary)
    content = {
        "root": args.root,
        "split": args.split,
        "summary": asdict(summary),
        "findings": [asdict(finding) for finding in findings],
        "splits": asdict(splits),
        "recordings": [_row(recording) for recording in recordings],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    _write(args.output_dir / "report.json", text + "\n")
    part = f"split {args.split} of {args.root}" if args.split else f"{args.root}"
    _write(args.output_dir / "report.md", page(part, summary, splits, findings))
    for finding in findings:
        log.warning("%s: %d, first %s", finding.title.lower(), len(finding.rows), finding.rows[0][0])
    log.info("wrote %s", args.output_dir / "report.md")


def _row(recording: Recording) -> dict[str, Any]:
    """Return the entry of a recording in report.json, with its hits counted and without its envelope."""
    row = asdict(recording)
    row["n_hits"] = len(row.pop("hits"))
    if row["sound"]:
        del row["sound"]["envelope_counts"]
    return row


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(build_parser().parse_args(arguments))


if __name__ == "__main__":
    main()
