"""Stable-Foley: an envelope, and what it should sound like, become stereo sound (Stable-V2A, arXiv 2412.15023)."""
