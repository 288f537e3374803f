"""A judge of materials that no generator has been trained with: random trees over the spectra of true strikes."""

from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor
from tqdm import tqdm

from evaluation.spectra import log_mel_db
from synthetic import SAMPLE_RATE_HZ, SyntheticSpec, render_clip

HOP_S = 512 / SAMPLE_RATE_HZ
N_FRAMES = 8  # after each hit: 93 ms
N_POOLED = 2  # mel bands that become one


def features(sound: Tensor, hits_s: np.ndarray) -> np.ndarray:
    """Return the mean spectrum (F,) over the hits of a sound (C, N), each relative to its own loudest band."""
    level_db = log_mel_db(sound.mean(dim=0).numpy(), SAMPLE_RATE_HZ)
    pooled = level_db.reshape(level_db.shape[0] // N_POOLED, N_POOLED, -1).mean(axis=1)
    first = np.rint(np.asarray(hits_s) / HOP_S).astype(int).clip(0, pooled.shape[1] - N_FRAMES)
    patches = np.stack([pooled[:, start : start + N_FRAMES] for start in first])
    return (patches - patches.max(axis=(1, 2), keepdims=True)).mean(axis=0).ravel()


class MaterialForest:
    """Names the material of a sound whose hits are known.

    Args:
        n_clips: Clips of strikes, sound alone, to learn from.
        seed: Seed of these clips.
        duration_s: Seconds of each.
    """

    def __init__(self, n_clips: int, seed: int, duration_s: float) -> None:
        spec = SyntheticSpec(duration_s, max_offset_s=0.0)
        rows, names = [], []
        for number in tqdm(range(n_clips), desc="learning materials", unit="clip"):
            clip = render_clip(spec, seed, number, picture=False)
            assert clip.clean is not None
            for material in sorted({hit.material for hit in clip.plan.hits if hit.material}):
                hits_s = np.array([hit.time_s for hit in clip.plan.hits if hit.material == material])
                rows.append(features(clip.clean, hits_s))
                names.append(material)
        self._trees: Any = ExtraTreesClassifier(500, random_state=seed, n_jobs=-1).fit(np.stack(rows), names)

    def heard(self, sound: Tensor, hits_s: np.ndarray) -> str:
        """Return the material of a sound (C, N) that is hit at these times."""
        return str(self._trees.predict(features(sound, hits_s)[None])[0])
