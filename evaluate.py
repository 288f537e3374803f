"""Measure generated sounds: ``python evaluate.py --reference DIR --generated DIR``.

Writes metrics.json, per_clip.csv, table.md and report.html (worst clips first, with pictures and players) to the output
folder. Files are paired by name; files that cannot be compared get a row with the reason.
"""

if __name__ == "__main__":  # before the slow imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

import argparse
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clap.encoder import ClapEncoder
from common.errors import InputError, user_errors
from common.files import atomic_path, check_writable_folder
from common.options import add_number, add_output_dir, add_seed, add_workers, command_parser
from common.parallel import for_each
from data.greatest_hits import recording_id
from evaluation.clip import ClipResult, compare_clip
from evaluation.embeddings import read_prompts, score_with_clap
from evaluation.folders import ClipFiles, name_systems, pair_folders
from evaluation.measures import MEASURES
from evaluation.report import write_report
from evaluation.statistics import FrechetEstimate
from evaluation.summary import markdown, summarise, write_csv, write_json

log = logging.getLogger("evaluate")
N_NAMED = 5
MOST_REPORT_CLIPS = 1000  # each adds some 200 KB to the page


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = command_parser(
        "python evaluate.py",
        __doc__,
        epilog="Exit status: 0 if clips of every --generated folder were compared; 1 if results were written, but no "
        "clip of some folder could be compared; 2 if an option or a folder does not fit, and nothing was written.",
    )
    add = parser.add_argument
    reference = "folder of real sounds, videos or processed Greatest Hits clips"
    add("--reference", type=Path, required=True, metavar="DIR", help=reference)
    add(
        "--generated",
        type=Path,
        required=True,
        nargs="+",
        action="extend",
        metavar="DIR",
        help="folder of generated sounds; several are compared with each other",
    )
    annotations = "folder of <id>.times.csv or <id>_times.txt (default: those beside the reference)"
    add("--annotations", type=Path, metavar="DIR", help=annotations)
    add_output_dir(parser, "outputs/evaluation")
    add_workers(parser)
    add("--clap", type=Path, metavar="FILE", help="630k-audioset-best.pt, for CLAP scores and FAD")
    add("--prompts", type=Path, metavar="FILE", help="CSV (clip,prompt) for the text-audio CLAP score")
    tokenizer = "folder of RoBERTa's vocab.json and merges.txt (default: the hub or its cache)"
    add("--tokenizer", type=Path, metavar="DIR", help=tokenizer)
    shown = "clips that report.html shows with picture and sound"
    add_number(parser, "--report-clips", 0, MOST_REPORT_CLIPS, default=20, help=shown)
    add(
        "--worst-by",
        choices=[measure.name for measure in MEASURES if measure.better],
        default="e_l1_video_foley_16khz",
        metavar="MEASURE",
        help="column that puts the worst clips first: %(choices)s",
    )
    add_seed(parser, "the bootstrap and of FAD∞")
    return parser


def check_options(args: argparse.Namespace) -> None:
    """Refuse, before any work, options that cannot work.

    Raises:
        InputError: an option does not fit; the error names it.
    """
    if args.prompts is not None and args.clap is None:
        raise InputError(f"--prompts {args.prompts} needs CLAP: give its weights, --clap 630k-audioset-best.pt")
    check_writable_folder(args.output_dir, "--output-dir")


@dataclass(frozen=True, eq=False)
class Clap:
    """The model for CLAP scores and FAD, and the prompt of each clip by its id."""

    encoder: ClapEncoder
    prompts: dict[str, str]


def load_clap(args: argparse.Namespace, clips: list[ClipFiles]) -> Clap | None:
    """Return CLAP and the prompts, or None without weights.

    Raises:
        InputError: the weights, the tokenizer or the prompts cannot be read.
    """
    if args.clap is None:
        return None
    given = read_prompts(args.prompts) if args.prompts else {}
    names = {clip.clip_id: (recording_id(clip.clip_id), clip.clip_id) for clip in clips}
    prompts = {clip_id: given[name] for clip_id, both in names.items() for name in both if name in given}
    unknown = given.keys() - {name for both in names.values() for name in both}
    if unknown:
        log.warning("%d prompts of %s match no clip: %s", len(unknown), args.prompts, named(unknown))
    return Clap(ClapEncoder(args.clap, text=bool(prompts), tokenizer=args.tokenizer), prompts)


def named(names: Iterable[str]) -> str:
    """Return the first few names as text."""
    first, rest = sorted(names)[:N_NAMED], sorted(names)[N_NAMED:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")


def warn_of_gaps(rows: list[ClipResult]) -> None:
    """Warn of the clips without results."""
    gaps: dict[str, list[str]] = {}
    for row in rows:
        if row.status != "compared":
            reason = row.notes[0] if row.status == "no partner" else "could not be compared (see per_clip.csv)"
            gaps.setdefault(reason, []).append(f"{row.system}/{row.clip_id}")
    for reason, clips in gaps.items():
        log.warning("%s: %d clips, %s", reason, len(clips), named(clips))


def run(args: argparse.Namespace) -> list[str]:
    """Pair, measure, summarise and write the results.

    Returns:
        Names of the systems of which no clip could be compared.

    Raises:
        InputError: an option or a folder does not fit.
    """
    check_options(args)
    systems = name_systems(args.generated)
    clips = pair_folders(args.reference, systems, args.annotations)
    clap = load_clap(args, clips)
    compare = partial(compare_clip, systems=tuple(systems))
    rows = [row for result in for_each(compare, clips, args.workers, "clips") for row in result]
    frechet: dict[str, FrechetEstimate] = {}
    if clap is not None:
        scores = score_with_clap(rows, clips, clap.encoder, clap.prompts, args.seed)
        rows, frechet = scores.rows, scores.frechet
    evaluation = summarise(args.reference, systems, rows, frechet, args.seed)
    write_csv(args.output_dir / "per_clip.csv", evaluation)
    write_json(args.output_dir / "metrics.json", evaluation, vars(args))
    table = markdown(evaluation)
    with atomic_path(args.output_dir / "table.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    worst_by = next(measure for measure in MEASURES if measure.name == args.worst_by)
    write_report(args.output_dir / "report.html", evaluation, clips, worst_by, args.report_clips, args.workers)
    sys.stdout.write(f"{table}\n")
    warn_of_gaps(rows)
    for name in ("metrics.json", "per_clip.csv", "table.md", "report.html"):
        log.info("wrote %s", args.output_dir / name)
    return [system.name for system in evaluation.systems if system.n_compared == 0]


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; status 1 if no clip of a system could be compared."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(arguments)
    without_figures = run(args)
    if without_figures:
        log.error(
            "no clip of %s could be compared: %s has the reasons",
            named(without_figures),
            args.output_dir / "per_clip.csv",
        )
        raise SystemExit(1)


if __name__ == "__main__":
    main()
