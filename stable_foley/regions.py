"""Owns regions of a sound that are made anew: outside of them it stays bit for bit."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from common.errors import InputError
from common.stopwatch import Stopwatch
from media.clip import count_at_rate
from media.envelope import Envelope
from media.stored import Sound, StoredRows, like, parts
from stable_foley.generator import Piece, SoundGenerator, as_rows, part_of
from stable_foley.overlap import Known, cross_fade
from stable_foley.sampler import Progress
from stable_foley.windows import Wanted, control_signal

EDGE_S = 0.02
"""Cross-fade at each end of a region that is made anew."""
RAMP_S = 0.25
"""Time from each end of a region within which new latents take over from the old ones."""
CHANGE_MARGIN_S = 0.03
"""Time around changed control signals that is made anew with them."""
LEAST_CHANGE = 1e-3
"""Relative change of a control signal that counts."""
INAUDIBLE = 5e-4
"""Change of a control signal that does not count, as a share of the highest level: -66 dB."""
_STEPS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Generated:
    """A generated sound, and what is needed to make regions of it anew.

    Attributes:
        sound: (C, N), float32.
        latents: its latents and the noise that they were made from (L, 2, Z).
    """

    sound: Sound
    latents: Tensor | StoredRows

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> Self:
        """Join all pieces of a sound in memory."""
        found = list(pieces)
        sound = torch.cat([piece.sound for piece in found], dim=-1)
        return cls(sound, torch.cat([piece.latents for piece in found]))


def regenerate(
    generator: SoundGenerator,
    before: Generated,
    envelope: Envelope,
    start_s: float,
    end_s: float,
    *,
    keeps_noise: bool = False,
    progress: Progress = iter,
    watch: Stopwatch | None = None,
    **wanted: Any,
) -> Generated:
    """Make a region of a sound anew; outside of it the sound stays bit for bit.

    At every step the sampler knows the latents around the region, so that the new ones fit them. At the ends of the
    region, within it, the sounds are cross-faded.

    Args:
        generator: the model.
        before: the sound.
        envelope: envelope of the whole sound, rms (T,) or (C, T); it may differ from before within the region.
        start_s: start of the region, in seconds.
        end_s: its end.
        keeps_noise: whether to use the noise from before, so that only a changed envelope, prompt or setting makes
            a difference, instead of new noise by the seed.
        progress: wraps the range of the sampling steps, to show progress.
        watch: records the durations of the stages ``conditions``, ``steps`` and ``decode``.
        **wanted: attributes of ``Wanted``.

    Returns:
        The whole sound, in memory or on disk like the one before.

    Raises:
        InputError: the region is outside the sound, or as in ``stream``.
    """
    maker = generator.maker(Wanted(**wanted), watch)
    n_samples = before.sound.shape[-1]
    total_s = n_samples / generator.sample_rate_hz
    if not 0 <= start_s < end_s <= total_s + 0.5 / generator.sample_rate_hz:
        raise InputError(
            f"The region from {start_s:g} to {end_s:g} s is not within the sound; expected a start before the end, "
            f"from 0 to {total_s:g} s."
        )
    first, last = round(start_s * generator.sample_rate_hz), round(end_s * generator.sample_rate_hz)
    last = max(last, first + 1)
    ramp_samples = 0 if keeps_noise else min(round(RAMP_S * generator.sample_rate_hz), (last - first) // 4)
    starts = _region_starts(generator, first, last, n_samples)
    overlap, joints = generator.new_overlap(), generator.new_joints()
    step, n_window_steps = joints.samples_per_step, generator.model.padded_length(generator.spec.n_samples)
    steps = iter(progress(range(len(starts) * maker.settings.n_steps)))
    pieces = []
    for number, start in enumerate(starts):
        place = range(start // step, (start + n_window_steps) // step)
        latents = before.latents[place.start : place.stop].permute(1, 2, 0)
        known = Known(latents, _free(torch.tensor(place) * step, step, first, last, ramp_samples), keeps_noise)
        overlap.next_window((start - starts[max(0, number - 1)]) // step, known)
        window = maker.make(envelope, number, start, n_samples, overlap, part_of(steps))
        pieces.append(joints.add(window.sound, window.latents, start))
    next(steps, None)
    pieces.append(joints.rest())
    sound = torch.cat([piece for piece, _ in pieces], dim=-1)[:, first - starts[0] : last - starts[0]]
    latents = as_rows(torch.cat([piece for _, piece in pieces], dim=-1))
    return _replaced(before, sound, first, latents, starts[0] // step, fade=round(EDGE_S * generator.sample_rate_hz))


def changed_regions(
    generator: SoundGenerator, before: Envelope, after: Envelope, duration_s: float
) -> list[tuple[float, float]]:
    """Return the regions (start and end in seconds) in which the model is asked for something else.

    They reach as far as the control signals differ, and a little beyond; near ones are joined.

    Args:
        generator: the model.
        before: envelope, rms (T,) or (C, T).
        after: the other one.
        duration_s: duration of the sound.
    """
    rate_hz = generator.sample_rate_hz
    inaudible = INAUDIBLE * max(float(each.rms.max()) for each in (before, after))
    n_samples, found = count_at_rate(duration_s, rate_hz), list[tuple[float, float]]()
    for start in range(0, n_samples, generator.spec.n_samples):
        n = min(generator.spec.n_samples, n_samples - start)
        one, other = (control_signal(generator.model, each, start, n) for each in (before, after))
        least = torch.maximum(LEAST_CHANGE * torch.maximum(one, other), torch.tensor(inaudible))
        differs = ((one - other).abs() > least).any(dim=1)[0]
        edges = torch.nn.functional.pad(differs.int(), (1, 1)).diff().nonzero()[:, 0].tolist()
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            begin_s = max(0.0, (start + first) / rate_hz - CHANGE_MARGIN_S)
            end_s = min(n_samples / rate_hz, (start + last) / rate_hz + CHANGE_MARGIN_S)
            if found and begin_s <= found[-1][1]:
                begin_s = found.pop()[0]
            found.append((begin_s, end_s))
    return found


def _free(at: Tensor, step_samples: int, first: int, last: int, ramp_samples: int) -> Tensor:
    """Return how far steps that begin at some samples (L,) are made anew for a region: 0 known, 1 free.

    All steps that touch the region are; their share rises within `ramp_samples` from its ends.
    """
    middle = at + step_samples / 2
    inside = torch.minimum(middle - first, last - middle) / max(ramp_samples, 1)
    touches = (at + step_samples > first) & (at < last)
    return inside.clamp(step_samples / 2 / max(ramp_samples, step_samples / 2), 1) * touches


def _region_starts(generator: SoundGenerator, first: int, last: int, n_samples: int) -> list[int]:
    """Return the first sample of each window that makes a region anew, with a second around it where there is."""
    token, final = generator.model.backbone.samples_per_token, generator.window_starts(n_samples)[-1]
    context = generator.overlap_samples
    if last - first + 2 * context <= generator.window_samples:
        middle = (first + last - generator.window_samples) // 2
        return [min(max(0, middle // token * token), final)]
    begin = max(0, (first - context) // token * token)
    starts = [min(begin, final)]
    while starts[-1] < final and starts[-1] + generator.window_samples < last + context:
        starts.append(min(starts[-1] + generator.hop_samples, final))
    return starts


def _replaced(before: Generated, sound: Tensor, first: int, latents: Tensor, first_step: int, fade: int) -> Generated:
    """Return a sound with a region (C, n) and the latents (l, 2, Z) around it replaced; the ends are cross-faded."""
    n_samples, last = before.sound.shape[-1], first + sound.shape[-1]
    fade = min(fade, sound.shape[-1] // 4)
    old = before.sound[:, first:last].clone()
    if first > 0 and fade:
        sound = torch.cat([cross_fade(old[:, :fade], sound[:, :fade]), sound[:, fade:]], dim=-1)
    if last < n_samples and fade:
        sound = torch.cat([sound[:, :-fade], cross_fade(sound[:, -fade:], old[:, -fade:])], dim=-1)
    around = (parts(before.sound, 0, first), [sound], parts(before.sound, last, n_samples))
    n_steps, last_step = len(before.latents), first_step + len(latents)
    if isinstance(before.latents, Tensor):
        rows: Tensor | StoredRows = torch.cat([before.latents[:first_step], latents, before.latents[last_step:]])
    else:
        rows = StoredRows(before.latents.row_shape, before.latents.dtype)
        for part in (*_steps(before.latents, 0, first_step), latents, *_steps(before.latents, last_step, n_steps)):
            rows.append(part)
    return Generated(like(before.sound, itertools.chain.from_iterable(around)), rows)


def _steps(rows: StoredRows, first: int, last: int) -> Iterator[Tensor]:
    """Yield rows between two places, some at a time."""
    for start in range(first, last, _STEPS_AT_ONCE):
        yield rows[start : min(start + _STEPS_AT_ONCE, last)]
