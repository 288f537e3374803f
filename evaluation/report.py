"""The results as one HTML page that needs nothing else: tables, and pictures and players of the worst clips."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment

from common.files import atomic_path
from common.parallel import for_each
from evaluation.clip import ClipResult
from evaluation.figure import clip_figure, webp_bytes
from evaluation.folders import ClipFiles
from evaluation.measures import MEASURES, Measure
from evaluation.sounds import SAMPLE_RATE_HZ, common_part, read_annotation, read_for_comparison
from evaluation.summary import NOTE, Evaluation, overall_cells
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

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
{%- macro table(header, lines) %}
<div class="scroll"><table><tr>{% for cell in header %}<th>{{ cell }}</th>{% endfor %}</tr>
{%- for line in lines %}<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table></div>
{% endmacro -%}
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation against {{ reference }}</title>
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
<h1>Evaluation against {{ reference }}</h1>
{{ table(*overall) }}
<p class="note">{{ note }}</p>
{% if without %}
<h2>Without figures ({{ without | length }})</h2>
{{ table(["clip", "system", "status", "reason"], without) }}
{% endif %}
{% if cards %}
<h2>The {{ cards | length }} worst of {{ n_clips }} clips by {{ worst_by }}</h2>
<p class="note">Onsets: <b>|</b> of the reference, <b class="met">▲ met</b> within 0.1 s,
<b class="missed">✕ missed</b>, <b class="extra">▼ extra</b>. Sounds are mono MP3.</p>
{% for card in cards %}
<h3>{{ card.clip_id }}</h3>
{{ table(*card.table) }}
{% for system, notes in card.notes %}<p class="note">{{ system }}: {{ notes }}</p>{% endfor %}
<img alt="envelopes and spectrograms" src="data:image/webp;base64,{{ card.picture }}">
<div class="players">
{% for name, mp3 in card.players.items() %}
<div>{{ name }}<audio controls preload="none" src="data:audio/mpeg;base64,{{ mp3 }}"></audio></div>
{% endfor %}
</div>
{% endfor %}
{% endif %}
<h2>All clips, the worst first</h2>
<div class="list">{{ table(*everything) }}</div>
<h2>What was measured</h2>
{{ table(["measure", "definition"], measures) }}
</body></html>
""")


@dataclass(frozen=True)
class Card:
    """One clip to be shown: its files, and its rows, those that were compared."""

    files: ClipFiles
    rows: tuple[ClipResult, ...]


def write_report(
    path: Path, evaluation: Evaluation, clips: Sequence[ClipFiles], worst_by: Measure, n_worst: int, n_workers: int
) -> None:
    """Write the page.

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
    without = [row for row in evaluation.rows if row.status != "compared"]
    page = PAGE.render(
        reference=evaluation.reference,
        overall=(["", *(system.name for system in evaluation.systems)], overall_cells(evaluation)),
        note=NOTE,
        without=[(row.clip_id, row.system, row.status, "; ".join(row.notes)) for row in without],
        cards=list(for_each(render_card, cards, n_workers, "pictures")),
        n_clips=len(ranked),
        worst_by=worst_by.title,
        everything=_clip_table([row for rows in ranked.values() for row in rows], in_list=True),
        measures=[(measure.heading, measure.definition) for measure in MEASURES],
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def rank(rows: Sequence[ClipResult], worst_by: Measure) -> dict[str, tuple[ClipResult, ...]]:
    """Return the compared rows of each clip, worst clip (of any system) first; those without a value last."""
    by_clip: dict[str, list[ClipResult]] = {}
    for row in rows:
        if row.status == "compared":
            by_clip.setdefault(row.clip_id, []).append(row)
    sign = -1 if worst_by.better == "higher" else 1

    def badness(clip_id: str) -> float:
        values = [sign * row.values[worst_by.name] for row in by_clip[clip_id] if worst_by.name in row.values]
        return max(values, default=-float("inf"))

    return {clip_id: tuple(by_clip[clip_id]) for clip_id in sorted(by_clip, key=badness, reverse=True)}


def render_card(card: Card) -> dict[str, Any]:
    """Return heading, values, picture and players of one clip, as the page shows them.

    Raises:
        InputError: A file has changed since it was compared.
    """
    assert card.files.reference is not None  # rows are of clips with both sounds
    reference = read_for_comparison(card.files.reference)
    sounds = {row.system: read_for_comparison(card.files.generated[row.system]) for row in card.rows}
    longest = max(sounds.values(), key=lambda sound: sound.duration_s)
    pair = common_part(reference, longest, read_annotation(card.files))
    figure = clip_figure(pair.reference, {name: sound.wave for name, sound in sounds.items()}, pair.onsets_s)
    played = {"reference": reference, **sounds}
    mp3s = {name: mp3_bytes(each.wave.mean(dim=0, keepdim=True), SAMPLE_RATE_HZ) for name, each in played.items()}
    return {
        "clip_id": card.files.clip_id,
        "table": _clip_table(card.rows),
        "notes": [(row.system, "; ".join(row.notes)) for row in card.rows if row.notes],
        "picture": base64.b64encode(webp_bytes(figure)).decode(),
        "players": {name: base64.b64encode(mp3).decode() for name, mp3 in mp3s.items()},
    }


def _clip_table(rows: Sequence[ClipResult], *, in_list: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return header and lines of a table of chosen values; in a list with clip and notes."""
    shown = [m for m in MEASURES if m.name in SHOWN and any(m.name in row.values for row in rows)]
    lines = []
    for row in rows:
        values = [f"{row.values[m.name]:.{m.decimals}f}" if m.name in row.values else "" for m in shown]
        lines.append([row.clip_id, row.system, *values, "; ".join(row.notes)] if in_list else [row.system, *values])
    header = ["system", *(measure.heading for measure in shown)]
    return (["clip", *header, "notes"] if in_list else header), lines
