"""The results as files: metrics.json, per_clip.csv and table.md."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.files import atomic_path
from common.spreadsheet import guarded
from evaluation.clip import ClipResult
from evaluation.measures import MEASURES, Measure
from evaluation.statistics import MIN_FOR_INTERVAL, Estimate
from evaluation.summary import Evaluation, SystemSummary

ROW_HEADER = ("system", "clip", "status", "notes", "duration_s", "onset_reference")
NOTE = (
    "Means over clips with bootstrapped 95 % intervals; n where not all compared clips have a value. Means over fewer "
    f"than {MIN_FOR_INTERVAL} clips have no interval: a bootstrap of so few would be too narrow."
)


def write_json(path: Path, evaluation: Evaluation, settings: Mapping[str, Any]) -> None:
    """Write all overall figures, the clips without figures, what each measure means, and the settings."""
    content = {
        "reference": str(evaluation.reference),
        "settings": settings,
        "systems": {system.name: _system_record(system, evaluation) for system in evaluation.systems},
        "comparisons": [
            {"first": each.first, "second": each.second, "second_minus_first": asdict(each)["differences"]}
            for each in evaluation.comparisons
        ],
        "measures": {m.name: {"title": m.title, "definition": m.definition, "better": m.better} for m in MEASURES},
    }
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")


def _system_record(system: SystemSummary, evaluation: Evaluation) -> dict[str, Any]:
    rows = [row for row in evaluation.rows if row.system == system.name and row.status != "compared"]
    return {
        **asdict(system),
        "folder": str(system.folder),
        "without_figures": {row.clip_id: f"{row.status}: {'; '.join(row.notes)}" for row in rows},
    }


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """Write a line for every clip of every system; a cell is empty where a value is not defined.

    Names and notes are guarded against running as formulas in a spreadsheet, see `common.spreadsheet.guarded`.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)  # with line ends of Windows: otherwise Python 3.11 leaves those in names unquoted
        writer.writerow([*ROW_HEADER, *(measure.name for measure in MEASURES)])
        writer.writerows(map(_cells, evaluation.rows))


def _cells(row: ClipResult) -> list[Any]:
    names = [guarded(text) for text in (row.system, row.clip_id, row.status, "; ".join(row.notes))]
    return [*names, row.duration_s, row.onset_reference, *(row.values.get(measure.name) for measure in MEASURES)]


def markdown(evaluation: Evaluation) -> str:
    """Return overall figures as a Markdown table, a column a system, and paired differences below."""
    names = [system.name for system in evaluation.systems]
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [f"| {' | '.join(cells)} |" for cells in overall_cells(evaluation)]
    for comparison in evaluation.comparisons:
        lines += ["", f"| {comparison.second} minus {comparison.first}, paired | difference |", "|---|---|"]
        lines += [
            f"| {measure.heading} | {_show(estimate, measure, None, signed=True)} |"
            for measure in MEASURES
            if (estimate := comparison.differences.get(measure.name)) is not None
        ]
    lines += ["", NOTE]
    return "\n".join(lines) + "\n"


def overall_cells(evaluation: Evaluation) -> Iterator[list[str]]:
    """Yield the lines of the overall table: title, then a cell for each system."""
    systems = evaluation.systems
    for title, name in (("compared", "n_compared"), ("failed", "n_failed"), ("without partner", "n_no_partner")):
        yield [f"Clips {title}", *(str(getattr(system, name)) for system in systems)]
    for measure in MEASURES:
        if any(measure.name in system.means for system in systems):
            estimates = [(system.means.get(measure.name), system.n_compared) for system in systems]
            yield [measure.heading, *(_show(estimate, measure, n) for estimate, n in estimates)]
    if any(system.frechet for system in systems):
        yield ["FAD, LAION-CLAP ↓", *(_fad(system, extrapolated=False) for system in systems)]
        yield ["FAD∞, LAION-CLAP ↓", *(_fad(system, extrapolated=True) for system in systems)]


def _fad(system: SystemSummary, *, extrapolated: bool) -> str:
    if system.frechet is None:
        return ""
    value = system.frechet.extrapolated if extrapolated else system.frechet.distance
    return "" if value is None else f"{value:.4f} (N {system.frechet.n_samples})"


def _show(estimate: Estimate | None, measure: Measure, n_all: int | None, *, signed: bool = False) -> str:
    """Format a mean with its interval."""
    if estimate is None:
        return ""
    form = f"{'+' if signed else ''}.{measure.decimals}f"
    text = format(estimate.mean, form)
    if estimate.low is not None and estimate.high is not None:
        text += f" [{estimate.low:{form}}, {estimate.high:{form}}]"
    return text if estimate.n == n_all else f"{text} (n {estimate.n})"
