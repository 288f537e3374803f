"""Measure speed and memory: ``python -m benchmarks.speed``, or ``make bench``.

Each row runs in a process of its own. Where another program does the same work, both take turns in one run, so that
both see the same machine; the ratio is the median over the pairs. Prints a Markdown table, writes it to speed.md and
all times to speed.json, and names the rows that are slower than in benchmarks/speed/reference.json.
"""

import json
import logging
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.speed.report import REFERENCE, as_table, machine, read_reference, record, slower
from benchmarks.speed.rows import REPOSITORY, ROWS
from common.errors import InputError, user_errors
from common.files import atomic_path
from common.options import add_output_dir, command_parser

log = logging.getLogger(__name__)


def measure(name: str, output: Path) -> None:
    """Measure a row in this process, and write it to a file."""
    measured = ROWS[name].measure()
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    who = resource.RUSAGE_CHILDREN if measured.in_processes else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss * unit / 2**30
    output.write_text(json.dumps(record(measured, peak)), encoding="utf-8")


def measured_rows(names: Sequence[str]) -> dict[str, Any]:
    """Measure rows, each in a process of its own; one that fails is left out with a warning."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder, tqdm(names, unit="row") as bar:
        for name in bar:
            bar.set_postfix_str(name)
            output = Path(folder) / name
            command = [sys.executable, "-m", "benchmarks.speed", "--rows", name, "--into", str(output)]
            result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
            if result.returncode:
                log.warning("%s failed: %s", name, (result.stderr.strip().splitlines() or ["killed"])[-1])
            else:
                rows[name] = json.loads(output.read_text(encoding="utf-8"))
    return rows


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = command_parser("python -m benchmarks.speed", __doc__)
    parser.add_argument("--quick", action="store_true", help="only the rows that take seconds: no full-size model")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help=f"only these rows, of {', '.join(ROWS)}")
    parser.add_argument("--update", action="store_true", help="keep the result as the new reference")
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="measure one row in this process, and write it as JSON"
    )
    add_output_dir(parser, "outputs")
    args = parser.parse_args(arguments)
    names = args.rows or [name for name, row in ROWS.items() if row.is_quick or not args.quick]
    for name in names:
        if name not in ROWS:
            raise InputError(f"--rows {name} is no row; give some of {', '.join(ROWS)}.")
    if args.into is not None:
        measure(names[0], args.into)
        return
    rows, here = measured_rows(names), machine()
    text = (
        f"{here['processor']}, {here['threads']} threads, GPU {here['gpu']}, torch {here['torch']}\n\n{as_table(rows)}"
    )
    content = json.dumps({"machine": here, "rows": rows}, indent=2) + "\n"
    print(text, end="")
    for path, written in ((args.output_dir / "speed.md", text), (args.output_dir / "speed.json", content)):
        with atomic_path(path) as temporary:
            temporary.write_text(written, encoding="utf-8")
        log.info("wrote %s", path)
    reference = read_reference()
    if reference is not None:
        found = slower(rows, reference, same_machine=reference["machine"] == here)
        log.info("%s", "\n".join(["slower than the reference:", *found]) if found else "no row is slower than before")
    if args.update:
        with atomic_path(REFERENCE) as temporary:
            temporary.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
