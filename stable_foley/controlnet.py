"""Owns the control branch: a trainable copy of the transformer's first layers that controls it.

Source: L. Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", 2023 (arXiv 2302.05543), in the
form of Stable-V2A (arXiv 2412.15023) for a diffusion transformer.

Shapes: as in ``stable_foley.codec`` and ``stable_foley.dit``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from common.errors import InputError
from stable_foley.dit import DiT


def zero_conv(n_channels: int, dtype: torch.dtype = torch.float32) -> nn.Conv1d:
    """Return a 1x1 convolution with zero weights, so that an untrained control branch changes nothing."""
    conv = nn.Conv1d(n_channels, n_channels, 1, bias=False, dtype=dtype)
    nn.init.zeros_(conv.weight)
    return conv


class ControlNet(DiT):
    """The first ``n_layers`` layers and the embedders of a transformer, with zero convolutions before and after.

    Args:
        dit: the transformer to copy; not changed.
        n_layers: number of layers, 1 to ``dit.depth``.

    Raises:
        InputError: ``n_layers`` is out of range.
    """

    def __init__(self, dit: DiT, n_layers: int) -> None:
        if not 1 <= n_layers <= dit.depth:
            raise InputError(
                f"model.control_layers is {n_layers}; expected 1 to {dit.depth}, the depth of the backbone: correct it."
            )
        with torch.device("meta"):  # its weights are copied below
            super().__init__(**dit.config | {"depth": n_layers}, gradient_checkpointing=dit.gradient_checkpointing)
        # parts that only the end of a whole transformer uses
        self.transformer.project_out = nn.Identity()
        del self.postprocess_conv
        copied = {key: value.clone() for key, value in dit.state_dict().items() if key in self.state_dict()}
        self.load_state_dict(copied, assign=True)
        dtype = next(dit.parameters()).dtype
        self.transformer.register_forward_pre_hook(_add_control, with_kwargs=True)
        self.conv_in = zero_conv(self.config["io_channels"], dtype)
        self.conv_outs = nn.ModuleList([zero_conv(self.config["embed_dim"], dtype) for _ in range(n_layers)])

    def residuals(
        self, x: Tensor, t: Tensor, control: Tensor, tokens: Tensor | None, global_embed: Tensor | None
    ) -> list[Tensor]:
        """Return the residuals for the inputs of the transformer's first layers.

        Args:
            x: noised latent (B, Z, L).
            t: noise level (B,), 0 to 1.
            control: control latent (B, Z, L), from the envelope conditioner.
            tokens: cross-attention tokens (B, T, cond_token_dim) or None.
            global_embed: global condition (B, global_cond_dim) or None.

        Returns:
            ``n_layers`` tensors (B, P + L / patch_size, D), including the prepended token, if any.
        """
        control = self.conv_in(control.to(self.conv_in.weight.dtype))
        control = rearrange(control, "b c (t p) -> b t (c p)", p=self.patch_size)
        hidden = self.hidden_states(x, t, tokens, global_embed, control=control)
        return [conv(h.mT).mT for conv, h in zip(self.conv_outs, hidden, strict=True)]


def _add_control(
    _transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Add ``control`` to the input of the branch's transformer, after the embedder's own convolution; a pre-hook."""
    return (args[0] + kwargs.pop("control"), *args[1:]), kwargs


class ControlledDiT(nn.Module):
    """A transformer with an optional control branch, named as in the published checkpoints.

    Args:
        dit: the (usually frozen) transformer.
        controlnet: its control branch; None: none.
    """

    def __init__(self, dit: DiT, controlnet: ControlNet | None) -> None:
        super().__init__()
        self.model = dit
        self.controlnet = controlnet

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        *,
        tokens: Tensor | None = None,
        global_embed: Tensor | None = None,
        control: Tensor | None = None,
        control_strength: float = 1.0,
    ) -> Tensor:
        """Predict v (B, Z, L); see ``DiT.forward`` and ``ControlNet.residuals``.

        ``control_strength`` scales the residuals: 0 disables the control branch, 1 is as trained.
        """
        residuals = self._residuals(x, t, tokens, global_embed, control, control_strength)
        return self.model(x, t, tokens, global_embed, residuals)

    def forward_with_hidden(
        self, x: Tensor, t: Tensor, *, tokens: Tensor | None, global_embed: Tensor | None, **control: Any
    ) -> tuple[Tensor, Tensor]:
        """Predict v (B, Z, L) as ``forward``; return with it the last layer's output, see ``DiT``."""
        residuals = self._residuals(x, t, tokens, global_embed, **control)
        return self.model.forward_with_hidden(x, t, tokens, global_embed, residuals)

    def _residuals(
        self,
        x: Tensor,
        t: Tensor,
        tokens: Tensor | None,
        global_embed: Tensor | None,
        control: Tensor | None = None,
        control_strength: float = 1.0,
    ) -> Sequence[Tensor]:
        if self.controlnet is None or control is None or control_strength == 0:
            return ()
        return [control_strength * r for r in self.controlnet.residuals(x, t, control, tokens, global_embed)]
