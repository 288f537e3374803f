"""Owns the diffusion transformer (DiT), which accepts the residuals of a control branch.

Shapes: B batch, Z latent channels (64 in Stable Audio Open), L latent steps, T tokens, P prepended tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stable_foley.audio_tools import DiffusionTransformer


class DiT(DiffusionTransformer):
    """Diffusion transformer of stable-audio-tools that accepts the residuals of a control branch.

    Args:
        gradient_checkpointing: recompute the layers in the backward pass instead of keeping their activations.
        **config: the ``model.diffusion.config`` part of a ``model_config.json``.
    """

    def __init__(self, gradient_checkpointing: bool = False, **config: Any) -> None:
        super().__init__(**config)
        self.config = dict(config)
        self.gradient_checkpointing = gradient_checkpointing
        for index, layer in enumerate(self.transformer.layers):
            layer.register_forward_pre_hook(_AddResidual(index), with_kwargs=True)

    @property
    def depth(self) -> int:
        """Number of transformer layers."""
        return len(self.transformer.layers)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        tokens: Tensor | None = None,
        global_embed: Tensor | None = None,
        control_residuals: Sequence[Tensor] = (),
    ) -> Tensor:
        """Predict v.

        Args:
            x: noised latent (B, Z, L), L a multiple of the patch size.
            t: noise level (B,), 0 (clean) to 1 (noise).
            tokens: cross-attention tokens (B, T, cond_token_dim), or None for none.
            global_embed: global condition (B, global_cond_dim), or None.
            control_residuals: one (B, P + L / patch_size, D) for each controlled layer, added to that layer's input; P
                is 1 for the prepended global condition, 0 with adaLN.

        Returns:
            v (B, Z, L).
        """
        return self._evaluate(x, t, tokens, global_embed, control_residuals=tuple(control_residuals))

    def forward_with_hidden(
        self,
        x: Tensor,
        t: Tensor,
        tokens: Tensor | None,
        global_embed: Tensor | None,
        control_residuals: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Predict v (B, Z, L); return with it what it is read from: the last layer's output (B, L / patch_size, D).

        Arguments are as in ``forward``.
        """
        residuals = tuple(control_residuals)
        v, info = self._evaluate(x, t, tokens, global_embed, control_residuals=residuals, return_info=True)
        return v, info["hidden_states"][-1][:, -x.shape[-1] // self.patch_size :]

    def hidden_states(
        self, x: Tensor, t: Tensor, tokens: Tensor | None, global_embed: Tensor | None, **transformer_inputs: Any
    ) -> list[Tensor]:
        """Return the outputs (B, P + L / patch_size, D) of every layer; a prepended token, if any, comes first.

        Arguments are as in ``forward``; ``transformer_inputs`` are for hooks on the transformer inside.
        """
        last = self.depth - 1
        _, info = self._evaluate(x, t, tokens, global_embed, exit_layer_ix=last, return_info=True, **transformer_inputs)
        return info["hidden_states"]

    def _evaluate(
        self, x: Tensor, t: Tensor, tokens: Tensor | None, global_embed: Tensor | None, **options: Any
    ) -> Any:
        return super().forward(
            x,
            t,
            cross_attn_cond=tokens,
            global_embed=global_embed,
            use_checkpointing=self.gradient_checkpointing and torch.is_grad_enabled(),
            **options,
        )


@dataclass(frozen=True)
class _AddResidual:
    """Pre-hook of transformer layer ``index``: removes the residuals from the call and adds its own to the input.

    The residuals are arguments of the call, not state of the module, so gradient checkpointing replays them correctly.
    """

    index: int

    def __call__(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        residuals = kwargs.pop("control_residuals", ())
        if self.index < len(residuals):
            args = (args[0] + residuals[self.index], *args[1:])
        return args, kwargs
