"""Owns stable-audio-tools: no other file imports ``stable_audio_tools``."""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

LIBRARY_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions that the library raises on sizes that do not fit each other, few of which it checks itself."""


@contextlib.contextmanager
def _imported_quietly() -> Iterator[None]:
    """Make imports of stable-audio-tools within the block silent, and three times as fast.

    The library would load torch's compiler to set its options, attention for sliding windows, for which it has another
    way, and Lightning for callbacks of its own training. If the compiler cannot be imported, it continues, but its
    message sets up logging for the whole program. It also prints a line for every CUDA kernel that is not installed.
    """
    handlers = list(logging.root.handlers)
    callbacks = ModuleType("stable_audio_tools.models.lora.callbacks")
    vars(callbacks).update(LoRASafetensorsCheckpoint=None, StepOffsetCallback=None)
    held_back = {callbacks.__name__: callbacks, "torch._dynamo": None, "torch.nn.attention.flex_attention": None}
    hidden = {name: module for name, module in held_back.items() if name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.root.handlers[:] = handlers
        for name in hidden:
            del sys.modules[name]


with _imported_quietly():
    from stable_audio_tools.models.adp import NumberEmbedder
    from stable_audio_tools.models.dit import DiffusionTransformer

__all__ = ["LIBRARY_ERRORS", "DiffusionTransformer", "NumberEmbedder", "build_autoencoder"]


def build_autoencoder(config: Mapping[str, Any], sample_rate_hz: int) -> nn.Module:
    """Build the convolutional autoencoder of a ``model.pretransform.config``, with a faster activation.

    Args:
        config: part of a ``model_config.json``.
        sample_rate_hz: sample rate of the sound.
    """
    with _imported_quietly():  # here, since it takes as long as torch, and mini needs none
        from stable_audio_tools.models.autoencoders import create_autoencoder_from_config
        from stable_audio_tools.models.blocks import SnakeBeta
    with warnings.catch_warnings():  # about the form of weight normalisation in published weights
        warnings.simplefilter("ignore", FutureWarning)
        model: nn.Module = create_autoencoder_from_config({"sample_rate": sample_rate_hz, "model": config})
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SnakeBeta):
                setattr(parent, name, _Snake(child))
    return model


class _Snake(nn.Module):
    """The VAE's activation x + sin²(αx) / β with the same result in a third of the time: in place, without gradient.

    Args:
        snake: the library's activation, whose parameters it takes over.
    """

    def __init__(self, snake: Any) -> None:
        super().__init__()
        self.alpha: nn.Parameter = snake.alpha
        self.beta: nn.Parameter = snake.beta
        self.is_logarithm: bool = snake.alpha_logscale
        self.least: float = snake.no_div_by_zero

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, N) to (B, C, N)."""
        alpha, beta = (each.exp() if self.is_logarithm else each for each in (self.alpha, self.beta))
        y = x * alpha[:, None]
        return y.sin_().square_().mul_(1 / (beta[:, None] + self.least)).add_(x)
