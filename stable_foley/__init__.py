"""Stable-Foley: generates stereo sound from an envelope, frames and prompts (Stable-V2A, arXiv 2412.15023)."""
