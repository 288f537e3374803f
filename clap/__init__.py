"""Sounds and texts in one space: LAION-CLAP behind one file."""
