"""Measures how fast the project is, and how fast others do the same work in the same run."""
