"""Write docs/commands.md, the options of every command: ``python -m docs.commands``.

The options come from the parsers themselves, so the page says what ``--help`` says. `tests/test_docs.py` compares the
page with them.
"""

import argparse
import importlib
import logging
import re
from collections.abc import Iterator
from typing import Any, NoReturn
from unittest.mock import patch

from common.errors import user_errors
from common.files import atomic_path
from common.options import command_parser
from training.config import REPOSITORY

COMMANDS = {
    "Make sounds": ("demo", "infer", "studio", "session", "hits", "video2rms.predict", "stable_foley.generate_split"),
    "Measure sounds and data": ("evaluate", "data.report", "synthetic.report", "tests.parity"),
    "Prepare data": ("data.preprocess", "synthetic", "training.cache", "training.shards"),
    "Convert checkpoints": ("stable_foley.checkpoint", "training.bundle"),
    "Benchmarks": (
        "benchmarks.cavp",
        "benchmarks.control",
        "benchmarks.control_envelope",
        "benchmarks.evaluation",
        "benchmarks.feature_cache",
        "benchmarks.full_size",
        "benchmarks.lengths",
        "benchmarks.mel_latent",
        "benchmarks.overfit_real_clip",
        "benchmarks.preprocess",
        "benchmarks.prompts",
        "benchmarks.readers",
        "benchmarks.region_ends",
        "benchmarks.steps",
        "benchmarks.ring",
        "benchmarks.real_clips",
        "benchmarks.speed",
        "benchmarks.synthetic",
        "benchmarks.video2rms",
    ),
    "Documentation": ("docs.commands", "docs.examples"),
}
"""Modules of the commands by the section of the page; a package stands for its ``__main__``."""
PAGE = REPOSITORY / "docs" / "commands.md"
GROUPS = ("backbone", "dataset", "model", "model/features", "training", "trainer", "hydra/launcher")
"""Groups of configurations that the page lists."""
INTRODUCTION = """# Commands

`make docs` writes this page from the commands themselves; `--help` prints the same. `train.py` is configured by Hydra,
with `key=value`; every other command takes options. An option means the same in every command that has it. A command
that refuses an option or a file prints one sentence that starts with `error:` and ends with status 2; it writes
nothing.
"""
TRAINING = """
## Train

`TAG=NAME python3 train.py exp=FILE [key=value …]` trains what an experiment describes. `TAG` names the folder of the
run below `runs/`. An experiment chooses one file of each group below and changes single values; `group=NAME` and
`key=value` on the command line change both, and `-m key=a,b` runs one training for each value. Add
`--cfg job --resolve` to print the whole configuration instead of training. [Training](training.md) explains the keys
that matter most.
"""

log = logging.getLogger(__name__)


class _ParserError(Exception):
    """Carries a parser out of the `main` that made it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser that a command makes, without running the command.

    Args:
        name: Module, for instance ``data.preprocess``; a package stands for its ``__main__``.
    """
    module = importlib.import_module(name)
    main = getattr(module, "main", None) or importlib.import_module(f"{name}.__main__").main

    def stop(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise _ParserError(parser)

    with patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            main([])
        except _ParserError as found:
            return found.parser
    raise AssertionError(f"{name} parses no options")


def page() -> str:
    """Return the whole page, in Markdown."""
    parts = [INTRODUCTION]
    with patch("os.cpu_count", return_value="one per core"):  # a default that differs between machines
        for section, names in COMMANDS.items():
            parts.append(f"\n## {section}\n")
            for name in names:
                parts += _described(parser_of(name), _called(name))
    return "".join([*parts, TRAINING, *_groups()])


def _called(name: str) -> str:
    """Return how a command is called."""
    return f"python {name}.py" if (REPOSITORY / f"{name}.py").is_file() else f"python -m {name}"


def _described(parser: argparse.ArgumentParser, called: str) -> Iterator[str]:
    """Yield the description of a command and the table of its options, with those of its sub-commands."""
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    nested = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    description = _plain((parser.description or "").split(": ``")[0].rstrip("."))
    yield f"\n### `{called}`\n\n{description}.\n"
    if rows := [_row(action) for action in actions if action not in nested]:
        yield "\n| option | default | meaning |\n|---|---|---|\n" + "".join(rows)
    if parser.epilog:
        yield f"\n{_plain(parser.epilog)}\n"
    for action in nested:
        helps = {choice.dest: str(choice.help) for choice in action._choices_actions}
        for name, inner in action.choices.items():
            inner.description = inner.description or helps[name][:1].upper() + helps[name][1:]
            yield from _described(inner, f"{called} {name}")


def _row(action: argparse.Action) -> str:
    """Return the row of one option."""
    metavar = action.metavar or (_listed(action.choices) if action.choices else action.dest.upper())
    words = metavar if isinstance(metavar, str) else " ".join(metavar)
    value = "" if action.nargs == 0 else f" {words}{' …' if action.nargs in ('+', '*') else ''}"
    shown = f"`{action.option_strings[0]}{value}`" if action.option_strings else f"`{value.strip()}`"
    choices = ", ".join(map(str, action.choices or ()))
    meaning = (action.help or "") % {**vars(action), "choices": choices}
    return "| " + " | ".join((shown.replace("|", "\\|"), _plain(_default(action, meaning)), _plain(meaning))) + " |\n"


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([|<*_])", r"\\\1", text)


def _listed(choices: Any) -> str:
    return "{" + ",".join(map(str, choices)) + "}"


def _default(action: argparse.Action, meaning: str) -> str:
    """Return what stands where an option is not given; nothing where its help says it."""
    if action.required:
        return "required"
    value = action.default
    if value is None or value is False or value == [] or "(default" in meaning:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _groups() -> Iterator[str]:
    """Yield the experiments and the groups of configurations, with what each file says of itself."""
    for group in ("exp", *GROUPS):
        yield f"\n### `{group}=`\n\n| choice | what it is |\n|---|---|\n"
        folder = REPOSITORY if group == "exp" else REPOSITORY / "configs"
        for path in sorted((folder / group).glob("*.yaml")):
            yield f"| `{group}={path.stem}` | {_comment(path.read_text(encoding='utf-8'))} |\n"


def _comment(text: str) -> str:
    """Return the comment that a configuration file begins with, on one line; without one, what the file builds."""
    lines = text.removeprefix("# @package _global_\n").splitlines()
    n_comment = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.removeprefix("#").strip() for line in lines[:n_comment]).replace("|", "\\|")
    return comment or "".join(f"`{line.split()[1]}`" for line in lines if line.startswith("_target_:"))


@user_errors()
def main(arguments: list[str] | None = None) -> None:
    """Write the page."""
    command_parser("python -m docs.commands", __doc__).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(), encoding="utf-8")
    log.info("wrote %s", PAGE.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
