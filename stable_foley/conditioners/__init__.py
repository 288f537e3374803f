"""Conditioners: each turns one kind of input into conditions for the transformer, with the interface in ``base``."""
