"""Hits as objects: found in an envelope, edited, turned back into it, and carried to the tools people use."""
