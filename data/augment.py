"""Augmentation of training clips: new clips from pieces of a clip, with sound, frames and hits moved alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import InputError
from media.clip import ClipSpec


@dataclass(frozen=True)
class _Piece:
    """Output samples start … stop−1 are source samples source_start …, times the gain; all counts are of samples."""

    start: int
    stop: int
    source_start: int
    gain: float


@dataclass(frozen=True)
class Remix:
    """Builds a clip from random pieces of a source: each starts anywhere in it and has a gain of its own, or is muted.

    Joints are raised-cosine cross-fades whose two weights add up to 1, so that the result never exceeds the peak of the
    source times the highest gain. Frames and hits follow the time map of the sound; hits of muted pieces are dropped.

    Args:
        min_piece_s: Shortest piece in seconds, above 0; only the last one may be shorter, where the clip ends.
        max_piece_s: Longest piece in seconds; a shorter source shortens it.
        gain_db: Lowest and highest gain of a piece in decibels.
        mute_probability: Chance of a piece to be silent, 0 to 1.
        crossfade_s: Duration of a joint in seconds, 0 to `min_piece_s`; at least one sample is taken.

    Raises:
        InputError: A value lies outside what is stated above.
    """

    min_piece_s: float
    max_piece_s: float
    gain_db: Sequence[float]
    mute_probability: float
    crossfade_s: float

    def __post_init__(self) -> None:
        if not 0 < self.min_piece_s <= self.max_piece_s < math.inf:
            raise InputError(
                f"remix pieces of {self.min_piece_s} to {self.max_piece_s} s are not possible: "
                "give min_piece_s above 0 and max_piece_s at least as long"
            )
        if len(self.gain_db) != 2 or not -math.inf < self.gain_db[0] <= self.gain_db[1] < math.inf:
            raise InputError(f"remix gain_db {self.gain_db} is not a range: give the lowest and highest gain")
        if not 0 <= self.mute_probability <= 1:
            raise InputError(f"remix mute_probability {self.mute_probability} is not a chance: give 0 to 1")
        if not 0 <= self.crossfade_s <= self.min_piece_s:
            raise InputError(
                f"remix crossfade_s {self.crossfade_s} does not fit pieces of {self.min_piece_s} s: "
                "give 0 to min_piece_s"
            )

    def __call__(
        self, sound: Tensor, frames: Tensor | None, hit_times: Tensor, spec: ClipSpec, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Draw one clip.

        Args:
            sound: Source sound (C, N) of any length from two cross-fades on.
            frames: Source frames (T, 3, H, W) at `spec.frame_rate_hz`, frame i at i / frame_rate_hz, or None.
            hit_times: Hits of the source in seconds (K,), in order.
            spec: Form of the result, and the rates of the source.
            generator: Where chance comes from.

        Returns:
            Sound (C, `spec.n_samples`), frames (`spec.n_frames`, 3, H, W) or None, and hits in seconds (K',), in order.

        Raises:
            InputError: The source is shorter than two cross-fades.
        """
        pieces = self._draw_pieces(sound.shape[-1], spec, generator)
        moved_frames = None if frames is None else _pick_frames(frames, pieces, spec)
        return self._mix(sound, pieces, spec), moved_frames, _move_hits(hit_times, pieces, spec)

    def _fade_samples(self, spec: ClipSpec) -> int:
        return max(1, round(self.crossfade_s * spec.sample_rate_hz))

    def _draw_pieces(self, n_source: int, spec: ClipSpec, generator: torch.Generator) -> list[_Piece]:
        fade = self._fade_samples(spec)
        if n_source < 2 * fade:
            raise InputError(
                f"a sound of {n_source} samples is too short to remix with cross-fades of {fade}: "
                "give a longer clip or a shorter crossfade_s"
            )
        longest = min(round(self.max_piece_s * spec.sample_rate_hz), n_source - fade)
        shortest = min(max(fade, round(self.min_piece_s * spec.sample_rate_hz)), longest)
        pieces: list[_Piece] = []
        start = 0
        while start < spec.n_samples:
            stop = min(start + _draw_integer(shortest, longest, generator), spec.n_samples)
            first, last = _reach(start, stop, fade, spec.n_samples)
            offset = _draw_integer(0, n_source - (last - first), generator)
            pieces.append(_Piece(start, stop, offset + start - first, self._draw_gain(generator)))
            start = stop
        return pieces

    def _draw_gain(self, generator: torch.Generator) -> float:
        chance, position = torch.rand(2, generator=generator).tolist()
        low, high = self.gain_db
        return 0.0 if chance < self.mute_probability else 10 ** ((low + position * (high - low)) / 20)

    def _mix(self, sound: Tensor, pieces: Sequence[_Piece], spec: ClipSpec) -> Tensor:
        fade = self._fade_samples(spec)
        mixed = sound.new_zeros(sound.shape[0], spec.n_samples)
        for piece in pieces:
            first, last = _reach(piece.start, piece.stop, fade, spec.n_samples)
            source_first = piece.source_start + first - piece.start
            position = torch.arange(first, last)
            rise = _step(position - piece.start, fade) if piece.start > 0 else 1.0
            fall = _step(position - piece.stop, fade) if piece.stop < spec.n_samples else 0.0
            mixed[:, first:last] += piece.gain * (rise - fall) * sound[:, source_first : source_first + last - first]
        return mixed


def _draw_integer(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def _reach(start: int, stop: int, fade: int, n_samples: int) -> tuple[int, int]:
    """Return the first and last (exclusive) output sample a piece sounds at, its halves of the cross-fades included."""
    return max(start - fade // 2, 0), min(stop + fade - fade // 2, n_samples)


def _step(position: Tensor, fade: int) -> Tensor:
    """Return a raised-cosine step from 0 to 1 over `fade` samples around position 0."""
    progress = ((position + fade // 2 + 0.5) / fade).clamp(0, 1)
    return 0.5 - 0.5 * torch.cos(math.pi * progress)


def _pick_frames(frames: Tensor, pieces: Sequence[_Piece], spec: ClipSpec) -> Tensor:
    times_s = torch.arange(spec.n_frames, dtype=torch.float64) / spec.frame_rate_hz
    samples = (times_s * spec.sample_rate_hz).round().long().clamp(max=spec.n_samples - 1)
    starts = torch.tensor([piece.start for piece in pieces])
    shifts = torch.tensor([piece.source_start - piece.start for piece in pieces])
    source_samples = samples + shifts[torch.searchsorted(starts, samples, right=True) - 1]
    nearest = (source_samples.double() / spec.sample_rate_hz * spec.frame_rate_hz).round().long()
    return frames[nearest.clamp(max=frames.shape[0] - 1)]


def _move_hits(hit_times: Tensor, pieces: Sequence[_Piece], spec: ClipSpec) -> Tensor:
    moved = []
    for piece in pieces:
        source_start_s = piece.source_start / spec.sample_rate_hz
        since_start_s = hit_times - source_start_s
        inside = (since_start_s >= 0) & (since_start_s < (piece.stop - piece.start) / spec.sample_rate_hz)
        if piece.gain > 0:
            moved.append(since_start_s[inside] + piece.start / spec.sample_rate_hz)
    return torch.cat([hit_times.new_zeros(0), *moved])
