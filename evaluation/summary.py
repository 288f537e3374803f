"""Overall figures: means of every measure for each system, and differences between systems."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from evaluation.clip import ClipResult
from evaluation.frechet import FrechetEstimate
from evaluation.measures import MEASURES
from evaluation.statistics import Estimate, bootstrap_mean


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
