"""Conditioners: each turns one kind of input into what the transformer reads, in two steps.

That is tokens for the cross-attention (B, T, D), a part of the global condition (B, 1, D), or a control latent
(B, L, Z).

``embed(raw)`` runs what is frozen (an encoder, an analysis); its result can be cached. ``forward(embedding)`` is the
small trained part that maps the embedding to the width that the diffusion transformer reads.
"""
