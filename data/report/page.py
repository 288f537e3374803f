"""The page of the report, in Markdown as GitHub shows it."""

from collections.abc import Iterable, Mapping, Sequence

from data.report.findings import Finding, Splits
from data.report.summary import Distribution, Summary, words_of

N_LISTED = 20


def page(part: str, summary: Summary, splits: Splits, findings: Sequence[Finding]) -> str:
    """Return the page, with links to the pictures that data/report/plots.py draws; `part` says what it is about."""
    sections = {
        "Overview": _overview(summary),
        "To look at": _findings(findings),
        "Splits": _splits(splits),
        "Durations": _durations(summary),
        "Hits": _hits(summary),
        "Time between hits": _intervals(summary),
        "Levels": _levels(summary),
        "Formats": _formats(summary),
    }
    intro = f"Of {_cell(part)}. Every number stands in [report.json](report.json)."
    shown = (f"## {name}\n\n{text}" for name, text in sections.items() if text)
    return "\n\n".join(["# Dataset report", intro, *shown]) + "\n"


def _overview(summary: Summary) -> str:
    rows = {
        "recordings": summary.n_recordings,
        "that can be read": summary.n_readable,
        "of these with sound": summary.n_with_sound,
        "with picture (video or frames)": summary.n_with_picture,
        "with annotated hits": summary.n_with_hits,
        "without annotated hits": summary.n_readable - summary.n_with_hits,
        "total duration": _time(3600 * summary.total_h),
        "annotated hits": summary.n_hits,
    }
    return _table(("measure", "value"), rows.items())


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Nothing: every file can be read, has sound and picture, and stands in one split."
    parts = [_table(("what", "how many"), [(finding.title, len(finding.rows)) for finding in findings])]
    for finding in findings:
        rest = len(finding.rows) - N_LISTED
        more = f"\n\nand {rest:,} more; report.json names all." if rest > 0 else ""
        rows = _table(("name", "detail"), finding.rows[:N_LISTED])
        parts.append(f"### {finding.title}\n\n{finding.advice}\n\n{rows}{more}")
    return "\n\n".join(parts)


def _splits(splits: Splits) -> str:
    source = "From the split files." if splits.are_files else "There are no split files; these are the seeded shares."
    sizes = {name: len(set(clip_ids)) for name, clip_ids in splits.names.items()}
    rows = [(name, size, f"{100 * size / max(1, sum(sizes.values())):.1f} %") for name, size in sizes.items()]
    return f"{source}\n\n" + _table(("split", "recordings", "share"), rows)


def _durations(summary: Summary) -> str:
    return _spread(summary.duration_s, "s", "durations", "recordings by duration") if summary.n_readable else ""


def _hits(summary: Summary) -> str:
    if not summary.n_hits:
        return ""
    tables = [
        f"### By material and {name}\n\n{_crossed(table)}"
        for name, table in (("action", summary.actions), ("reaction", summary.reactions))
    ]
    per_minute = summary.n_hits / (60 * summary.annotated_h)
    intro = f"{summary.n_hits:,} hits, {per_minute:.3g} a minute in the recordings that have any."
    return "\n\n".join([intro, "![hits by material](hits.png)", *tables])


def _crossed(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Tabulate counts by material (rows) and word (columns), with sums."""
    words = words_of(counts)
    rows = [(name, *(row.get(word, 0) for word in words), sum(row.values())) for name, row in counts.items()]
    sums = ("all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))
    header = ("material", *words, "all")
    return _table(header, [*rows, sums])


def _intervals(summary: Summary) -> str:
    return _spread(summary.interval_s, "s", "intervals", "intervals between hits") if summary.interval_s.n else ""


def _levels(summary: Summary) -> str:
    if not summary.n_with_sound:
        return ""
    text = (
        "Left, the RMS envelope (125 Hz, 16 kHz mono, 512/128) of all sounds, in dB of full scale, what lies below "
        "-100 dB in the first bin. Right, integrated loudness (ITU-R BS.1770-4), mono counted as two equal channels."
    )
    undefined = summary.n_with_sound - summary.loudness_lufs.n
    if undefined:
        text += f" Without loudness, being shorter than 0.4 s or nowhere above -70 LUFS: {undefined:,}."
    return f"{text}\n\n" + _spread(summary.loudness_lufs, "LUFS", "levels", "envelopes and loudness by level")


def _formats(summary: Summary) -> str:
    kinds = {
        "sample rate": summary.sample_rates,
        "channels": summary.channels,
        "picture": summary.pictures,
        "frame rate": summary.frame_rates,
    }
    rows = [(kind, name, n) for kind, counts in kinds.items() for name, n in counts.items()]
    return _table(("format", "found", "recordings"), rows) if rows else ""


def _spread(values: Distribution, unit: str, picture: str, title: str) -> str:
    """Show extremes and median above the picture."""
    image = f"![{title}]({picture}.png)"
    if values.low is None:
        return image
    columns = ("n", f"lowest ({unit})", f"median ({unit})", f"highest ({unit})")
    return f"{_table(columns, [(values.n, values.low, values.median, values.high)])}\n\n{image}"


def _time(duration_s: float) -> str:
    """Format a duration in the unit that suits it."""
    size, unit = next((size, unit) for size, unit in ((3600, "h"), (60, "min"), (0, "s")) if duration_s >= size)
    return f"{duration_s / max(1, size):.2f} {unit}"


def _table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Format a table in Markdown; columns of numbers stand to the right."""
    names, values = list(header), [list(row) for row in rows]
    rule = ["---:" if all(_is_number(value) for value in column) else "---" for column in zip(*values, strict=True)]
    lines = [names, rule, *([_cell(value) for value in row] for row in values)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _cell(value: object) -> str:
    """Format a value as text that breaks no table and is taken for no mark-up; numbers with three decimals at most."""
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
    text = " ".join(str(value).split())
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}")
    return text
