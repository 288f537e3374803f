"""Compare synthetic strikes with published ranges and real recordings: ``python -m synthetic.report --output-dir DIR``.

Renders clips and writes DIR/index.html, a page with pictures. Real recordings (``--real DIR``) are optional; nothing is
copied from them or fitted to them.
"""

if __name__ == "__main__":  # before the slow imports
    from common.errors import end_on_interrupt

    end_on_interrupt()

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment
from PIL import Image
from tqdm import tqdm

from common.errors import user_errors
from common.files import atomic_path
from common.options import add_clips, add_output_dir, add_seed, command_parser
from synthetic import SAMPLE_RATE_HZ, SyntheticClip, SyntheticSpec, render_clip
from synthetic.figures import (
    EXCERPT_S,
    Excerpt,
    contact_sheet,
    figure_measures,
    figure_rhythm,
    figure_spectrograms,
)
from synthetic.materials import MATERIALS
from synthetic.measures import MEASURED_MODES, Measures, Real, measure_clip, read_real

N_SHEET = 48
N_EXCERPTS = 4
_ALONE_S = 0.5
_HEADINGS = {
    "measures": (
        "Decay, brightness and attack of hits",
        "Boxes span the middle half of the hits, whiskers 5 to 95 %, lines the median; brackets give their number. "
        "Orange: published measurements of the modes of everyday objects.",
    ),
    "rhythm": (
        "Intervals between hits, and motion around them",
        "Left: intervals in the clips and in real annotations. Right: difference between neighbouring frames in the "
        "clips and in a real video.",
    ),
    "spectrograms": (
        "Spectrograms",
        "Three hits and a scratch of each material, or four hits if no scratch was drawn: as recorded in a room, but "
        "without background, each from another clip. The title gives the action, the reaction and the object.",
    ),
    "contact_sheet": (
        "Frames around the strongest strike of the first clips",
        "Six frames of each clip, from 0.2 s before the tip meets the object to 0.15 s after.",
    ),
}

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html><meta charset="utf-8"><title>Synthetic strikes</title>
<style>td,th{padding:.15em .8em;text-align:left}tr:nth-child(even){background:#f2f2f2}</style>
<body style="font-family:sans-serif;max-width:1700px;margin:auto">
<h1>Synthetic strikes</h1>
<p>{{ n_clips }} clips of seed {{ seed }}, the first {{ n_shown }} with pictures. Real recordings: {{ real }}.
Nothing is fitted to them.</p>
<p>The table gives medians over the hits that no other hit follows for 0.3 s, at most six of a material in a clip. Hits
that have not decayed by 20 dB when the next one comes are left out, so long decays are underrepresented. Published
decays are a third of the T60 of modes of everyday objects, 10 to 90 % of the modes; published centres are the mean
frequencies of an object's modes, weighted by energy (modes of ThreeDWorld's PyImpact, after Traer, Cusimano &amp;
McDermott 2019). Neither includes the noise of the contact or the room, which the clips do.</p>
<table><tr><th>material<th>hits<th>-20 dB after, s<th>published, s<th>median is<th>centroid, Hz<th>published, Hz
<th>rise, ms
{% for row in rows %}
<tr>{% for cell in row %}<td>{{ cell }}{% endfor %}

