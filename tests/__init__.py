"""Tests; `tests/` mirrors the packages, and `tests.parity` is a command of its own."""
