"""Measure how much the bundled CAVP sees and hears: ``python -m benchmarks.cavp``.

Synthetic segments that no training sees. How often the nearest of the 17 words is the material, from the sound and from
the frames, and how well frames find their sound among all others. Prints a Markdown table; shares with Wilson's 95 %
intervals.
"""

import sys
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import binomtest
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks.tools import table
from cavp.label_tower import WORDS, words_of
from cavp.model import Cavp
from cavp.retrieval import heard_materials, retrieval_metrics
from cavp.spectrogram import LogMel
from cavp.weights import load_cavp
from common.errors import InputError, user_errors
from common.options import add_checkpoint, add_clips, command_parser
from synthetic import SyntheticSegmentModule
from training.config import REPOSITORY, compose, instantiate

BUNDLED_CAVP = REPOSITORY / "bundled" / "cavp.safetensors"
SEED = 1_000_003  # of clips that no training configuration uses


@torch.no_grad()
def measure(model: Cavp, n_clips: int, seed: int = SEED) -> dict[str, float]:
    """Return measures by name.

    Args:
        model: the model, with its label tower, in eval mode.
        n_clips: how many segments, each of its own clip.
        seed: seed of these clips.
    """
    datamodule: SyntheticSegmentModule = instantiate(compose("exp=mini_cavp").dataset)
    assert model.spec_encoder is not None
    spectrogram = LogMel(datamodule.spec.sample_rate_hz, model.spec_encoder.bn.num_features)
    video, audio, labels = [], [], []
    for number in tqdm(range(n_clips), desc="segments", unit="clip"):
        segment = datamodule.render(seed, number)
        video.append(model.encode_video(segment.frames.float() / 255, pool=True))
        audio.append(model.encode_audio(spectrogram(segment.wave), pool=True))
        labels.append({WORDS[row] for row in words_of(segment.label)})
    vectors = {"sound": torch.cat(audio), "frames": torch.cat(video)}
    found = {}
    for name, embeddings in vectors.items():
        heard = heard_materials(model, F.normalize(embeddings, dim=-1))
        right = [material in label for material, label in zip(heard, labels, strict=True)]
        found[f"material named from the {name}"] = float(np.mean(right))
    metrics = retrieval_metrics(vectors["frames"][:, None], vectors["sound"][:, None])
    for way in ("video_to_audio", "audio_to_video"):
        found[f"{way.replace('_', ' ')}: R@10"] = metrics[f"{way}_R@10"]
        found[f"{way.replace('_', ' ')}: median rank"] = metrics[f"{way}_median_rank"]
    return found


@user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = command_parser("python -m benchmarks.cavp", __doc__)
    add_checkpoint(parser, "exp=mini_cavp", default=BUNDLED_CAVP)
    add_clips(parser, default=400, least=2)
    args = parser.parse_args(arguments)
    model = load_cavp(args.checkpoint, with_audio=True)
    if model.label_encoder is None:
        raise InputError(f"{args.checkpoint} has no tower for words: give one that exp=mini_cavp trained")
    rows = []
    for name, value in measure(model, args.clips).items():
        share = binomtest(round(value * args.clips), args.clips).proportion_ci(method="wilson") if value <= 1 else None
        rows.append((name, f"{value:.4g}", f"{share.low:.3f} to {share.high:.3f}" if share else ""))
    sys.stdout.write(table([f"{args.clips} synthetic segments of 2 s", "value", "95 % interval"], rows))


if __name__ == "__main__":
    main()
