"""Owns making recordings anew: sound from the conditions that recordings themselves give."""

from collections.abc import Sequence

import torch
from torch import Tensor

from data.batch import FoleyBatch
from data.cache import AUDIO, ENVELOPE, SOUND
from media.envelope import Envelope
from stable_foley.features import draw_embeddings, encode_features, encoder_names
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

    A chunk's frames, length and envelope are its conditions, and its own sound is the prompt, as far as the model has
    conditioners for them. The sound of a chunk depends on its own noise source, not on the others of the batch.

    Args:
        model: the model, in eval mode.
        batch: B chunks, on any device.
        settings: how to sample.
        generators: CPU noise source of each chunk.
        envelopes: control with these, rms (T,) or (C, T), instead.
        texts: prompts in words instead of the sounds; a chunk with None gets no prompt, as if training had dropped it.

    Returns:
        Sounds (B, C, N), float32, on the CPU.

    Raises:
        InputError: the prompt encoder cannot be built.
    """
    assert batch.wave is not None
    n_samples = batch.wave.shape[-1]
    given = {SOUND: True, ENVELOPE: envelopes, AUDIO: texts}
    names = [name for name in encoder_names(model) if given.get(name) is None]
    parts = []
    for i, generator in enumerate(generators):
        clip = batch.clips(i, i + 1).to(model.device)
        features = dict(clip.features or encode_features(model, clip, names))
        if ENVELOPE in model.conditioners and envelopes is not None:
            envelope = Envelope(envelopes[i].rms[None].to(model.device), envelopes[i].rate_hz)
            features[ENVELOPE] = model.envelope_parameters(envelope, n_samples)
        if AUDIO in model.conditioners and texts is not None:
            prompt, text = model.conditioners[AUDIO], texts[i]
            width = prompt.proj_out.in_features
            features[AUDIO] = torch.zeros(1, width, device=model.device) if text is None else prompt.embed_text([text])
        parts.append(draw_embeddings(model, features, clip, generator))
    embeddings = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    kept = {} if texts is None else {AUDIO: torch.tensor([text is not None for text in texts], device=model.device)}
    latent = model.sample(model.conditions(embeddings, kept), n_samples, settings, list(generators))
    return model.pretransform.decode(latent)[..., :n_samples].float().cpu()
