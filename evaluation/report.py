"""The results as one HTML page that needs nothing else: tables, and pictures and players of the worst clips."""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from common.files import atomic_path
from common.parallel import for_each
from evaluation.clip import ClipResult
from evaluation.figure import clip_figure, webp_bytes
from evaluation.folders import ClipFiles
from evaluation.measures import MEASURES, Measure
from evaluation.sounds import SAMPLE_RATE_HZ, ComparedSound, common_part, read_annotation, read_for_comparison
from evaluation.summary import Evaluation
from evaluation.tables import NOTE, overall_cells
from media.writing import mp3_bytes

SHOWN = (
    "e_l1_video_foley_16khz",
    "rms_correlation",
    "onset_f1_100ms",
    "onset_error_ms",
    "n_onsets_reference",
    "n_onsets_generated",
    "stft_distance",
    "loudness_difference_lu",
    "clap_audio_audio",
)
"""Measures in the tables of single clips."""

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation against $reference</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1060px; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2.2em; } h3 { font-size: 1em; margin: 2em 0 .3em; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: .6em 0; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid #ddd; padding: .25em .7em; text-align: left; vertical-align: top; }
img { width: 100%; height: auto; } .note { color: #555; }
.players { display: flex; flex-wrap: wrap; gap: 1em; } audio { display: block; }
.met { color: #1a9850; } .missed { color: #d73027; } .extra { color: #e08214; }
.list { font-size: .85em; } .list td:first-child { white-space: nowrap; } .list td:last-child { min-width: 16em; }
</style></head><body>
<h1>Evaluation against $reference</h1>
$body
</body></html>
""")


@dataclass(frozen=True)
class Card:
    """One clip to be shown.

    Args:
        files: Its files.
        rows: Its rows, those that were compared.
    """

    files: ClipFiles
    rows: tuple[ClipResult, ...]


def write_report(
    path: Path, evaluation: Evaluation, clips: Sequence[ClipFiles], worst_by: Measure, n_worst: int, n_workers: int
) -> None:
    """Writes the page.

    Args:
        path: File to write.
        evaluation: The results.
        clips: Files of the clips.
        worst_by: Measure by which clips are ordered; one that has a better side.
        n_worst: Clips to show with picture and sound, the worst first.
        n_workers: Processes.

    Raises:
        InputError: The path cannot be written.
    """
    ranked = rank(evaluation.rows, worst_by)
    files = {clip.clip_id: clip for clip in clips}
    cards = [Card(files[clip_id], rows) for clip_id, rows in list(ranked.items())[:n_worst]]
    pictures = list(for_each(render_card, cards, n_workers, "pictures"))
    body = "\n".join(_sections(evaluation, ranked, pictures, worst_by))
    with atomic_path(path) as temporary:
        page = PAGE.substitute(reference=html.escape(str(evaluation.reference)), body=body)
        temporary.write_text(page, encoding="utf-8")


def rank(rows: Sequence[ClipResult], worst_by: Measure) -> dict[str, tuple[ClipResult, ...]]:
    """Compared rows of each clip, the clip of which any system is worst first; those without a value last."""
    by_clip: dict[str, list[ClipResult]] = {}
    for row in rows:
        if row.status == "compared":
            by_clip.setdefault(row.clip_id, []).append(row)
    sign = -1 if worst_by.better == "higher" else 1

    def badness(clip_id: str) -> float:
        values = [sign * row.values[worst_by.name] for row in by_clip[clip_id] if worst_by.name in row.values]
        return max(values, default=-float("inf"))

    return {clip_id: tuple(by_clip[clip_id]) for clip_id in sorted(by_clip, key=badness, reverse=True)}


def render_card(card: Card) -> str:
    """Heading, values, picture and players of one clip, as HTML.

    Raises:
        InputError: A file has changed since it was compared.
    """
    assert card.files.reference is not None  # rows are of clips with both sounds
    reference = read_for_comparison(card.files.reference)
    sounds = {row.system: read_for_comparison(card.files.generated[row.system]) for row in card.rows}
    longest = max(sounds.values(), key=lambda sound: sound.duration_s)
    pair = common_part(reference, longest, read_annotation(card.files))
    figure = clip_figure(pair.reference, {name: sound.wave for name, sound in sounds.items()}, pair.onsets_s)
    picture = base64.b64encode(webp_bytes(figure)).decode()
    notes = "".join(
        f'<p class="note">{html.escape(r.system)}: {html.escape("; ".join(r.notes))}</p>' for r in card.rows if r.notes
    )
    players = "".join(_player(name, sound) for name, sound in {"reference": reference, **sounds}.items())
    return (
        f"<h3>{html.escape(card.files.clip_id)}</h3>{_clip_table(card.rows)}{notes}"
        f'<img alt="envelopes and spectrograms" src="data:image/webp;base64,{picture}">'
        f'<div class="players">{players}</div>'
    )


def _player(name: str, sound: ComparedSound) -> str:
    mp3 = base64.b64encode(mp3_bytes(sound.wave.mean(dim=0, keepdim=True), SAMPLE_RATE_HZ)).decode()
    return f'<div>{html.escape(name)}<audio controls preload="none" src="data:audio/mpeg;base64,{mp3}"></audio></div>'


def _sections(
    evaluation: Evaluation, ranked: Mapping[str, tuple[ClipResult, ...]], pictures: list[str], worst_by: Measure
) -> Iterator[str]:
    """The page from top to bottom."""
    names = [system.name for system in evaluation.systems]
    yield _table(["", *names], list(overall_cells(evaluation)))
    yield f'<p class="note">{NOTE}</p>'
    without = [row for row in evaluation.rows if row.status != "compared"]
    if without:
        yield f"<h2>Without figures ({len(without)})</h2>"
        yield _table(
            ["clip", "system", "status", "reason"],
            [[row.clip_id, row.system, row.status, "; ".join(row.notes)] for row in without],
        )
    if pictures:
        yield f"<h2>The {len(pictures)} worst of {len(ranked)} clips by {html.escape(worst_by.title)}</h2>"
        yield (
            '<p class="note">Onsets: <b>|</b> of the reference, <b class="met">▲ met</b> within 0.1 s, '
            '<b class="missed">✕ missed</b>, <b class="extra">▼ extra</b>. Sounds are mono MP3.</p>'
        )
        yield from pictures
    yield "<h2>All clips, the worst first</h2>"
    everything = _clip_table([row for rows in ranked.values() for row in rows], in_list=True)
    yield f'<div class="list">{everything}</div>'
    yield "<h2>What was measured</h2>"
    yield _table(["measure", "definition"], [[measure.heading, measure.definition] for measure in MEASURES])


def _clip_table(rows: Sequence[ClipResult], *, in_list: bool = False) -> str:
    """Chosen values of rows; in a list with clip and notes."""
    shown = [m for m in MEASURES if m.name in SHOWN and any(m.name in row.values for row in rows)]
    lines = []
    for row in rows:
        values = [f"{row.values[m.name]:.{m.decimals}f}" if m.name in row.values else "" for m in shown]
        lines.append([row.clip_id, row.system, *values, "; ".join(row.notes)] if in_list else [row.system, *values])
    header = ["system", *(measure.heading for measure in shown)]
    return _table(["clip", *header, "notes"] if in_list else header, lines)


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
