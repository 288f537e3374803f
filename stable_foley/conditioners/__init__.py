"""Conditioners: each turns one kind of input into what the transformer reads, by the contract in ``base``."""
