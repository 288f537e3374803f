"""What it sounds like as a whole: LAION-CLAP embeddings, scores from them, and FAD."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from clap.encoder import ClapEncoder
from common.errors import InputError
from common.spreadsheet import read_table, unguarded
from evaluation.clip import ClipResult
from evaluation.folders import ClipFiles
from evaluation.sounds import SAMPLE_RATE_HZ
from evaluation.statistics import FrechetEstimate, estimate_frechet
from media.reading import read_sound

PROMPT_HEADER = ("clip", "prompt")


@dataclass(frozen=True)
class ClapScores:
    """What CLAP adds: rows with their CLAP scores, and FAD by the name of each system with two clips or more."""

    rows: list[ClipResult]
    frechet: dict[str, FrechetEstimate]


def read_prompts(path: Path) -> dict[str, str]:
    """Read the prompts of clips from a CSV file with the header `clip,prompt`, names as in `per_clip.csv`.

    The table may have the form of any spreadsheet, see `common.spreadsheet.read_table`.

    Raises:
        InputError: The file is missing or no such table, or a cell is empty.
    """
    lines = read_table(path, PROMPT_HEADER)
    wrong = next((line for line in lines if not all(line.cells)), None)
    if wrong is not None:
        raise InputError(f"{path}, {wrong} has an empty cell: give each clip a prompt, or leave its line out")
    return {unguarded(clip): unguarded(prompt) for clip, prompt in (line.cells for line in lines)}


def score_with_clap(
    rows: Sequence[ClipResult],
    clips: Sequence[ClipFiles],
    encoder: ClapEncoder,
    prompts: Mapping[str, str],
    seed: int = 0,
) -> ClapScores:
    """Add CLAP scores to the rows that were compared, and compute FAD over them; sounds as long as was compared.

    Args:
        rows: Results without CLAP.
        clips: Their files.
        encoder: CLAP at 44.1 kHz, with a text branch if there are prompts.
        prompts: Prompt by the name of the clip; clips without one get no text-audio score.
        seed: Seed of FAD∞.
    """
    files = {clip.clip_id: clip for clip in clips}
    sounds: dict[tuple[Path, float], np.ndarray] = {}
    texts = {clip_id: encoder.embed_text([prompts[clip_id]])[0].numpy() for clip_id in files.keys() & prompts.keys()}
    generated: dict[str, list[np.ndarray]] = {}
    reference: dict[str, list[np.ndarray]] = {}
    scored = []
    for row in tqdm(rows, desc="CLAP", unit="row", delay=2, smoothing=0):
        clip = files[row.clip_id]
        if row.duration_s is None or clip.reference is None:
            scored.append(row)
            continue
        real_key = (clip.reference.path, row.duration_s)
        if real_key not in sounds:
            sounds[real_key] = _embed(encoder, *real_key)
        made = _embed(encoder, clip.generated[row.system].path, row.duration_s)
        generated.setdefault(row.system, []).append(made)
        reference.setdefault(row.system, []).append(sounds[real_key])
        values = {"clap_audio_audio": float(made @ sounds[real_key])}
        if row.clip_id in texts:
            values["clap_text_audio"] = float(made @ texts[row.clip_id])
        scored.append(replace(row, values={**row.values, **values}))
    estimates = {s: estimate_frechet(np.stack(made), np.stack(reference[s]), seed) for s, made in generated.items()}
    return ClapScores(scored, {system: fad for system, fad in estimates.items() if fad is not None})


def _embed(encoder: ClapEncoder, path: Path, duration_s: float) -> np.ndarray:
    """Embedding (512,) of the start of a sound, of length 1."""
    wave = read_sound(path, sample_rate_hz=SAMPLE_RATE_HZ, duration_s=duration_s)
    return encoder.embed_sound(wave[None])[0].to(torch.float64).numpy()
