"""Retrieval metrics: how well frames find their sound, sounds their frames, and both the word for their material."""

from torch import Tensor

from cavp.model import Cavp
from data.greatest_hits import MATERIALS

RECALLED_AT = (1, 5, 10)


def ranks(similarity: Tensor) -> Tensor:
    """Return the ranks of the right answers; ties and NaN count against the right answer.

    Args:
        similarity: (…, n, n); row i is a query and column i its right answer.

    Returns:
        (…, n), from 1 to n.
    """
    right = similarity.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    return (~(similarity < right)).sum(dim=-1)


def retrieval_metrics(video: Tensor, audio: Tensor) -> dict[str, float]:
    """Compute recall at 1, 5 and 10 and the median rank, both ways, over all segments; and the temporal accuracy.

    Args:
        video: (R, K, D), unit vectors of the frames of K segments of each of R recordings.
        audio: (R, K, D), unit vectors of the sounds of the same segments.

    Returns:
        `video_to_audio_R@1` … `audio_to_video_R@10`, shares from 0 to 1; `video_to_audio_median_rank` and its
        counterpart, from 1 to R K; `temporal_accuracy`, the share of segments whose frames find their sound among the K
        of the recording, averaged over both directions: 1 / K by chance.
    """
    similarity = video.flatten(0, 1) @ audio.flatten(0, 1).mT
    metrics: dict[str, float] = {}
    for name, asked in (("video_to_audio", similarity), ("audio_to_video", similarity.mT)):
        places = ranks(asked).float()
        metrics |= {f"{name}_R@{k}": (places <= k).float().mean().item() for k in RECALLED_AT}
        metrics[f"{name}_median_rank"] = places.quantile(0.5).item()
    within = video @ audio.mT
    first = [(ranks(asked) == 1).float().mean().item() for asked in (within, within.mT)]
    return metrics | {"temporal_accuracy": sum(first) / 2}


def heard_materials(model: Cavp, embeddings: Tensor) -> list[str]:
    """Return the material of Greatest Hits whose word is nearest to each embedding.

    Args:
        model: a model with its label tower.
        embeddings: (n, D), unit vectors of frames or sounds.
    """
    names = sorted(MATERIALS)
    similarity = embeddings @ model.encode_label(names).to(embeddings).mT
    return [names[i] for i in similarity.argmax(dim=1).tolist()]
