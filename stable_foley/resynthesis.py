"""Owns making recordings anew: sound from the conditions that recordings themselves give."""

from collections.abc import Sequence

import torch
from torch import Tensor

from data.dataset import FoleyBatch
from data.envelope import Envelope
from stable_foley.model import CONTROL_ID, FoleyModel
from stable_foley.module import raw_conditions
from stable_foley.sampler import SamplerSettings


@torch.no_grad()
def resynthesise(
    model: FoleyModel,
    batch: FoleyBatch,
    settings: SamplerSettings,
    generators: Sequence[torch.Generator],
    *,
    envelopes: Sequence[Envelope] | None = None,
    texts: Sequence[str] | None = None,
) -> Tensor:
    """Sound for recorded chunks, as validation and tables of the field want it.

    A chunk's frames, length and envelope are its conditions, and its own sound is the prompt, where the model has a
    conditioner for them. What a chunk gets depends on its own noise source, not on the others of the batch.

    Args:
        model: the model, in eval mode.
        batch: B chunks, on any device.
        settings: how to sample.
        generators: CPU noise source of each chunk.
        envelopes: control with these, rms (T,) or (C, T), instead.
        texts: prompts in words instead of the sounds.

    Returns:
        Sounds (B, C, N), float32, on the CPU.

    Raises:
        InputError: the prompt encoder cannot be built.
    """
    n_samples = batch.wave.shape[-1]
    parts = []
    for i, generator in enumerate(generators):
        raw = raw_conditions(model, batch.clips(i, i + 1).to(model.device))
        if envelopes is not None:
            raw[CONTROL_ID] = Envelope(envelopes[i].rms[None].to(model.device), envelopes[i].rate_hz)
        in_words = texts is not None and raw.pop("audio", None) is not None
        embeddings = model.embed(raw, model.padded_length(n_samples), generator)
        if in_words and texts is not None:
            embeddings["audio"] = model.conditioners["audio"].embed_text([texts[i]])
        parts.append(embeddings)
    embeddings = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    latent = model.sample(model.conditions(embeddings), n_samples, settings, list(generators))
    return model.pretransform.decode(latent)[..., :n_samples].float().cpu()
