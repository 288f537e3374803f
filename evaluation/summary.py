"""Overall figures, means of every measure for each system and differences between systems, and the files they go to."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from common.files import atomic_path
from common.spreadsheet import guarded
from evaluation.clip import ClipResult
from evaluation.measures import MEASURES, Measure
from evaluation.statistics import MIN_FOR_INTERVAL, Estimate, FrechetEstimate, bootstrap_mean

ROW_HEADER = ("system", "clip", "status", "notes", "duration_s", "onset_reference")
NOTE = (
    "Means over clips with bootstrapped 95 % intervals; n where not all compared clips have a value. Means over fewer "
    f"than {MIN_FOR_INTERVAL} clips have no interval: a bootstrap of so few would be too narrow."
)


@dataclass(frozen=True)
class SystemSummary:
    """Overall figures of one system.

    Args:
        name: Its name.
        folder: Its sounds.
        n_compared: Clips that were compared.
        n_failed: Clips of which a file could not be used.
        n_no_partner: Clips of which a sound is not there.
        means: Mean by the name of the measure, over the clips where it is defined.
        frechet: FAD with LAION-CLAP; None without weights.
    """

    name: str
    folder: Path
    n_compared: int
    n_failed: int
    n_no_partner: int
    means: Mapping[str, Estimate]
    frechet: FrechetEstimate | None


@dataclass(frozen=True)
class Comparison:
    """Means of `second` less `first`, two systems, by the name of the measure, over clips where both have a value."""

    first: str
    second: str
    differences: Mapping[str, Estimate]


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found, against the real sounds in the folder `reference`."""

    reference: Path
    systems: Sequence[SystemSummary]
    comparisons: Sequence[Comparison] = field(default_factory=list)
    rows: Sequence[ClipResult] = field(default_factory=list)


def summarise(
    reference: Path,
    folders: Mapping[str, Path],
    rows: Sequence[ClipResult],
    frechet: Mapping[str, FrechetEstimate],
    seed: int = 0,
) -> Evaluation:
    """Take means over clips, with bootstrap intervals.

    Args:
        reference: Folder of the real sounds.
        folders: Folder by the name of the system.
        rows: Every clip of every system.
        frechet: FAD by the name of the system.
        seed: Seed of the bootstrap.

    Returns:
        All of it; rows in order of the systems, then of the clips.
    """
    systems = []
    for name, folder in folders.items():
        n_of = Counter(row.status for row in rows if row.system == name)
        means = _means({measure.name: list(_values(rows, name, measure.name).values()) for measure in MEASURES}, seed)
        counts = (n_of["compared"], n_of["failed"], n_of["no partner"])
        systems.append(SystemSummary(name, folder, *counts, means, frechet.get(name)))
    comparisons = []
    for first, second in combinations(folders, 2):
        differences = {}
        for measure in MEASURES:
            of_first, of_second = (_values(rows, name, measure.name) for name in (first, second))
            common = [clip_id for clip_id in of_first if clip_id in of_second]
            differences[measure.name] = [of_second[clip_id] - of_first[clip_id] for clip_id in common]
        comparisons.append(Comparison(first, second, _means(differences, seed)))
    order = list(folders)
    in_order = sorted(rows, key=lambda row: (order.index(row.system), row.clip_id))
    return Evaluation(reference, systems, comparisons, in_order)


def _values(rows: Sequence[ClipResult], system: str, measure: str) -> dict[str, float]:
    """Value of each clip where it is defined."""
    return {row.clip_id: row.values[measure] for row in rows if row.system == system and measure in row.values}


def _means(values: Mapping[str, list[float]], seed: int) -> dict[str, Estimate]:
    estimates = {name: bootstrap_mean(sample, seed) for name, sample in values.items()}
    return {name: estimate for name, estimate in estimates.items() if estimate is not None}


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
