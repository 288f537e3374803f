"""What became of many videos, as a table (summary.csv) and as a page with players (summary.html)."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment

from common.choices import SOUND_FORMATS, VIDEO_FORMATS
from common.errors import InputError
from common.files import atomic_path
from video2audio.batch import FAILED, Outcome

HEADER = (
    "video",
    "name",
    "status",
    "reason",
    "seed",
    "duration_s",
    "loudness_lufs",
    "true_peak_db",
    "took_s",
    "result",
)
TITLE = "Sounds for videos"
PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1.2em; }
figure { margin: 0; } video { width: 100%; max-height: 300px; background: #000; }
figcaption { overflow-wrap: anywhere; }
.note { opacity: .75; font-size: .9em; } table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #8886; padding: .25em .7em; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
</style></head><body>
<h1>{{ title }}</h1>
<p>{{ n_done }} with sound, {{ failed | length }} failed. <a href="summary.csv">summary.csv</a> has all numbers.</p>
{% if failed %}
<h2>Failed</h2>
<table><tr><th>video</th><th>reason</th></tr>
{% for row in failed %}<tr><td>{{ row.video }}</td><td>{{ row.reason }}</td></tr>{% endfor %}
</table>
{% endif %}
<h2>Results</h2>
<div class="grid">
{% for card in cards %}
<figure><video controls preload="metadata" src="{{ card.video }}"></video>
<figcaption><b>{{ card.name }}</b>
<span class="note">{{ card.numbers }} · <a href="{{ card.sound }}">sound</a> · <a href="{{ card.plot }}">plot</a></span>
</figcaption></figure>
{% endfor %}
</div>
</body></html>
""")


def check_summary(folder: Path) -> None:
    """Refuse to replace files that `write_summary` did not write.

    Raises:
        InputError: The error names the file.
    """
    for name, start in (("summary.csv", ",".join(HEADER)), ("summary.html", "<!doctype html>")):
        path = folder / name
        if path.exists() and not (path.is_file() and path.read_bytes().startswith(start.encode())):
            raise InputError(f"{path} would be replaced by a summary; move it away, or give another --output-dir.")


def write_summary(folder: Path, outcomes: Sequence[Outcome]) -> list[Path]:
    """Write summary.csv and summary.html.

    Args:
        folder: Folder of the results.
        outcomes: What became of each result.

    Returns:
        The files.

    Raises:
        InputError: A file cannot be written.
    """
    rows = [_row(folder, outcome) for outcome in outcomes]
    table, page = folder / "summary.csv", folder / "summary.html"
    with atomic_path(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    failed = [row for row in rows if row["status"] == FAILED]
    cards = [_card(folder, outcome, row) for outcome, row in zip(outcomes, rows, strict=True) if outcome.paths]
    with atomic_path(page) as temporary:
        text = PAGE.render(title=TITLE, n_done=len(cards), failed=failed, cards=cards)
        temporary.write_text(text, encoding="utf-8")
    return [table, page]


def _row(folder: Path, outcome: Outcome) -> dict[str, Any]:
    """Return the line of a result in the table; empty cells where nothing was measured."""
    record = _record(outcome)
    return {
        "video": str(outcome.job.video),
        "name": outcome.name,
        "status": outcome.status,
        "reason": outcome.reason,
        "seed": outcome.seed,
        "duration_s": _rounded(record.get("duration_s"), 3),
        "loudness_lufs": _rounded(record.get("measured_loudness_lufs"), 1),
        "true_peak_db": _rounded(record.get("measured_true_peak_db"), 1),
        "took_s": _rounded(outcome.took_s, 2),
        "result": next((_relative(folder, path) for path in _of_kind(outcome, VIDEO_FORMATS)), ""),
    }


def _card(folder: Path, outcome: Outcome, row: Mapping[str, Any]) -> dict[str, str]:
    """Return what the page shows of a result; links are relative, so that the folder can move."""

    def link(*suffixes: str) -> str:
        return next((quote(_relative(folder, path)) for path in _of_kind(outcome, suffixes)), "")

    loudness = "silent" if row["loudness_lufs"] == "" else f"{row['loudness_lufs']} LUFS"
    return {
        "name": _relative(folder, outcome.job.folder / outcome.name),
        "numbers": f"{row['duration_s']} s · {loudness}",
        "video": link(*VIDEO_FORMATS),
        "sound": link(*SOUND_FORMATS),
        "plot": link("png"),
    }


def _record(outcome: Outcome) -> Mapping[str, Any]:
    for path in _of_kind(outcome, ("json",)):
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    return {}


def _of_kind(outcome: Outcome, suffixes: Sequence[str]) -> list[Path]:
    return [path for path in outcome.paths if path.suffix[1:] in suffixes]


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _rounded(value: float | None, digits: int) -> float | str:
    return "" if value is None else round(value, digits)
