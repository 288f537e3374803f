"""Measures the sounds of one clip, and says what stood in the way."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from common.errors import InputError
from evaluation.folders import ClipFiles
from evaluation.hits import score_hits
from evaluation.levels import e_l1_stable_v2a, e_l1_video_foley, is_silent, rms_correlation
from evaluation.onsets import detect_onsets, score_onsets
from evaluation.sounds import SAMPLE_RATE_HZ, ComparedSound, Pair, common_part, read_annotation, read_for_comparison
from evaluation.spectra import log_mel_distance_db, stft_distance
from media.levels import loudness_lufs


@dataclass(frozen=True)
class ClipResult:
    """A row of the table: one clip of one system.

    Args:
        system: Name of the system.
        clip_id: Name of the clip.
        status: Whether the sounds were compared, could not be, or one of them is not there.
        notes: What should be known about it; why there are no values.
        duration_s: Seconds that were compared.
        onset_reference: What the onsets were compared with.
        values: Value by the name of the measure; what is not defined is left out.
    """

    system: str
    clip_id: str
    status: Literal["compared", "failed", "no partner"]
    notes: tuple[str, ...]
    duration_s: float | None = None
    onset_reference: Literal["annotation", "reference sound"] | None = None
    values: Mapping[str, float] = field(default_factory=dict)


def compare_clip(files: ClipFiles, systems: tuple[str, ...]) -> list[ClipResult]:
    """Measure one clip for all systems; what cannot be measured gets a row with the reason.

    There is one row a system; for a clip without reference one of each system that has a sound of it.
    """
    if files.reference is None:
        note = "no reference sound of this name"
        return [ClipResult(s, files.clip_id, "no partner", (note,)) for s in systems if s in files.generated]
    note = "no generated sound of this name"
    rows = [ClipResult(s, files.clip_id, "no partner", (note,)) for s in systems if s not in files.generated]
    if not files.generated:
        return rows
    try:
        reference = read_for_comparison(files.reference)
        hits_s = read_annotation(files)
    except InputError as error:
        return rows + [ClipResult(s, files.clip_id, "failed", (str(error),)) for s in files.generated]
    return rows + [_compare(files, system, reference, hits_s) for system in files.generated]


def measure(pair: Pair, is_clipped: bool = False) -> dict[str, float]:
    """Return all measures that need no weights, by name; what is not defined is left out."""
    generated, reference = pair.generated, pair.reference
    mono_generated, mono_reference = generated.mean(dim=0), reference.mean(dim=0)
    onsets = detect_onsets(generated, SAMPLE_RATE_HZ)
    spectral = stft_distance(mono_generated, mono_reference)
    loudness, target = (loudness_lufs(wave, SAMPLE_RATE_HZ) for wave in (generated, reference))
    values: dict[str, float | None] = {
        "e_l1_stable_v2a_44khz": float(e_l1_stable_v2a(generated, reference, SAMPLE_RATE_HZ)),
        "e_l1_video_foley_16khz": float(e_l1_video_foley(generated, reference, SAMPLE_RATE_HZ)),
        "rms_correlation": float(rms_correlation(generated, reference, SAMPLE_RATE_HZ)),
        **asdict(score_onsets(pair.onsets_s, onsets)),
        **score_hits(reference, generated, SAMPLE_RATE_HZ, pair.onsets_s, onsets.times_s),
        "stft_distance": spectral.total,
        "stft_spectral_convergence": spectral.spectral_convergence,
        "stft_log_magnitude": spectral.log_magnitude,
        "log_mel_distance_db": log_mel_distance_db(mono_generated.numpy(), mono_reference.numpy(), SAMPLE_RATE_HZ),
        "loudness_difference_lu": None if loudness is None or target is None else loudness - target,
        "loudness_generated_lufs": loudness,
        "loudness_reference_lufs": target,
        "clipped": float(is_clipped),
        "silent": float(is_silent(generated)),
    }
    return {name: value for name, value in values.items() if value is not None and np.isfinite(value)}


def _compare(files: ClipFiles, system: str, reference: ComparedSound, hits_s: np.ndarray | None) -> ClipResult:
    """Return the row of one system."""
    try:
        generated = read_for_comparison(files.generated[system])
        pair = common_part(reference, generated, hits_s)
    except InputError as error:
        return ClipResult(system, files.clip_id, "failed", (str(error),))
    values = measure(pair, generated.is_clipped)
    both = (files.reference, files.generated[system])
    unread = [f"not read: {name}" for file in both if file for name in file.unread]
    notes = (*pair.notes, *_remarks(pair, values), *unread)
    onset_reference: Any = "reference sound" if hits_s is None else "annotation"
    return ClipResult(system, files.clip_id, "compared", notes, pair.duration_s, onset_reference, values)


def _remarks(pair: Pair, values: Mapping[str, float]) -> list[str]:
    """Say what explains missing values."""
    explanations = {
        "the reference is silent": is_silent(pair.reference),
        "the generated sound is silent": values["silent"],
        "the reference has no onsets": len(pair.onsets_s) == 0,
        "the generated sound has no onsets": values["n_onsets_generated"] == 0,
        "loudness is not defined (below 0.4 s or -70 LUFS)": "loudness_difference_lu" not in values,
        "RMS correlation is not defined (a constant envelope)": "rms_correlation" not in values,
    }
    return [text for text, applies in explanations.items() if applies]
