"""Conditioners: each turns one kind of input into tokens (B, T, D), in two steps.

``embed(raw)`` runs what is frozen (an encoder, an analysis); its result can be cached. ``forward(embedding)`` is the
small trained part that maps the embedding to the width that the diffusion transformer reads.
"""
