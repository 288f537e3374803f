"""Embeddings of sounds and texts in one space; the only package that touches laion-clap."""