{% endfor %}
</table>
{% for name, (title, text) in headings.items() %}
<h2>{{ title }}</h2><p>{{ text }}</p><img src="{{ name }}.png" style="max-width:100%">
{% endfor %}
""")


@dataclass(frozen=True, eq=False)
class Sample:
    """Data kept from the rendered clips: the first clips with pictures, measures of hits and excerpts, by material."""

    n_clips: int
    shown: list[SyntheticClip]
    measures: Mapping[str, list[Measures]]
    excerpts: Mapping[str, list[Excerpt]]


def draw_sample(n_clips: int, seed: int) -> Sample:
    """Render clips, the first 48 of them with pictures, and keep the data that the report shows."""
    spec = SyntheticSpec(duration_s=6.0, width=160, height=90)
    shown: list[SyntheticClip] = []
    measures: dict[str, list[Measures]] = {material: [] for material in sorted(MATERIALS)}
    found: dict[tuple[str, str], list[Excerpt]] = {}
    for index in tqdm(range(n_clips), desc="rendering", unit="clip"):
        clip = render_clip(spec, seed, index, picture=index < N_SHEET)
        if index < N_SHEET:
            shown.append(clip)
        for material, entries in measure_clip(clip).items():
            measures[material] += entries
        for key, excerpt in _excerpts(clip).items():
            if len(found.setdefault(key, [])) < N_EXCERPTS:
                found[key].append(excerpt)
    excerpts = {}
    for name in measures:
        scratches = found.get((name, "scratch"), [])[:1]
        excerpts[name] = found.get((name, "hit"), [])[: N_EXCERPTS - len(scratches)] + scratches
    return Sample(n_clips, shown, measures, excerpts)


def _excerpts(clip: SyntheticClip) -> dict[tuple[str, str], Excerpt]:
    """Return the first strike of each material and action that is not too close to others."""
    assert clip.clean is not None
    excerpts: dict[tuple[str, str], Excerpt] = {}
    times_s = np.array([strike.time_s for strike in clip.plan.strikes])
    mono = clip.clean.mean(dim=0).numpy()
    for strike in clip.plan.strikes:
        other_s = times_s[times_s != strike.time_s] - strike.time_s
        near = ((other_s > -_ALONE_S) & (other_s < max(_ALONE_S, strike.duration_s))).any()
        start, end = (round((strike.time_s + limit_s) * SAMPLE_RATE_HZ) for limit_s in EXCERPT_S)
        if not near and start >= 0 and end <= len(mono):
            shape = clip.plan.scene.things[strike.thing].shape
            excerpt = Excerpt(f"{strike.action}, {strike.reaction}: {shape}", mono[start:end].copy())
            excerpts.setdefault((strike.material, strike.action), excerpt)
    return excerpts


def write_report(out_dir: Path, n_clips: int, seed: int, real_dir: Path | None) -> Path:
    """Render clips, draw the figures and write the page, `index.html` in `out_dir`; return its path.

    Args:
        out_dir: Folder for the page and its pictures.
        n_clips: Clips to render, 1 to 100,000; the first 48 are shown.
        seed: Seed of the clips.
        real_dir: Folder of real recordings, or None.

    Raises:
        InputError: The folder cannot be written, or `real_dir` holds no real recordings.
    """
    real = read_real(real_dir)
    sample = draw_sample(n_clips, seed)
    figures = {
        "measures": figure_measures(sample.measures, real),
        "rhythm": figure_rhythm(sample.shown, real),
        "spectrograms": figure_spectrograms(sample.excerpts, N_EXCERPTS),
    }
    for name, figure in figures.items():
        with atomic_path(out_dir / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=110)
    with atomic_path(out_dir / "contact_sheet.png") as temporary:
        Image.fromarray(contact_sheet(sample.shown)).save(temporary)
    page = out_dir / "index.html"
    with atomic_path(page) as temporary:
        temporary.write_text(_page(sample, real, seed), encoding="utf-8")
    return page


def _page(sample: Sample, real: Real, seed: int) -> str:
    """Return the page as HTML."""
    groups = {**sample.measures, **real.measures}
    return PAGE.render(
        n_clips=sample.n_clips,
        seed=seed,
        n_shown=len(sample.shown),
        real=", ".join(real.measures) or "none were given",
        rows=[_row(name, entries) for name, entries in groups.items() if entries],
        headings=_HEADINGS,
    )


def _row(name: str, entries: Sequence[Measures]) -> list[object]:
    """Return the cells of a row of the table."""
    decay_s, centroid_hz, rise_ms = (
        float(np.median([getattr(entry, attribute) for entry in entries]))
        for attribute in ("decay_s", "centroid_hz", "rise_ms")
    )
    decay = centre = place = ""
    published = MEASURED_MODES.get(name)
    if published:
        low_s, high_s = published.decay_s
        decay = f"{low_s:.3f} to {high_s:.3f}"
        place = "below" if decay_s < low_s else "above" if decay_s > high_s else "inside"
        centre = ", ".join(f"{centre_hz:.0f}" for centre_hz in published.centre_hz)
    return [name, len(entries), f"{decay_s:.3f}", decay, place, f"{centroid_hz:.0f}", centre, f"{rise_ms:.1f}"]


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page and print its path."""
    parser = command_parser("python -m synthetic.report", __doc__)
    add_output_dir(parser)
    add_clips(parser, default=400)
    add_seed(parser, "the clips")
    real = "folder of real recordings to compare with, which holds greatest_hits_processed/ (default: none)"
    parser.add_argument("--real", type=Path, metavar="DIR", help=real)
    args = parser.parse_args(arguments)
    sys.stdout.write(f"{write_report(args.output_dir, args.clips, args.seed, args.real)}\n")


if __name__ == "__main__":
    main()
