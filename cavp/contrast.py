"""The contrastive losses between frames, sounds and words."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class ContrastiveLosses:
    """The two parts of CAVP's objective, both symmetric in video and audio.

    Attributes:
        semantic: scalar; contrasts each segment with those of other recordings. 0 if there is no other recording.
        temporal: scalar; contrasts each segment with those of its own recording at other times. 0 with one segment
            each.
    """

    semantic: Tensor
    temporal: Tensor


def contrastive_losses(video: Tensor, audio: Tensor, logit_scale: Tensor, recordings: Tensor) -> ContrastiveLosses:
    """Compute both parts of CAVP's objective.

    Each part is the cross-entropy (InfoNCE) of retrieving a segment's sound by its frames, averaged with that of
    retrieving the frames by the sound. The semantic part contrasts a segment with the segments of other recordings, the
    temporal part with the other K - 1 segments drawn from the same recording. (In Diff-Foley's code the semantic part
    also contains segments of the same recording; here each part has its own.)

    Args:
        video: (R, K, D), unit vectors of the frames of K segments of each of R recordings.
        audio: (R, K, D), unit vectors of the sounds of the same segments.
        logit_scale: scalar that multiplies cosine similarities.
        recordings: (R,), integers that identify the recordings; a recording may occur twice.

    Returns:
        The two losses.

    Source: Luo et al., "Diff-Foley", 2023, section 3.1.
    """
    n_segments = video.shape[1]
    flat = logit_scale * video.flatten(0, 1) @ audio.flatten(0, 1).mT
    owner = recordings.repeat_interleave(n_segments)
    same_recording = owner[:, None] == owner
    others_of_own = same_recording & ~torch.eye(len(owner), dtype=torch.bool, device=owner.device)
    semantic = _symmetric_cross_entropy(flat.masked_fill(others_of_own, -torch.inf)[None])
    return ContrastiveLosses(semantic, _symmetric_cross_entropy(logit_scale * video @ audio.mT))


def label_loss(clips: Tensor, labels: Tensor, logit_scale: Tensor, fits: Tensor) -> Tensor:
    """Compute the cross-entropy of retrieving labels by clips, averaged with that of retrieving clips by labels.

    All fitting answers are equally right: with three clips of wood, the target for "wood" is a third for each of them.

    Args:
        clips: (n, D), unit vectors of frames or sounds.
        labels: (m, D), unit vectors of words.
        logit_scale: scalar that multiplies cosine similarities.
        fits: (n, m), whether a label fits a clip. Clips and labels that fit nothing are ignored.

    Returns:
        The loss, scalar; 0 if nothing fits.

    Source: Khosla et al., "Supervised Contrastive Learning", 2020.
    """
    sides = []
    for logits, right in ((logit_scale * clips @ labels.mT, fits), (logit_scale * labels @ clips.mT, fits.mT)):
        asked = right.any(dim=1)
        target = right[asked].to(logits.dtype)
        log_share = logits[asked].log_softmax(dim=1)
        sides.append(-(target / target.sum(dim=1, keepdim=True) * log_share).sum() / asked.sum().clamp(min=1))
    return (sides[0] + sides[1]) / 2


def _symmetric_cross_entropy(logits: Tensor) -> Tensor:
    """Average over groups, rows and columns of (groups, n, n) logits whose right answers are on the diagonal."""
    n_groups, n, _ = logits.shape
    target = torch.arange(n, device=logits.device).repeat(n_groups)
    by_video, by_audio = (F.cross_entropy(side.flatten(0, 1), target) for side in (logits, logits.mT))
    return (by_video + by_audio) / 2
