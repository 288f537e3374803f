"""Owns the resynthesis of recordings: sound generated from the conditions that recordings themselves provide."""

from collections.abc import Sequence

import torch
from torch import Tensor

from data.batch import FoleyBatch
from data.cache import SOUND
from media.envelope import Envelope
from stable_foley.conditions import CONTROL_ID, PROMPT_ID
from stable_foley.features import encode_features, feature_names
from stable_foley.model import FoleyModel
from stable_foley.sampler import SamplerSettings


@torch.no_grad()
def resynthesise(
    model: FoleyModel,
    batch: FoleyBatch,
    settings: SamplerSettings,
    generators: Sequence[torch.Generator],
    *,
    envelopes: Sequence[Envelope] | None = None,
    texts: Sequence[str | None] | None = None,
) -> Tensor:
    """Generate recorded chunks anew, for validation and for comparisons of models.

    The conditions are the chunk's frames, length and envelope, and its own sound as the prompt, if the model has
    conditioners for them. The sound of a chunk depends only on its own noise source, not on the rest of the batch.

    Args:
        model: the model, in eval mode.
        batch: B chunks, on any device.
        settings: settings of the sampler.
        generators: CPU noise source of each chunk.
        envelopes: envelopes to use instead of the chunks' own, rms (T,) or (C, T).
        texts: text prompts instead of the sounds; a chunk with None gets no prompt, as if training had dropped it.

    Returns:
        Sounds (B, C, N), float32, on the CPU.

    Raises:
        InputError: the prompt encoder cannot be built.
    """
    assert batch.wave is not None
    n_samples, conditioner = batch.wave.shape[-1], model.conditioner
    parts = []
    for i, generator in enumerate(generators):
        clip = batch.clips(i, i + 1).to(model.device)
        given = {}
        if CONTROL_ID in model.conditioners and envelopes is not None:
            envelope = Envelope(envelopes[i].rms[None].to(model.device), envelopes[i].rate_hz)
            given = conditioner.encode({CONTROL_ID: envelope}, model.padded_length(n_samples))
        if PROMPT_ID in model.conditioners and texts is not None:
            prompt, text = conditioner.sound_prompt, texts[i]
            given[PROMPT_ID] = prompt.absent(1, 0) if text is None else prompt.encode_text([text])
        others = [name for name in feature_names(model) if name not in (SOUND, *given)]
        features = (clip.features or encode_features(model, clip, others)) | given
        parts.append(conditioner.draw_recorded(features, clip, generator))
    embeddings = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    kept = {} if texts is None else {PROMPT_ID: torch.tensor([text is not None for text in texts], device=model.device)}
    latent = model.sample(
        conditioner(embeddings, kept),
        n_samples,
        settings,
        list(generators),
        negative=None if model.guidance is not None else conditioner.unprompted(embeddings),
    )
    return model.pretransform.decode(latent)[..., :n_samples].float().cpu()
