"""E-L1, onset F1 and the shape of hits, for training and validation loops: metrics of torchmetrics, on batches."""

from abc import abstractmethod
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from common.errors import InputError
from evaluation.hits import score_hits
from evaluation.levels import e_l1_stable_v2a, e_l1_video_foley
from evaluation.onsets import WINDOW_S, detect_onsets, onset_f1

HitQuantity = Literal["attack", "decay", "brightness", "level"]
E_L1 = {"stable_v2a_44khz": e_l1_stable_v2a, "video_foley_16khz": e_l1_video_foley}


class _MeanOverClips(Metric):
    """Mean of one value a clip, over all batches and processes; not a number over no clips."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    n_clips: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("n_clips", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def _values(self, preds: Tensor, target: Tensor, sample_rate_hz: int) -> Tensor:
        """Return the values of the clips that have one."""

    def update(self, preds: Tensor, target: Tensor, sample_rate_hz: int) -> None:
        """Add a batch.

        Args:
            preds: Generated sounds (B, C, N), full scale ±1.
            target: Real sounds (B, C, N).
            sample_rate_hz: Samples a second of both.

        Raises:
            InputError: The shapes differ.
        """
        if preds.ndim != 3 or preds.shape != target.shape:
            shapes = f"{tuple(preds.shape)} and {tuple(target.shape)}"
            raise InputError(f"sounds of shapes {shapes} cannot be compared: give (B, C, N) twice")
        values = self._values(preds.detach(), target, sample_rate_hz)
        self.total += values.sum()
        self.n_clips += values.numel()

    def compute(self) -> Tensor:
        """Return the mean."""
        return (self.total / self.n_clips).float()


class EnvelopeL1(_MeanOverClips):
    """E-L1: mean absolute difference of RMS envelopes.

    Args:
        definition: Of Stable-V2A, at 44.1 kHz, or of Video-Foley, at 16 kHz with reflected ends.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        InputError: Another definition.
    """

    higher_is_better = False

    def __init__(
        self, definition: Literal["stable_v2a_44khz", "video_foley_16khz"] = "video_foley_16khz", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if definition not in E_L1:
            raise InputError(f"E-L1 {definition!r} is not defined: give one of {', '.join(E_L1)}")
        self._distance = E_L1[definition]

    def _values(self, preds: Tensor, target: Tensor, sample_rate_hz: int) -> Tensor:
        return self._distance(preds, target, sample_rate_hz)


class OnsetF1(_MeanOverClips):
    """F1 of the detected onsets against those detected in the target; clips where neither has any do not count.

    Args:
        window_s: Largest distance of a match in seconds.
        **kwargs: Of `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, window_s: float = WINDOW_S, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._window_s = window_s

    def _values(self, preds: Tensor, target: Tensor, sample_rate_hz: int) -> Tensor:
        pairs = zip(target.float().cpu(), preds.float().cpu(), strict=True)
        times_s = ([detect_onsets(wave, sample_rate_hz).times_s for wave in pair] for pair in pairs)
        scores = (onset_f1(reference_s, generated_s, self._window_s) for reference_s, generated_s in times_s)
        return torch.tensor([score.f1 for score in scores if score], dtype=torch.float64)


class HitDifference(_MeanOverClips):
    """Median difference of matched hits, generated less target, see `evaluation.hits`; clips without any do not count.

    Args:
        of: What is compared: attack (ms), decay (ms), brightness (octaves) or peak level (dB).
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        InputError: Nothing is called so.
    """

    higher_is_better = None

    def __init__(self, of: HitQuantity = "attack", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if of not in get_args(HitQuantity):
            raise InputError(f"hits have no {of!r}: give one of {', '.join(get_args(HitQuantity))}")
        self._of = of

    def _values(self, preds: Tensor, target: Tensor, sample_rate_hz: int) -> Tensor:
        values = []
        for real, made in zip(target.float().cpu(), preds.float().cpu(), strict=True):
            onsets_s = (detect_onsets(wave, sample_rate_hz).times_s for wave in (real, made))
            found = score_hits(real, made, sample_rate_hz, *onsets_s)
            values += [value for name, value in found.items() if name.startswith(f"hit_{self._of}_difference")]
        found_values = torch.tensor(values, dtype=torch.float64)
        return found_values[found_values.isfinite()]
