"""Measurements: what `make bench` runs, and longer ones that are started by hand."""
