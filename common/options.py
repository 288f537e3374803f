"""Options of the command lines: the same name, help text and check for the same thing in every command."""

import argparse
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from common.errors import check_range, check_seed
from common.parallel import check_workers

Part = TypeVar("Part")
MOST_AT_ONCE = 1024  # clips or chunks in a batch
MOST_CLIPS = 100_000
MOST_SAMPLES = 1000


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds a default to the help of each option that has one and does not describe it itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_none = action.default is None or action.default is False or action.default == []
        if action.required or has_none or "(default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def command_parser(prog: str, doc: str | None, *, epilog: str | None = None) -> argparse.ArgumentParser:
    """Return a parser without options.

    Args:
        prog: Call of the command, for instance ``python -m data.report``.
        doc: Docstring of its module; the first line, without an example call after a colon, describes the command.
        epilog: Text at the end of the help.
    """
    return argparse.ArgumentParser(
        prog=prog,
        description=(doc or "").strip().split("\n")[0].split(": ``")[0],
        epilog=epilog,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )


class _Checked(argparse.Action):
    """Stores a value after its check, whose `InputError` ends the command with one sentence."""

    def __init__(self, *args: Any, check: Callable[[Any], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check = check

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        self._check(values)
        setattr(namespace, self.dest, values)


def add_number(
    parser: argparse.ArgumentParser,
    name: str,
    least: float,
    most: float,
    *,
    default: float,
    help: str,
    metavar: str = "N",
) -> None:
    """Add an option for a number.

    Args:
        parser: The command's parser.
        name: The option.
        least: Smallest allowed number.
        most: Largest allowed number.
        default: The default; an `int` allows only whole numbers.
        help: Meaning of the number.
        metavar: Unit in the help, or N for a count.

    Raises:
        InputError: When options are parsed, if the number is outside the range.
    """
    kind = type(default)
    check = partial(check_range, name, least=least, most=most, whole=kind is int)
    parser.add_argument(name, type=kind, action=_Checked, check=check, metavar=metavar, default=default, help=help)


def add_seed(parser: argparse.ArgumentParser, of: str, *, default: int = 0) -> None:
    """Add ``--seed``.

    Args:
        parser: The command's parser.
        of: Purpose of the seed, for the help.
        default: The default.

    Raises:
        InputError: When options are parsed, if the seed is not a whole number of 32 bits.
    """
    parser.add_argument(
        "--seed", type=int, action=_Checked, check=check_seed, metavar="N", default=default, help=f"seed of {of}"
    )


def add_workers(parser: argparse.ArgumentParser, *, default: int | None = None) -> None:
    """Add ``--workers``; the default is one worker for each core.

    Raises:
        InputError: When options are parsed, if the number is too large for this machine.
    """
    parser.add_argument(
        "--workers",
        type=int,
        action=_Checked,
        check=check_workers,
        metavar="N",
        default=os.cpu_count() if default is None else default,
        help="worker processes; 0: all work in this process",
    )


def add_clips(parser: argparse.ArgumentParser, *, default: int, least: int = 1, kind: str = "synthetic") -> None:
    """Add ``--clips``, the number of clips that a benchmark or report makes.

    Raises:
        InputError: When options are parsed, if it is outside `least` to `MOST_CLIPS`.
    """
    add_number(parser, "--clips", least, MOST_CLIPS, default=default, help=f"number of {kind} clips")


def add_batch_size(parser: argparse.ArgumentParser, *, default: int) -> None:
    """Add ``--batch-size``.

    Raises:
        InputError: When options are parsed, if it is outside 1 to `MOST_AT_ONCE`.
    """
    add_number(parser, "--batch-size", 1, MOST_AT_ONCE, default=default, help="clips or chunks processed at once")


@dataclass(frozen=True)
class Shard:
    """One of several parts of the work, for machines that share a folder and divide the work between them.

    Args:
        index: Number of the part, from 0.
        count: Number of parts.
    """

    index: int = 0
    count: int = 1

    def of(self, jobs: Sequence[Part]) -> Sequence[Part]:
        """Return every `count`-th job, from job `index` on."""
        return jobs[self.index :: self.count]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def add_shard(parser: argparse.ArgumentParser) -> None:
    """Add ``--shard``, a `Shard` given as I/N."""
    parser.add_argument(
        "--shard", type=_shard, metavar="I/N", default=Shard(), help="process part I, counted from 0, of N parts"
    )


def add_join(parser: argparse.ArgumentParser) -> None:
    """Add ``--join``, which checks and joins what the jobs of all shards have made."""
    joined = "check that all parts of --shard are there and belong together, and finish the result; do nothing else"
    parser.add_argument("--join", action="store_true", help=joined)


def _shard(text: str) -> Shard:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text} is not a part: give I/N with I from 0 to N - 1, for instance 0/4")
    return Shard(int(match[1]), int(match[2]))


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, for `common.devices.pick_device`."""
    parser.add_argument("--device", help="cuda, mps or cpu (default: the first of these that is available)")


def add_dtype(parser: argparse.ArgumentParser, choices: Iterable[str], *, default: str = "float32") -> None:
    """Add ``--dtype``, one of `choices`."""
    precision = "precision of the transformer: %(choices)s"
    parser.add_argument("--dtype", choices=list(choices), metavar="TYPE", default=default, help=precision)


def add_checkpoint(parser: argparse.ArgumentParser, of: str, *, default: Path | None = None) -> None:
    """Add ``--checkpoint``.

    Args:
        parser: The command's parser.
        of: What the checkpoint holds, for the help, such as a training or an experiment.
        default: The bundled checkpoint; None makes the option required.
    """
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        required=default is None,
        default=default,
        help=f"checkpoint of {of}" + ("" if default is None else " (default: the bundled one)"),
    )


def add_root(parser: argparse.ArgumentParser, *, help: str | None = None) -> None:
    """Add ``--root``, the folder of a data set, which is required."""
    usual = "folder of the data set: Greatest Hits, processed or raw, or any folder of videos with sound"
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help=help or usual)


def add_steps(parser: argparse.ArgumentParser, *, default: int | None = None) -> None:
    """Add ``--steps``, the number of sampling steps; None leaves it to the checkpoint."""
    steps = "sampling steps" + ("" if default else " (default: the checkpoint's)")
    parser.add_argument("--steps", type=int, metavar="N", default=default, help=steps)


def add_level_match(parser: argparse.ArgumentParser) -> None:
    """Add ``--level-match``, in dB; None leaves it to the checkpoint."""
    gain = "largest gain towards the envelope in dB, 0 for none (default: the checkpoint's)"
    parser.add_argument("--level-match", type=float, metavar="DB", help=gain)


def add_num_samples(parser: argparse.ArgumentParser, *, default: int = 1) -> None:
    """Add ``--num-samples``, the number of sounds for one input.

    Raises:
        InputError: When options are parsed, if it is outside 1 to `MOST_SAMPLES`.
    """
    samples = "sounds to make, with seeds that count up"
    add_number(parser, "--num-samples", 1, MOST_SAMPLES, default=default, help=samples)


def add_output_dir(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--output-dir``, the folder to write to; required without a default."""
    parser.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        required=default is None,
        default=None if default is None else Path(default),
        help="folder to write to",
    )


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--output``, the file to write, which is required."""
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=f"file to write: {what}")


def add_part(parser: argparse.ArgumentParser) -> None:
    """Add ``--start`` and ``--duration``, a part of a video in seconds."""
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="start of the part, in seconds")
    parser.add_argument(
        "--duration", type=float, metavar="S", help="duration in seconds (default: to the end of the video)"
    )


def add_frame_size(parser: argparse.ArgumentParser, *, default: tuple[int, int]) -> None:
    """Add ``--frame-size``, width and height in pixels."""
    parser.add_argument(
        "--frame-size",
        type=_size_px,
        default=default,
        metavar="WIDTHxHEIGHT",
        help=f"size of the frames in pixels (default: {default[0]}x{default[1]})",
    )


def _size_px(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,10})x(\d{1,10})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give WIDTHxHEIGHT in pixels, for instance 320x240")
    return int(match[1]), int(match[2])


def add_set(parser: argparse.ArgumentParser, *, default: Sequence[str] = ()) -> None:
    """Add ``--set``, changes to a checkpoint's configuration."""
    parser.add_argument(
        "--set", nargs="+", default=list(default), metavar="KEY=VALUE", help="changes to the configuration"
    )
